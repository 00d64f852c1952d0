"""A node that mails through a real server on loopback, and its mail as people read it."""

import asyncio
import re
from dataclasses import dataclass

import pytest

from tests.support.app import App, Start
from tests.support.smtp import MailServer

# Nobody's words, and hard to guess.
NEW_PASSWORD = "maple-window-thirteen-otter"
_SECONDS = 10


@dataclass(frozen=True)
class Letter:
    """One mail."""

    to: str
    subject: str
    text: str

    @property
    def code(self) -> str:
        return "".join(re.findall(r"^(\d{3}) (\d{3})$", self.text, re.M)[0])

    @property
    def path(self) -> str:
        """Where its link leads."""
        return re.findall(r"^http://localhost:8000(/\S*)$", self.text, re.M)[0]


@dataclass(frozen=True)
class PostOffice:
    """Starts nodes that send mail, and waits for it."""

    start: Start
    server: MailServer

    async def node(self, **settings: str) -> App:
        return await self.start(smtp_url=f"smtp://127.0.0.1:{self.server.port}", **settings)

    async def letter(self) -> Letter:
        """Return the next mail."""
        message = await asyncio.wait_for(self.server.arrived.get(), _SECONDS)
        body = message.get_body(("plain",))
        assert body is not None
        return Letter(str(message["To"]), str(message["Subject"]), body.get_content().replace("\r\n", "\n"))

    @property
    def recipients(self) -> list[str]:
        return [str(message["To"]) for message in self.server.received]


@pytest.fixture
def post_office(start: Start, mail_server: MailServer) -> PostOffice:
    return PostOffice(start, mail_server)


async def sends(app: App) -> tuple[int, int]:
    """Return how many mails were written and how many proofs, for anybody or for nobody."""
    async with app.store.read() as tx:
        return len(await tx.mails.all()), len(await tx.mailed_proofs.all())
