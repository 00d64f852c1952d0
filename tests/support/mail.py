"""Mail that reaches nobody: what a service owes is handed to a list instead of a mail server."""

from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest

from idp.mail.server import Mailbox
from idp.mail.templates import MailTemplates
from idp.observe.metrics import Metrics
from idp.resources import templates_dir
from idp.services.mail import Outbox
from idp.store.store import Store
from tests.support.app import Installed
from tests.support.clock import FakeClock

HOST = "idp.example.org"


class Post:
    """An outbox, and every mail that left it."""

    def __init__(self, store: Store, installed: Installed, clock: FakeClock) -> None:
        self.mails: list[EmailMessage] = []
        templates = MailTemplates(templates_dir(), service_name="Lab ID", issuer=f"https://{HOST}")
        sender = Mailbox("Lab ID", f"no-reply@{HOST}")
        self.outbox = Outbox(store, installed.data_keys, self, templates, clock, Metrics(), sender=sender, host=HOST)

    async def send(self, message: EmailMessage) -> None:
        self.mails.append(message)

    async def collect(self) -> dict[str, str]:
        """Send all that is owed, and return the texts of every mail so far by whom they are to; no one gets two."""
        before = -1
        while before != len(self.mails):
            before = len(self.mails)
            await self.outbox.begin()
            await self.outbox.finish()
        texts = {str(mail["To"]): f"{mail['Subject']}\n{_text(mail)}" for mail in self.mails}
        assert len(texts) == len(self.mails)
        return texts

    async def drop(self) -> None:
        """Send all that is owed and forget it."""
        await self.collect()
        self.mails.clear()


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@pytest.fixture
async def post(store: Store, installed: Installed, clock: FakeClock) -> AsyncIterator[Post]:
    post = Post(store, installed, clock)
    yield post
    await post.outbox.finish()
