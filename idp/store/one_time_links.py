"""Links that work once."""

from sqlalchemy import Column, ForeignKey, String, Table

from idp.domain.one_time_link import LinkPurpose, OneTimeLink
from idp.store.columns import Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("purpose", OneOf(LinkPurpose), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE")),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)

ONE_TIME_LINKS = Mapping(OneTimeLink, one_time_links)


class OneTimeLinks(Repository[OneTimeLink]):
    """Links by the hash of their token."""

    mapping = ONE_TIME_LINKS
