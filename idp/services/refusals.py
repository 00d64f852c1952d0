"""Refusal tickets: what was refused and why, sealed for a week under the reference that the caller was given."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from idp.crypto.envelope import seal, unseal
from idp.crypto.jose import InvalidSignature, read_unverified
from idp.crypto.opaque import hash_token, mint_reference, read_reference
from idp.domain.clock import Clock
from idp.domain.refusal import Refusal
from idp.domain.user import AdminRole, User
from idp.observe.logs import get_logger
from idp.observe.request_id import current_request_id
from idp.protocol.client_authentication import read_client_credentials
from idp.protocol.errors import OAuthError
from idp.protocol.parameters import Parameters
from idp.protocol.refusal import (
    JWTS,
    Cause,
    Comparison,
    Explanation,
    cause_of,
    compare,
    reduce_jwt,
    repeated_parameters,
    sent_parameters,
    shown,
)
from idp.services.audit import caller_address
from idp.services.clients import Clients
from idp.services.installation import DataKeys
from idp.services.networks import counted_network
from idp.store.errors import Conflict, StoreError
from idp.store.store import Store

KEPT_FOR = timedelta(days=7)
# The refusal is what the caller waits for, not its record.
_PATIENCE_SECONDS = 2
_WINDOW = timedelta(hours=1)
_MAX_NETWORKS = 10_000
_MAX_ADDRESS_CHARS = 45
_log = get_logger(__name__)


class Audience(StrEnum):
    """Who reads an explanation: anybody, whoever looks after the application, or whoever runs the installation."""

    ANYBODY = "anybody"
    CLIENT_ADMIN = "client_admin"
    OPERATOR = "operator"


def may_read(user: User | None, refusal: Refusal) -> Audience:
    """Return as whom a user reads the explanation of a refusal; None is somebody who has not signed in."""
    if user is None or not user.roles:
        return Audience.ANYBODY
    return Audience.OPERATOR if AdminRole.SUPER_ADMIN in user.roles else Audience.CLIENT_ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """A request that was refused: by which error, where, and all that came with it; only a part of it is kept."""

    error: str
    description: str
    detail: str
    route: str
    params: Parameters
    authorization: str | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A refusal with its explanation opened."""

    refusal: Refusal
    explanation: Explanation

    def cause(self, audience: Audience) -> str:
        """Return the rule that refused, as far as the reader may know it."""
        cause = self.explanation.cause
        return cause.operator if audience is Audience.OPERATOR else cause.public


