"""Mails on the terminal, for an installation that only this machine reaches."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import EmailMessage

_RULE = "─" * 78


class ConsoleMailer:
    """Writes what a person would read to stderr, and not to the log: mails hold links that act for who opens them."""

    async def send(self, message: "EmailMessage") -> None:
        """Print the mail as text."""
        body = message.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        lines = [_RULE, *(f"{name}: {message[name]}" for name in ("From", "To", "Subject")), "", *text.splitlines()]
        sys.stderr.write("".join(f"{_visible(line)}\n" for line in [*lines, _RULE]))
        sys.stderr.flush()


def _visible(line: str) -> str:
    """A line in which nothing moves the cursor or turns the text around: lab names and messages are other people's."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
