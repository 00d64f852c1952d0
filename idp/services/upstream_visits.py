"""Sign-ins at other providers that are under way: what is remembered of them, sealed, for one browser and one use."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from idp.crypto.envelope import CannotUnseal, seal, unseal
from idp.crypto.opaque import hash_token, mint_token, same
from idp.domain.clock import Clock
from idp.domain.provider import Provider
from idp.domain.upstream import UpstreamIdentity, UpstreamVisit, VisitStage
from idp.services.installation import DataKeys
from idp.store.store import Store
from idp.upstream.connector import Departure

# Long enough to get a forgotten password back at the provider.
LIFETIME = timedelta(minutes=15)


class Purpose(StrEnum):
    """What a visit is for."""

    SIGN_IN = "sign_in"
    # Connecting an account that is signed in here with one at the provider.
    LINK = "link"
    # Saying what becomes of an address that changed at the provider.
    ADDRESS = "address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """Where a person goes on to: within an authorization request, to a page of ours, or to the first page.

    With `add` they sign in beside whoever is signed in. With `again` it is the same person who proves to be there, with
    `prove` anybody who has an account: neither makes one.
    """

    handle: str | None = field(default=None, repr=False)
    next_path: str | None = None
    add: bool = False
    again: bool = False
    prove: bool = False

    @property
    def proves(self) -> bool:
        """Whether it is to prove an account that there is."""
        return self.again or self.prove


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is remembered while the browser is at the provider.

    `session_id` is the session that wants to be linked, or whose person is to prove who they are.
    """

    purpose: Purpose
    departure: Departure
    onward: Onward
    left_at: datetime
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Who came back, and has something to answer; `user_id` is whose account it is about, None for anybody's.

    `by_address` tells that the account was found by the address alone; `recreated` that it is linked with another
    account of the same provider already.
    """

    purpose: Purpose
    provider: str
    identity: UpstreamIdentity
    onward: Onward
    returned_at: datetime
    user_id: str | None = None
    by_address: bool = False
    recreated: bool = False


class VisitGone(Exception):
    """The visit is unknown, used, expired, of another browser or of another provider."""


class UpstreamVisits:
    """Remembers visits."""

    def __init__(self, store: Store, keys: DataKeys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    async def leave(self, provider: Provider, left: Left, *, browser: str) -> None:
        """Remember that a browser goes to a provider, under the hash of its `state` (RFC 6749 §10.12)."""
        document = {
            **asdict(left),
            "left_at": left.left_at.isoformat(),
            "departure": {**asdict(left.departure), "state": ""},
        }
        visit = self._visit(left.departure.state, provider.name, VisitStage.LEFT, browser, document, left.left_at)
        await self._store.commit.append(visit)

    async def take_back(self, provider: Provider, state: str, *, browser: str) -> Left:
        """Return what was remembered, once and for all (RFC 9700 §4.7.1).

        Raises:
            VisitGone: there is nothing that this browser may come back to.
        """
        visit = await self._find(state, provider.name, VisitStage.LEFT, browser)
        if not await self._store.commit.consume(UpstreamVisit, visit.hash, now=self._clock()):
            raise VisitGone
        document = self._open(visit)
        departure = Departure(**{**_with_tuples(document.pop("departure")), "state": state})
        return Left(
            **{
                **document,
                "purpose": Purpose(document["purpose"]),
                "departure": departure,
                "onward": Onward(**document["onward"]),
                "left_at": datetime.fromisoformat(document["left_at"]),
            }
        )

    async def hold(self, returned: Returned, *, browser: str) -> str:
        """Remember who came back, and return the handle of the page that asks."""
        handle = mint_token()
        identity = asdict(returned.identity)
        auth_time = returned.identity.auth_time
        document = {
            **asdict(returned),
            "returned_at": returned.returned_at.isoformat(),
            "identity": {**identity, "auth_time": None if auth_time is None else auth_time.isoformat()},
        }
        visit = self._visit(handle, returned.provider, VisitStage.RETURNED, browser, document, returned.returned_at)
        await self._store.commit.append(visit)
        return handle

    async def held(self, provider: str, handle: str, *, browser: str) -> Returned:
        """Return who came back; it is used up by `tx.upstream_visits.use`, in the transaction of the answer.

        Raises:
            VisitGone: see `take_back`.
        """
        document = self._open(await self._find(handle, provider, VisitStage.RETURNED, browser))
        identity = _with_tuples(document["identity"])
        if identity["auth_time"] is not None:
            identity["auth_time"] = datetime.fromisoformat(identity["auth_time"])
        return Returned(
            **{
                **document,
                "purpose": Purpose(document["purpose"]),
                "identity": UpstreamIdentity(**identity),
                "onward": Onward(**document["onward"]),
                "returned_at": datetime.fromisoformat(document["returned_at"]),
            }
        )

    def _visit(
        self, token: str, provider: str, stage: VisitStage, browser: str, document: Mapping[str, Any], now: datetime
    ) -> UpstreamVisit:
        visit = UpstreamVisit(
            hash=hash_token(token),
            provider=provider,
            stage=stage,
            browser=browser,
            sealed=b"",
            created_at=now,
            expires_at=now + LIFETIME,
        )
        sealed = seal(self._keys.seal, json.dumps(document).encode(), associated=_place(visit))
        return replace(visit, sealed=sealed)

    async def _find(self, token: str, provider: str, stage: VisitStage, browser: str) -> UpstreamVisit:
        visit = await self._store.find_upstream_visit(hash_token(token))
        if visit is None or visit.used_at is not None or self._clock() >= visit.expires_at:
            raise VisitGone
        if visit.provider != provider or visit.stage is not stage or not same(visit.browser, browser):
            # Another browser's: whoever started it there is not who comes here (RFC 9700 §4.7.1), and mix-up (§4.4).
            raise VisitGone
        return visit

    def _open(self, visit: UpstreamVisit) -> dict[str, Any]:
        try:
            opened: dict[str, Any] = json.loads(unseal(self._keys.seal, visit.sealed, associated=_place(visit)))
        except CannotUnseal:
            raise VisitGone from None
        return opened


def _place(visit: UpstreamVisit) -> str:
    # What is about to leave can never be taken for who came back.
    return f"upstream-visit:{visit.stage}:{visit.hash}"


def _with_tuples(document: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
