"""Mails on the terminal of an installation that only this machine reaches."""

from datetime import UTC, datetime

import pytest

from idp.mail.console import ConsoleMailer
from idp.mail.message import compose
from idp.mail.server import Mailbox
from idp.mail.templates import Content


async def test_the_text_is_shown_on_the_terminal_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    content = Content("Grüße", "Hello,\nhttp://localhost:8000/a-secret\n\x1b[2J\u202eevil\n", "<p>HTML</p>")
    sender, at = Mailbox("Lab ID", "no-reply@localhost"), datetime(2026, 3, 12, tzinfo=UTC)
    await ConsoleMailer().send(
        compose(content, sender=sender, to="alice@example.org", mail_id="m_1", host="localhost", at=at)
    )

    shown = capsys.readouterr()
    rule, *lines, last = shown.err.splitlines()
    assert rule == last
    assert lines == [
        "From: Lab ID <no-reply@localhost>",
        "To: alice@example.org",
        "Subject: Grüße",
        "",
        "Hello,",
        "http://localhost:8000/a-secret",
        "\\x1b[2J\\u202eevil",
    ]
    assert not shown.out
    assert not caplog.text
