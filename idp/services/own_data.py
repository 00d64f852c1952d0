"""All that is kept about somebody, for themselves: what they told, how they sign in, and what they gave to whom.

That is Article 15 and 20 of the GDPR in a form for people and for machines. Secrets and hashes are not among it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from idp.domain.clock import Clock
from idp.domain.credential import CredentialKind
from idp.domain.user import User
from idp.services.activity import Activity
from idp.services.applications import Applications
from idp.services.linked_accounts import LinkedAccounts
from idp.services.sessions import Sessions
from idp.store.store import Store

Data = Mapping[str, Any]


class OwnData:
    """Gathers it."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        linked_accounts: LinkedAccounts,
        applications: Applications,
        activity: Activity,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._linked_accounts = linked_accounts
        self._applications = applications
        self._activity = activity
        self._clock = clock

    async def of(self, user: User) -> Data:
        """Return all of it as JSON has it, in sections; times are in UTC (RFC 3339)."""
        async with self._store.read() as tx:
            password = await tx.credentials.find_of(user.id, CredentialKind.PASSWORD)
        used = await self._applications.last_used(user.id)
        return {
            "exported_at": _at(self._clock()),
            "account": _told(
                id=user.id,
                email=user.email,
                email_verified=user.email_verified,
                username=user.username,
                name=user.name,
                **user.profile,
                roles=list(map(str, user.roles)),
                created_at=_at(user.created_at),
                updated_at=_at(user.updated_at),
            ),
            "password": None if password is None else {"set_at": _at(password.created_at)},
            "connected_accounts": [
                _told(
                    provider=linked.account.provider,
                    issuer=linked.account.issuer,
                    sub=linked.account.sub,
                    email=linked.account.email,
                    name=linked.account.name,
                    claims=dict(linked.account.claims),
                    created_at=_at(linked.account.created_at),
                    last_used_at=_at(linked.account.last_used_at),
                )
                for linked in await self._linked_accounts.of(user)
            ],
            "labs": [
                _told(
                    slug=held.lab.slug,
                    name=held.lab.name,
                    role=str(held.membership.role),
                    since=_at(held.membership.created_at),
                    not_before=_at(held.membership.not_before),
                    expires_at=_at(held.membership.expires_at),
                )
                for held in await self._store.find_memberships(user.id)
            ],
            "applications": [
                _told(
                    client_id=each.client.client_id,
                    name=each.client.client_name,
                    allowed=list(each.tokens),
                    since=_at(each.since),
                    last_used_at=_at(used.get(each.client.client_id)),
                )
                for each in await self._applications.of(user.id)
            ],
            "sessions": [
                _told(
                    created_at=_at(session.created_at),
                    last_seen_at=_at(session.last_seen_at),
                    address=session.address,
                    user_agent=session.user_agent,
                    amr=list(session.amr),
                )
                for session in await self._sessions.held(user)
            ],
            "activity": [
                _told(
                    at=_at(event.at),
                    action=str(event.action),
                    succeeded=event.succeeded,
                    address=event.address,
                    detail=dict(event.detail),
                )
                for event in await self._activity.of(user)
            ],
        }


def _told(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, [], {})}


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
