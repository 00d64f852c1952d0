"""A mail as it travels: its header fields, both bodies, and nothing that others could add."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from idp.mail.message import compose
from idp.mail.server import Mailbox
from idp.mail.templates import Content

AT = datetime(2026, 3, 12, 10, tzinfo=UTC)
CONTENT = Content("Ada invites you to Biology", "Hello,\n", "<p>Hello</p>")


def composed(content: Content = CONTENT, **changes: Any) -> EmailMessage:
    defaults = {"sender": Mailbox("Lab ID", "no-reply@id.example.org"), "to": "alice@example.org", "mail_id": "m_1"}
    return compose(content, **{**defaults, **changes}, host="id.example.org", at=AT)


def travelled(message: EmailMessage) -> EmailMessage:
    read = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read


def test_it_says_from_whom_to_whom_when_and_that_no_person_wrote_it() -> None:
    message = travelled(composed())

    fields = {name: str(value) for name, value in message.items() if not name.startswith(("Content-", "MIME"))}
    assert fields == {
        "From": "Lab ID <no-reply@id.example.org>",
        "To": "alice@example.org",
        "Subject": "Ada invites you to Biology",
        "Date": "Thu, 12 Mar 2026 10:00:00 +0000",
        "Message-ID": "<m_1@id.example.org>",
        "Auto-Submitted": "auto-generated",
    }


def test_plain_text_comes_first_and_html_is_the_same_in_other_clothes_rfc2046_s5_1_4() -> None:
    message = travelled(composed(Content("s", "Grüße, 你好\n" + "x" * 2000 + "\n", "<p>Grüße, 你好</p>")))
    assert message.get_content_type() == "multipart/alternative"
    plain, html = message.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content().splitlines() == ["Grüße, 你好", "x" * 2000]
    assert html.get_content().strip() == "<p>Grüße, 你好</p>"
    assert max(map(len, message.as_bytes().splitlines())) <= 998


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "alice@example.org\r\nBcc: everybody@example.org"},
        {"to": "alice\nBcc: everybody@example.org"},
        {"content": Content("Hello\r\nBcc: everybody@example.org", "", "")},
        {"sender": Mailbox("Lab\nBcc: everybody@example.org", "no-reply@id.example.org")},
        {"to": "alice@" + "ü" * 70 + ".example"},
    ],
)
def test_nothing_that_others_chose_begins_another_field_rfc5322_s2_2(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        composed(**changes)
