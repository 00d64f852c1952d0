"""Who signs in through which issuers, and whether that is all they have: every linked account in one query."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.domain.credential import CredentialKind
from idp.domain.user import UserStatus
from idp.store.upstream import linked_accounts
from idp.store.users import credentials, users


@dataclass(frozen=True, slots=True)
class WayIn:
    """A linked account; `only_linked` is whether its user, who may sign in, has no password."""

    issuer: str
    user_id: str
    only_linked: bool


async def ways_in(connection: AsyncConnection) -> Sequence[WayIn]:
    """Return every linked account, without what else is known of it."""
    password = and_(credentials.c.user_id == users.c.id, credentials.c.kind == CredentialKind.PASSWORD)
    only_linked = and_(users.c.status == UserStatus.ACTIVE, ~exists().where(password))
    query = select(linked_accounts.c.issuer, users.c.id, only_linked).join_from(linked_accounts, users)
    return [WayIn(issuer, user_id, bool(alone)) for issuer, user_id, alone in await connection.execute(query)]
