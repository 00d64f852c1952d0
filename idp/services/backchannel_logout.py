"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): an outbox of logout tokens, and the job that posts it.

What is owed is committed together with the end of a session, so neither a crash nor a client that is out of reach loses
it. Every node works off the same outbox under leases; an attempt is one node's alone.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.logout import LogoutDelivery
from idp.domain.signing_key import SigningAlgorithm
from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.outbound.client import Forbidden, Outbound, OutboundError
from idp.protocol import logout_token
from idp.services.audit import audit_event
from idp.services.signing_keys import SigningKeys
from idp.services.subjects import Subjects
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

_log = get_logger(__name__)

# How long after each failed attempt the next one follows; after the last, or after a day, it is given up.
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
DELAYS = (
    *(timedelta(seconds=5), timedelta(seconds=30), 2 * _MINUTE, 10 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR),
)
GIVEN_UP_AFTER = timedelta(days=1)
# Longer than an attempt can take, IDP_OUTBOUND_TIMEOUT_SECONDS being a minute at most: the node that took it is dead.
LEASE = timedelta(minutes=2)
AT_A_TIME = 8
# What other nodes and the command line left here is found this soon; what this node owes is posted at once.
_POLL_SECONDS = 5
# §2.8; 204 is what some frameworks make of an empty 200.
_DELIVERED = frozenset({200, 204})


async def owe(tx: Transaction, sid: str, user_id: str, *, now: datetime) -> Sequence[Client]:
    """Write down whom to tell that a session has ended, in the transaction that ends it; what is owed is not doubled.

    Returns every client that had a grant in the session, whether it is told so or not.
    """
    clients = await tx.grants.clients_of_session(sid)
    owed = {delivery.client_id for delivery in await tx.logout_deliveries.of_session(sid)} if clients else set()
    for client in clients:
        if is_told(client) and client.client_id not in owed:
            await tx.logout_deliveries.add(
                LogoutDelivery(
                    id=mint_id("l"),
                    client_id=client.client_id,
                    user_id=user_id,
                    session_id=sid,
                    created_at=now,
                    expires_at=now + GIVEN_UP_AFTER,
                    next_attempt_at=now,
                )
            )
    return clients


async def retry(store: Store, delivery_id: str, *, now: datetime) -> LogoutDelivery:
    """Owe a delivery anew, with all its attempts; the servers notice within seconds.

    Raises:
        NotFound: there is none, or it has reached its client.
    """
    async with store.write() as tx:
        delivery = await tx.logout_deliveries.lock(delivery_id)
        if delivery.delivered_at is not None:
            raise NotFound(f"{delivery_id} was delivered")
        again = replace(delivery, attempts=0, next_attempt_at=now, expires_at=now + GIVEN_UP_AFTER)
        await tx.logout_deliveries.save(again)
    return again