class Refusals:
    """Keeps explanations, a bounded number for each caller, and finds them by their reference."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        keys: DataKeys,
        clock: Clock,
        *,
        per_address: int,
        exempt: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._store = store
        self._clients = clients
        self._keys = keys
        self._clock = clock
        self._allowance = Allowance(per_address, exempt=exempt)

    async def keep(self, refused: RefusedRequest) -> str:
        """Return a reference for a refusal, under which its explanation is found for a week.

        Nothing is kept past the caller's allowance, or while the database does not take it; the reference then leads
        to the log only. Never raises: the refusal has to go out.
        """
        reference, now = mint_reference(), self._clock()
        address = caller_address.get()
        if not self._allowance.take(address, now=now):
            return reference
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                client_id, explanation = await self._explain(refused)
                document = json.dumps(asdict(explanation)).encode()
                refusal = Refusal(
                    reference=reference,
                    client_id=client_id,
                    error=refused.error,
                    address=None if address is None else address[:_MAX_ADDRESS_CHARS],
                    created_at=now,
                    expires_at=now + KEPT_FOR,
                    sealed=seal(self._keys.seal, document, associated=_place(reference)),
                )
                await self._store.commit.append(refusal)
        except Conflict:
            # Another refusal has this reference, and must not be shown in the place of this one.
            return await self.keep(refused)
        except (StoreError, TimeoutError) as error:
            _log.warning("refusal.not_kept", reason=type(error).__name__, reference=reference)
        except Exception:
            _log.exception("refusal.failed", reference=reference)
        return reference

    async def find(self, text: str) -> Ticket | None:
        """Return the ticket of a reference, in whatever way it is typed; None when it is not known, or not any more."""
        reference = read_reference(text)
        if reference is None:
            return None
        async with self._store.read() as tx:
            refusal = await tx.refusals.find(reference)
        if refusal is None or self._clock() >= refusal.expires_at:
            return None
        document = json.loads(unseal(self._keys.seal, refusal.sealed, associated=_place(reference)))
        return Ticket(refusal, _explanation(document))

    async def _explain(self, refused: RefusedRequest) -> tuple[str | None, Explanation]:
        """Return the registered client that the request speaks of, if any, and the explanation."""
        params = await self._parameters(refused.params)
        jwts = {name: jwt for name in JWTS if (jwt := _read_jwt(params.get(name))) is not None}
        claimed = _claimed_client_id(refused.authorization, params, jwts)
        client = None if claimed is None else await self._clients.find(claimed)
        # What stands unregistered in the header may be a secret in the wrong place.
        named = params.get("client_id")
        client_id = client.client_id if client is not None else None if named is None else shown(named)
        compared: tuple[Comparison, ...] = ()
        if client is not None:
            authentication = _authentication(refused.authorization, params, jwts)
            compared = compare(refused.error, client, params, authentication=authentication, jwts=jwts)
        explanation = Explanation(
            route=refused.route,
            description=refused.description,
            cause=cause_of(refused.error, refused.description, refused.detail, params),
            request_id=current_request_id(),
            client_id=client_id,
            sent=sent_parameters(params),
            repeated=repeated_parameters(params),
            jwts=jwts,
            compared=compared,
        )
        return (None if client is None else client.client_id), explanation

    async def _parameters(self, params: Parameters) -> Parameters:
        """Return the parameters; for a page within a transaction those of the stored request."""
        handle = params.get("interaction")
        if handle is None:
            return params
        async with self._store.read() as tx:
            interaction = await tx.interactions.find(hash_token(handle))
        return params if interaction is None else Parameters(interaction.params)


class Allowance:
    """How many refusals are kept for each caller in an hour, where an IPv6 caller has a whole /64 to send from.

    Counted in this process alone, in bounded memory: while too many callers are known, nothing is kept for new ones.
    """

    def __init__(self, limit: int, *, exempt: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._limit = limit
        self._exempt = tuple(exempt)
        self._taken: dict[str, tuple[datetime, int]] = {}
        self._full_until: datetime | None = None

    def take(self, address: str | None, *, now: datetime) -> bool:
        """Whether one more may be kept for the address; it counts from then on."""
        network = counted_network(address, ipv4_bits=32, exempt=self._exempt)
        if network is None:
            return True
        began, count = self._taken.get(network, (now, 0))
        if now - began >= _WINDOW:
            began, count = now, 0
        if count >= self._limit or (network not in self._taken and not self._has_room(now)):
            return False
        self._taken[network] = (began, count + 1)
        return True

    def _has_room(self, now: datetime) -> bool:
        if len(self._taken) < _MAX_NETWORKS:
            return True
        if self._full_until is None or now >= self._full_until:
            self._taken = {name: held for name, held in self._taken.items() if now - held[0] < _WINDOW}
            self._full_until = min((began for began, _ in self._taken.values()), default=now) + _WINDOW
        return len(self._taken) < _MAX_NETWORKS


def _place(reference: str) -> str:
    return f"refusal:{reference}"


def _read_jwt(token: str | None) -> dict[str, Any] | None:
    if token is None:
        return None
    try:
        unverified = read_unverified(token)
    except InvalidSignature:
        return None
    return reduce_jwt(unverified.header, unverified.claims)


def _claimed_client_id(authorization: str | None, params: Parameters, jwts: dict[str, dict[str, Any]]) -> str | None:
    """Return whom the request says to come from, which anybody can say."""
    if params.get("client_id") is not None:
        return params.get("client_id")
    try:
        return read_client_credentials(authorization, params).client_id
    except OAuthError:
        assertion, hint = jwts.get("client_assertion", {}), jwts.get("id_token_hint", {})
        claimed: str | None = assertion.get("iss", next(iter(hint.get("aud", ())), None))
        return claimed


def _authentication(authorization: str | None, params: Parameters, jwts: dict[str, dict[str, Any]]) -> str:
    if params.get("client_assertion") is not None:
        by_secret = str(jwts.get("client_assertion", {}).get("alg", "")).startswith("HS")
        return "client_secret_jwt" if by_secret else "private_key_jwt"
    if params.get("client_secret") is not None:
        return "client_secret_post"
    return "none" if authorization is None else "client_secret_basic"


def _explanation(document: dict[str, Any]) -> Explanation:
    compared = tuple(Comparison(**{**item, "registered": tuple(item["registered"])}) for item in document["compared"])
    cause, repeated = Cause(**document["cause"]), tuple(document["repeated"])
    return Explanation(**{**document, "cause": cause, "compared": compared, "repeated": repeated})
