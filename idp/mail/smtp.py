"""Mail handed to a mail server: SMTP submission (RFC 6409) over TLS (RFC 8314, RFC 3207)."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from idp.mail.mailer import MailError, PermanentMailError, TemporaryMailError
from idp.mail.server import SmtpServer

if TYPE_CHECKING:
    from email.message import EmailMessage

# From the first packet to the answer that the mail was taken; some servers greet strangers only after some seconds.
SECONDS = 30
_QUIT_SECONDS = 2
# The server has not looked at the mail yet (RFC 4954 §6): our own settings are wrong, and somebody will mend them.
_NOT_SIGNED_IN = frozenset({530, 534, 535, 538})
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")


class SmtpMailer:
    """Hands each mail to one server, over a connection of its own.

    `ca_file` holds authorities that are trusted beside those of the system, `local_name` is what we greet with.
    """

    def __init__(self, server: SmtpServer, *, ca_file: Path | None, local_name: str, seconds: float = SECONDS) -> None:
        self._server = server
        self._ca_file = ca_file
        self._local_name = local_name
        self._seconds = seconds

    async def send(self, message: "EmailMessage") -> None:
        """Hand the mail over.

        Raises:
            TemporaryMailError: no server, no secure connection, no sign-in, or "not now" (4xx).
            PermanentMailError: the server refused this mail or its recipient for good (5xx).
        """
        # Loaded with the first mail, as a server without a mail server does without it.
        from aiosmtplib import SMTP, SMTPException

        server = self._server
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=self._local_name,
            use_tls=server.tls,
            start_tls=server.starttls,
            tls_context=self._tls if server.tls or server.starttls else None,
            timeout=self._seconds,
        )
        try:
            with _failures():
                async with asyncio.timeout(self._seconds):
                    await smtp.connect()
                    with _refusals():
                        sender, recipient = (message[name].addresses[0].addr_spec for name in ("From", "To"))
                        await smtp.send_message(message, sender=sender, recipients=[recipient])
            # The mail is taken: how the conversation ends changes nothing.
            with suppress(SMTPException, OSError):
                await smtp.quit(timeout=_QUIT_SECONDS)
        finally:
            smtp.close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # The same authorities as of all other requests.
        from idp.outbound.exchange import trusted_authorities

        return trusted_authorities(self._ca_file)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the server says about the mail itself."""
    from aiosmtplib import SMTPDataError, SMTPNotSupported, SMTPRecipientsRefused

    try:
        yield
    except SMTPRecipientsRefused as error:
        (refused,) = error.recipients
        raise _refused(refused.code, refused.message) from None
    except SMTPDataError as error:
        raise _refused(error.code, error.message) from None
    except SMTPNotSupported:
        raise PermanentMailError("the mail server takes only addresses in ASCII") from None


@contextmanager
def _failures() -> Iterator[None]:
    """What kept us from handing the mail over; the server's texts are left out, which may repeat addresses."""
    from aiosmtplib import SMTPException, SMTPResponseException

    try:
        yield
    except SMTPResponseException as error:
        raise TemporaryMailError(_reason(error.code, error.message)) from None
    except TimeoutError:
        raise TemporaryMailError("no answer in time") from None
    except (SMTPException, OSError) as error:
        cause = error if isinstance(error, ssl.SSLError) else error.__cause__
        if isinstance(cause, ssl.SSLError):
            raise TemporaryMailError("no secure connection", detail=_detail(cause)) from None
        if isinstance(error, OSError):
            raise TemporaryMailError("no connection", detail=_detail(cause or error)) from None
        raise TemporaryMailError("no secure connection or no way to sign in") from None


def _refused(code: int, text: str) -> MailError:
    for_good = 500 <= code < 600 and code not in _NOT_SIGNED_IN
    return (PermanentMailError if for_good else TemporaryMailError)(_reason(code, text))


def _reason(code: int, text: str) -> str:
    enhanced = _ENHANCED.match(text)
    return f"SMTP {code} {enhanced[1]}" if enhanced else f"SMTP {code}"


def _detail(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