class BackchannelLogout:
    """Posts what is owed: a few at a time, one for each client, again and again until it is taken or given up."""

    def __init__(
        self,
        store: Store,
        signing_keys: SigningKeys,
        subjects: Subjects,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self._subjects = subjects
        self._outbound = outbound
        self._clock = clock
        self._metrics = metrics
        self._issuer = issuer
        self._attempts: dict[asyncio.Task[None], str] = {}
        # Set at first: a node that starts finds what was left to do.
        self._due = asyncio.Event()
        self._due.set()

    def wake(self) -> None:
        """Look at the outbox now: something was written into it."""
        self._due.set()

    async def due(self) -> None:
        """Wait until something may be due: the pause before each turn of the job."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._due.wait()
        self._due.clear()

    async def begin(self) -> None:
        """Begin with what is due, as far as there is room; the end of an attempt makes room for the next.

        One turn of the job.
        """
        room = AT_A_TIME - len(self._attempts)
        if not room:
            return
        now = self._clock()
        async with self._store.write() as tx:
            claimed = await tx.logout_deliveries.claim_due(
                now=now, until=now + LEASE, limit=room, busy=sorted(self._attempts.values())
            )
            clients = [await tx.clients.get(delivery.client_id) for delivery in claimed]
        for client, delivery in zip(clients, claimed, strict=True):
            task = asyncio.create_task(self._attempt(client, delivery))
            self._attempts[task] = client.client_id
            task.add_done_callback(self._ended)

    async def finish(self) -> None:
        """Wait for the attempts that have begun: a client that took its token is not to get another one."""
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def count(self) -> None:
        """Tell the metrics how many were given up."""
        async with self._store.read() as tx:
            self._metrics.logout_deliveries_given_up(await tx.logout_deliveries.count_given_up())

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._attempts[task]
        # There is room for another one, perhaps of the same client.
        self._due.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # It is tried again when the lease has ended.
            _log.error("job.failed", job="deliver_logout_tokens", exc_info=error)

    async def _attempt(self, client: Client, delivery: LogoutDelivery) -> None:
        try:
            await self._post(client, delivery)
        except _NotTaken as error:
            await self._record(delivery, error)
        else:
            await self._record(delivery, None)

    async def _post(self, client: Client, delivery: LogoutDelivery) -> None:
        if client.backchannel_logout_uri is None or not client.active:
            raise _NotTaken("the client is not told any more", for_good=True)
        form = {"logout_token": await self._token(client, delivery)}
        try:
            answer = await self._outbound.post_form(client.backchannel_logout_uri, form)
        except OutboundError as error:
            reason = "address not allowed" if isinstance(error, Forbidden) else "no valid answer"
            raise _NotTaken(reason, detail=str(error)) from error
        if answer.status not in _DELIVERED:
            raise _NotTaken(f"HTTP {answer.status}")

    async def _token(self, client: Client, delivery: LogoutDelivery) -> str:
        claims = logout_token.logout_token_claims(
            issuer=self._issuer,
            client_id=client.client_id,
            sub=self._subjects.of(client, delivery.user_id),
            sid=self._subjects.sid(client, delivery.session_id),
            jti=mint_id("t"),
            now=self._clock(),
        )
        # As its ID tokens are (§2.6); one that takes unsigned ones gets this signed all the same (§2.4).
        registered = client.id_token_signed_response_alg
        alg = SigningAlgorithm.RS256 if registered == "none" else SigningAlgorithm(registered)
        return (await self._signing_keys.signer(alg)).sign(claims, typ=logout_token.TYPE)

    async def _record(self, delivery: LogoutDelivery, error: "_NotTaken | None") -> None:
        now = self._clock()
        attempts = delivery.attempts + 1
        next_attempt_at = None if error is None or error.for_good else _next_attempt(delivery, now=now)
        outcome = "delivered" if error is None else "given_up" if next_attempt_at is None else "failed"
        async with self._store.write() as tx:
            try:
                present = await tx.logout_deliveries.lock(delivery.id)
            except NotFound:
                return  # The client was deleted meanwhile, and its deliveries with it.
            if present.claimed_until != delivery.claimed_until:
                return  # It took longer than the lease, and is another node's now.
            recorded = replace(
                present,
                attempts=attempts,
                next_attempt_at=next_attempt_at,
                claimed_until=None,
                delivered_at=now if error is None else None,
                last_error=None if error is None else error.reason,
            )
            await tx.logout_deliveries.save(recorded)
            if error is not None and outcome == "given_up":
                event = audit_event(
                    AuditAction.LOGOUT_DELIVERY_FAILED,
                    actor="schedule",
                    target=delivery.client_id,
                    now=now,
                    succeeded=False,
                    session=delivery.session_id,
                    attempts=attempts,
                    reason=error.reason,
                )
                await tx.audit_events.add(event)
        self._metrics.logout_delivery(outcome)
        if error is not None:
            _log.warning(
                "logout_delivery.failed",
                client_id=delivery.client_id,
                attempts=attempts,
                reason=error.reason,
                detail=error.detail,
                given_up=outcome == "given_up",
            )


class _NotTaken(Exception):
    """An attempt that failed: `reason` is a fixed text, `detail` for the log only."""

    def __init__(self, reason: str, *, detail: str = "", for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.for_good = for_good


def is_told(client: Client) -> bool:
    """Whether the client is sent logout tokens."""
    return client.active and client.backchannel_logout_uri is not None


def _next_attempt(delivery: LogoutDelivery, *, now: datetime) -> datetime | None:
    """Return when to try again after a failure; None to give up."""
    if delivery.attempts >= len(DELAYS):
        return None
    following = now + DELAYS[delivery.attempts]
    return following if following < delivery.expires_at else None
