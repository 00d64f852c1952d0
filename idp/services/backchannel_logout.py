"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): an outbox of logout tokens, and the job that posts it.

What is owed is committed together with the end of a session.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.logout import LogoutDelivery
from idp.domain.signing_key import SigningAlgorithm
from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.outbound.client import Forbidden, Outbound, OutboundError
from idp.protocol import logout_token
from idp.services.audit import audit_event
from idp.services.outbox import NotTaken, OutboxJob
from idp.services.signing_keys import SigningKeys
from idp.services.subjects import Subjects
from idp.store.errors import NotFound
from idp.store.logout import LogoutDeliveries
from idp.store.store import Store, Transaction

_log = get_logger(__name__)

# How long after each failed attempt the next one follows; after the last, or after a day, it is given up.
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
DELAYS = (
    *(timedelta(seconds=5), timedelta(seconds=30), 2 * _MINUTE, 10 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR),
)
GIVEN_UP_AFTER = timedelta(days=1)
# Longer than an attempt can take, IDP_OUTBOUND_TIMEOUT_SECONDS being a minute at most.
LEASE = timedelta(minutes=2)
AT_A_TIME = 8
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


class BackchannelLogout(OutboxJob[LogoutDelivery]):
    """Posts what is owed: a few at a time, one for each client, again and again until it is taken or given up."""

    name = "deliver_logout_tokens"
    delays = DELAYS
    lease = LEASE
    at_a_time = AT_A_TIME

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
        super().__init__(store, clock)
        self._signing_keys = signing_keys
        self._subjects = subjects
        self._outbound = outbound
        self._metrics = metrics
        self._issuer = issuer
        # A node that starts finds what was left to do.
        self.wake()

    async def count(self) -> None:
        """Tell the metrics how many were given up."""
        async with self._store.read() as tx:
            self._metrics.logout_deliveries_given_up(await tx.logout_deliveries.count_given_up())

    def _rows(self, tx: Transaction) -> LogoutDeliveries:
        return tx.logout_deliveries

    def _busy(self, running: Sequence[LogoutDelivery]) -> Sequence[str]:
        return sorted(delivery.client_id for delivery in running)

    async def _hand_over(self, owed: LogoutDelivery) -> None:
        client = await self._store.find_client(owed.client_id)
        if client is None or client.backchannel_logout_uri is None or not client.active:
            raise NotTaken("the client is not told any more", for_good=True)
        form = {"logout_token": await self._token(client, owed)}
        try:
            answer = await self._outbound.post_form(client.backchannel_logout_uri, form)
        except OutboundError as error:
            reason = "address not allowed" if isinstance(error, Forbidden) else "no valid answer"
            raise NotTaken(reason, detail=str(error)) from error
        if answer.status not in _DELIVERED:
            raise NotTaken(f"HTTP {answer.status}")

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

    def _given_up(self, owed: LogoutDelivery, attempts: int, reason: str, *, now: datetime) -> AuditEvent:
        return audit_event(
            AuditAction.LOGOUT_DELIVERY_FAILED,
            actor="schedule",
            target=owed.client_id,
            now=now,
            succeeded=False,
            session=owed.session_id,
            attempts=attempts,
            reason=reason,
        )

    def _told(self, owed: LogoutDelivery, outcome: str, attempts: int, error: NotTaken | None) -> None:
        self._metrics.logout_delivery(outcome)
        if error is not None:
            _log.warning(
                "logout_delivery.failed",
                client_id=owed.client_id,
                attempts=attempts,
                reason=error.reason,
                detail=error.detail,
                given_up=outcome == "given_up",
            )


def is_told(client: Client) -> bool:
    """Whether the client is sent logout tokens."""
    return client.active and client.backchannel_logout_uri is not None
