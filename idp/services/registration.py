"""Dynamic client registration (RFC 7591) and its management (RFC 7592): clients that developers register themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from idp.crypto.opaque import hash_token, mint_id, mint_token, same
from idp.domain.audit import AuditAction
from idp.domain.client import Client, ClientAuthMethod, ClientSecret
from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.outbound.client import Outbound, OutboundError
from idp.protocol.access_token import read_bearer_token
from idp.protocol.errors import InvalidClientMetadata, InvalidToken, RegistrationClosed
from idp.protocol.registration import (
    RegistrationPolicy,
    check_implicit_redirects,
    check_sector,
    check_update,
    client_information,
    metadata_refusal,
    read_metadata,
)
from idp.services.audit import audit_event, caller_address
from idp.services.client_input import SECRETLESS, ClientInput
from idp.services.clients import Clients, make_secret, mint_secret, secret_hash
from idp.services.input import InputRefused, Place, place_text
from idp.services.installation import DataKeys
from idp.services.rate_limit import RateLimits
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

LIMIT = "registration"
# Counted apart, so that whoever guesses initial access tokens locks nobody out who has one in the same network.
REFUSAL_LIMIT = "registration_refusal"
_ANONYMOUS = "anonymous"
# A name that nobody has checked must not push what is asked for off the page.
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True, repr=False)
class Managed:
    """A client together with the registration access token that it presented: proof that it may manage itself."""

    client: Client
    token: str


class ClientRegistration:
    """Registers clients as the policy allows, and lets each read, replace and delete its own registration.

    `on_change` is told of each new registration, so that what it names can be fetched before somebody looks.
    """

    def __init__(
        self,
        store: Store,
        clients: Clients,
        keys: DataKeys,
        outbound: Outbound,
        rate_limits: RateLimits,
        clock: Clock,
        *,
        issuer: str,
        policy: RegistrationPolicy,
        require_pkce: bool,
        on_loopback: bool,
        on_change: Callable[[Client], None] = lambda client: None,
    ) -> None:
        self._store = store
        self._clients = clients
        self._keys = keys
        self._outbound = outbound
        self._rate_limits = rate_limits
        self._clock = clock
        self._issuer = issuer
        self._policy = policy
        self._require_pkce = require_pkce
        self._on_loopback = on_loopback
        self._on_change = on_change

    async def admit(self, authorization: str | None) -> str:
        """Return as whom the caller may register a client: the id of an initial access token, or anonymous.

        Raises:
            RegistrationClosed: nobody may.
            TooManyRequests: the caller's network registered, or sent wrong tokens, too often.
            InvalidToken: an initial access token is needed, and this is none, or none that counts (RFC 7591 §3).
        """
        if self._policy is RegistrationPolicy.CLOSED:
            raise RegistrationClosed
        actor = _ANONYMOUS
        if self._policy is RegistrationPolicy.TOKEN:
            actor = await self._check_initial_access_token(authorization)
        await self._rate_limits.hit(LIMIT, caller_address.get())
        return actor

    async def _check_initial_access_token(self, authorization: str | None) -> str:
        token_hash = hash_token(read_bearer_token(authorization, None))
        async with self._store.read() as tx:
            token = await tx.initial_access_tokens.find(token_hash)
        now = self._clock()
        if token is None or not token.valid(now=now):
            await self._rate_limits.hit(REFUSAL_LIMIT, caller_address.get())
            target = "unknown" if token is None else token.id
            await self._store.commit.append(
                audit_event(
                    AuditAction.CLIENT_REGISTRATION_REFUSED, actor=_ANONYMOUS, target=target, now=now, succeeded=False
                )
            )
            raise InvalidToken(detail=f"initial access token: {target}")
        return token.id

    async def register(self, raw: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
        """Register a client and return the client information response (RFC 7591 §3.2.1).

        Raises:
            InvalidRedirectUri, InvalidClientMetadata: see `idp.protocol.registration` and `ClientInput`.
            InvalidSoftwareStatement, UnapprovedSoftwareStatement: there is a software statement.
        """
        given = await self._read(mint_id("client"), raw)
        now = self._clock()
        secrets, secret = self._secrets(given, (), now)
        token = mint_token()
        client = self._client(given, secrets, token, now=now, created_at=now)
        async with self._store.write() as tx:
            await tx.clients.add(client)
            await tx.audit_events.add(
                audit_event(AuditAction.CLIENT_REGISTERED, actor=actor, target=client.client_id, now=now)
            )
        self._clients.forget(client.client_id)
        self._on_change(client)
        return self._information(client, token, secret)

    async def manage(self, client_id: str, authorization: str | None) -> Managed:
        """Return the client that presents its registration access token (RFC 7592 §2).

        Raises:
            InvalidToken: it is another one, or there is no such client, or it was disabled: all look alike.
        """
        token = read_bearer_token(authorization, None)
        client = await self._store.find_client(client_id)
        if client is None or not client.active or not _is_token(client, hash_token(token)):
            raise InvalidToken
        return Managed(client, token)

    def read(self, managed: Managed) -> dict[str, Any]:
        """Return the registration (RFC 7592 §2.1); the token stays the same."""
        return self._information(managed.client, managed.token, None)

    async def update(self, managed: Managed, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the registration as a whole (RFC 7592 §2.2) and the token with it; of two at once one succeeds.

        What an administrator added goes as well: nobody has looked at the new metadata.

        Raises:
            TooManyRequests: the caller's network tried too often.
            InvalidRequest: see `check_update`.
            InvalidToken: the token was replaced meanwhile.
            InvalidRedirectUri, InvalidClientMetadata, …: as for `register`.
        """
        await self._rate_limits.hit(LIMIT, caller_address.get())
        client_id = managed.client.client_id
        check_update(managed.client, raw, mac=lambda secret: secret_hash(self._keys, secret), now=self._clock())
        given = await self._read(client_id, raw)
        token = mint_token()
        async with self._store.write() as tx:
            before = await self._lock(tx, managed)
            now = self._clock()
            secrets, secret = self._secrets(given, before.secrets, now)
            client = self._client(given, secrets, token, now=now, created_at=before.created_at)
            await tx.clients.save(client)
            changed = _changed(before, client)
            await tx.audit_events.add(
                audit_event(AuditAction.CLIENT_UPDATED, actor=client_id, target=client_id, now=now, fields=changed)
            )
        self._clients.forget(client_id)
        self._on_change(client)
        return self._information(client, token, secret)

    async def delete(self, managed: Managed) -> None:
        """Delete the client, and with it every grant, code, token and consent that it was given (RFC 7592 §2.3).

        Raises:
            InvalidToken: the token was replaced meanwhile.
        """
        client_id = managed.client.client_id
        async with self._store.write() as tx:
            await self._lock(tx, managed)
            await tx.clients.delete(client_id)
            await tx.audit_events.add(
                audit_event(AuditAction.CLIENT_DELETED, actor=client_id, target=client_id, now=self._clock())
            )
        self._clients.forget(client_id)

    async def _read(self, client_id: str, raw: Mapping[str, Any]) -> ClientInput:
        metadata = read_metadata(raw, require_pkce=self._require_pkce)
        try:
            given = ClientInput.read({**metadata, "client_id": client_id})
            if faults := self._faults(given):
                raise InputRefused(faults)
        except InputRefused as refused:
            raise metadata_refusal({place_text(place): fault for place, fault in refused.faults.items()}) from None
        check_implicit_redirects(
            given.application_type, given.grant_types, given.redirect_uris, on_loopback=self._on_loopback
        )
        if given.sector_identifier_uri is not None:
            await self._check_sector(given.sector_identifier_uri, given)
        return given

    def _faults(self, given: ClientInput) -> dict[Place, str]:
        faults = given.own_addresses(self._issuer)
        if len(given.client_name or "") > _MAX_NAME_CHARS:
            faults["client_name",] = f"it must have at most {_MAX_NAME_CHARS} characters"
        return faults

    async def _check_sector(self, uri: str, given: ClientInput) -> None:
        try:
            fetched = await self._outbound.get(uri, accept="application/json")
        except OutboundError as error:
            raise InvalidClientMetadata(
                "sector_identifier_uri: the document there could not be fetched.", detail=str(error)
            ) from error
        if fetched.status != 200:
            raise InvalidClientMetadata(
                "sector_identifier_uri: there is no document.", detail=f"it answered with {fetched.status}"
            )
        check_sector(fetched.body, given.redirect_uris)

    def _secrets(
        self, given: ClientInput, held: tuple[ClientSecret, ...], now: datetime
    ) -> tuple[tuple[ClientSecret, ...], str | None]:
        """Return the client's secrets, and the text of a new one where it has none that its method can use."""
        method = given.token_endpoint_auth_method
        if method in SECRETLESS:
            return (), None
        sealed = method is ClientAuthMethod.CLIENT_SECRET_JWT
        usable = tuple(s for s in held if s.valid(now=now) and (s.sealed is not None or not sealed))
        if usable:
            return usable, None
        secret = mint_secret(method)
        return (make_secret(self._keys, given.client_id, method, secret, now),), secret

    def _client(
        self, given: ClientInput, secrets: tuple[ClientSecret, ...], token: str, *, now: datetime, created_at: datetime
    ) -> Client:
        client = given.client(None, secrets=secrets, now=now, managed_by=ManagedBy.REGISTRATION)
        return replace(client, created_at=created_at, registration_access_token_hash=hash_token(token))

    async def _lock(self, tx: Transaction, managed: Managed) -> Client:
        try:
            client = await tx.clients.lock(managed.client.client_id)
        except NotFound:
            raise InvalidToken from None
        if not _is_token(client, hash_token(managed.token)):
            raise InvalidToken
        return client

    def _information(self, client: Client, token: str, secret: str | None) -> dict[str, Any]:
        return {
            **client_information(client),
            # Zero is never (RFC 7591 §3.2.1). A secret is stored as a hash: it is told only when it is made.
            **({} if secret is None else {"client_secret": secret, "client_secret_expires_at": 0}),
            "registration_client_uri": f"{self._issuer}/clients/{client.client_id}",
            "registration_access_token": token,
        }


def _is_token(client: Client, token_hash: str) -> bool:
    held = client.registration_access_token_hash
    return held is not None and same(held, token_hash)


def _changed(before: Client, after: Client) -> list[str]:
    silent = {"updated_at", "secrets", "registration_access_token_hash"}
    names = (field.name for field in fields(Client) if field.name not in silent)
    return sorted(name for name in names if getattr(before, name) != getattr(after, name))
