"""Mail that people are sent: a durable outbox."""

from sqlalchemy import Column, LargeBinary, String, Table

from idp.domain.mail import Mail, MailPurpose
from idp.store.columns import OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.outbox import Outbox, index_outbox, outbox_columns

mails = Table(
    "mails",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("purpose", OneOf(MailPurpose), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    *outbox_columns(),
)
index_outbox(mails)

MAILS = Mapping(Mail, mails)


class Mails(Outbox[Mail]):
    """Mails by id."""

    mapping = MAILS
