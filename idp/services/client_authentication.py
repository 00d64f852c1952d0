"""Client authentication at the endpoints for machines (RFC 6749 §2.3, OpenID Connect Core §9)."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from idp.crypto.envelope import CannotUnseal
from idp.crypto.jose import InvalidSignature, Unverified, Verified, read_unverified, verify_mac
from idp.crypto.opaque import hash_token
from idp.domain.client import Client, ClientAuthMethod
from idp.domain.clock import Clock
from idp.domain.seen_token import SeenToken
from idp.protocol.client_assertion import (
    check_assertion_header,
    check_client_assertion,
    read_client_assertion,
    read_client_id,
)
from idp.protocol.client_authentication import check_client_credentials, read_client_credentials
from idp.protocol.errors import InvalidClient, OAuthError
from idp.protocol.parameters import Parameters
from idp.services.client_keys import ClientKeys, KeysUnavailable
from idp.services.clients import Clients, open_secret, secret_hash
from idp.services.installation import DataKeys
from idp.store.errors import Conflict
from idp.store.store import Store

# That an assertion was used is remembered for longer than it is valid: the clocks of nodes are not quite the same.
_REMEMBERED_AFTER_EXPIRY = timedelta(minutes=1)


class ClientAuthentication:
    """Finds out which client sent a request; assertions count once, on whichever node.

    An assertion may be meant for the issuer or for one of the `audiences`.
    """

    def __init__(
        self,
        clients: Clients,
        client_keys: ClientKeys,
        store: Store,
        keys: DataKeys,
        clock: Clock,
        *,
        issuer: str,
        audiences: Collection[str],
    ) -> None:
        self._clients = clients
        self._client_keys = client_keys
        self._store = store
        self._keys = keys
        self._clock = clock
        self._audiences = frozenset({issuer, *audiences})

    async def authenticate(self, authorization: str | None, params: Parameters) -> Client:
        """Return the client that sent this request.

        Raises:
            InvalidClient, InvalidRequest: see `idp.protocol.client_authentication` and `client_assertion`.
        """
        assertion = read_client_assertion(authorization, params)
        if assertion is not None:
            return await self._check_assertion(assertion, params)
        presented = read_client_credentials(authorization, params)
        client = await self._clients.find(presented.client_id)
        return check_client_credentials(
            client, presented, mac=lambda secret: secret_hash(self._keys, secret), now=self._clock()
        )

    async def find_named(self, authorization: str | None, params: Parameters) -> Client | None:
        """Return the client that a request names, be it the sender or not; None when there is none."""
        try:
            assertion = read_client_assertion(authorization, params)
            if assertion is None:
                client_id = read_client_credentials(authorization, params).client_id
            else:
                client_id = read_client_id(_unverified(assertion).claims, params)
        except OAuthError:
            return None
        return await self._clients.find(client_id)

    async def _check_assertion(self, assertion: str, params: Parameters) -> Client:
        header, claims = _unverified(assertion)
        client = await self._clients.find(read_client_id(claims, params))
        if client is None:
            raise InvalidClient(detail="unknown client")
        algorithms = check_assertion_header(client, header)
        try:
            verified = await self._verify(client, assertion, algorithms)
        except (InvalidSignature, KeysUnavailable) as error:
            raise InvalidClient(detail=f"client assertion: {error}") from None
        now = self._clock()
        jti, expires_at = check_client_assertion(verified.claims, client.client_id, self._audiences, now)
        # No client_id holds NUL, so that no two clients share a hash.
        used = hash_token(f"client-assertion\0{client.client_id}\0{jti}")
        try:
            await self._store.commit.append(SeenToken(hash=used, expires_at=expires_at + _REMEMBERED_AFTER_EXPIRY))
        except Conflict:
            raise InvalidClient("The jti of the client assertion was used before: make a new one each time.") from None
        return client

    async def _verify(self, client: Client, assertion: str, algorithms: Sequence[str]) -> Verified:
        if client.token_endpoint_auth_method is ClientAuthMethod.CLIENT_SECRET_JWT:
            return verify_mac(assertion, self._secrets(client), algorithms=algorithms)
        return await self._client_keys.verify(client, assertion, algorithms=algorithms)

    def _secrets(self, client: Client) -> list[str]:
        now = self._clock()
        sealed = [secret.sealed for secret in client.secrets if secret.valid(now=now) and secret.sealed]
        if not sealed:
            raise KeysUnavailable("no valid secret is kept readable: rotate the secret")
        try:
            return [open_secret(self._keys, client.client_id, each) for each in sealed]
        except CannotUnseal as error:
            raise KeysUnavailable(f"a secret is {error}") from None


def _unverified(assertion: str) -> Unverified:
    try:
        return read_unverified(assertion)
    except InvalidSignature:
        raise InvalidClient("The client assertion is no signed JWT.") from None
