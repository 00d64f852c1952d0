"""Who carries a mail: what every mailer can do, and how it fails."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from email.message import EmailMessage


class MailError(Exception):
    """A mail that was not taken; the text is one of few, without addresses and secrets, `detail` is for the log."""

    def __init__(self, reason: str, *, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class TemporaryMailError(MailError):
    """It may be taken later."""


class PermanentMailError(MailError):
    """It will never be taken."""


class Mailer(Protocol):
    """Carries mails."""

    async def send(self, message: "EmailMessage") -> None:
        """Hand a mail over to whoever delivers it.

        Raises:
            TemporaryMailError, PermanentMailError: it was not taken.
        """


class NoMailer:
    """Carries nothing: there is no mail server, so mails wait for one until they are given up."""

    async def send(self, message: "EmailMessage") -> None:
        """Leave the mail where it is.

        Raises:
            TemporaryMailError: always.
        """
        raise TemporaryMailError("no mail server", detail="IDP_SMTP_URL is not set")
