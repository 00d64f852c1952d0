"""A mail as it travels (RFC 5322, RFC 2045): plain text, and the same as HTML beside it.

A module of its own because the library is not needed before the first mail: `services.mail` imports it then.
"""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from idp.mail.server import Mailbox
from idp.mail.templates import Content


def compose(content: Content, *, sender: Mailbox, to: str, mail_id: str, host: str, at: datetime) -> EmailMessage:
    """Return the mail; its Message-ID stays the same at every attempt, so that a second copy can be told as one.

    Raises:
        ValueError: an address or the subject could begin another header field.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = _address(sender.address, sender.name)
    message["To"] = _address(to)
    message["Subject"] = content.subject
    message["Date"] = at
    message["Message-ID"] = f"<{mail_id}@{host}>"
    # RFC 3834 §5: no holiday notice comes back.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(content.text)
    message.add_alternative(content.html, subtype="html")
    return message


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    # As name servers know it, or few servers would take it (RFC 6531).
    return Address(name, local, domain if domain.isascii() else domain.encode("idna").decode("ascii"))
