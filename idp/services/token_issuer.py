"""Making tokens: signed for the client, and as rows to be committed before the client gets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.jose import left_half_hash
from idp.crypto.opaque import hash_token, mint_id
from idp.domain.claims import LAB_SCOPES, lab_claims
from idp.domain.client import Client
from idp.domain.grant import AccessToken, Grant
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol import access_token, id_token
from idp.services.signing_keys import SigningKeys
from idp.store.store import Store


@dataclass(frozen=True, slots=True)
class TokenTimes:
    """How long what is issued lives."""

    access_token: timedelta
    id_token: timedelta
    code: timedelta
    refresh_token: timedelta
    refresh_grace: timedelta


# Claims about a user that an access token may hold.
_RELEASED = ("labs", "groups", "labs_overflow")


class TokenIssuer:
    """Signs access and ID tokens."""

    def __init__(self, store: Store, signing_keys: SigningKeys, *, issuer: str, times: TokenTimes) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self.issuer = issuer
        self.times = times

    async def access_token(
        self, client: Client, grant: Grant | None, scope: Sequence[str], *, now: datetime
    ) -> tuple[str, AccessToken]:
        """Return a JWT access token (RFC 9068) and its row; claims about labs are evaluated now."""
        released: Mapping[str, Any] = {}
        if grant is not None and not LAB_SCOPES.isdisjoint(scope):
            released = lab_claims(await self._store.find_memberships(grant.user_id), client, scope, now=now)
        row_scope = " ".join(scope)
        jti = mint_id("t")
        expires_at = now + self.times.access_token
        if grant is not None:
            expires_at = min(expires_at, grant.expires_at)
        claims = access_token.access_token_claims(
            issuer=self.issuer,
            sub=client.client_id if grant is None else grant.user_id,
            client_id=client.client_id,
            audience=self.issuer,
            scope=row_scope,
            jti=jti,
            now=now,
            expires_at=expires_at,
            released=released,
            grant=grant,
        )
        signer = await self._signing_keys.signer(SigningAlgorithm.RS256)
        token = signer.sign(claims, typ=access_token.TYPE)
        row = AccessToken(
            hash=hash_token(token),
            jti=jti,
            client_id=client.client_id,
            scope=row_scope,
            audience=self.issuer,
            created_at=now,
            expires_at=expires_at,
            grant_id=None if grant is None else grant.id,
            # What the token really says, which may be less than what was asked for.
            claims={name: claims[name] for name in _RELEASED if name in claims},
        )
        return token, row

    async def id_token(
        self, client: Client, grant: Grant, *, for_access_token: str, with_nonce: bool, now: datetime
    ) -> str:
        """Return an ID token that goes with an access token (OpenID Connect Core §3.1.3.3)."""
        alg = SigningAlgorithm(client.id_token_signed_response_alg)
        signer = await self._signing_keys.signer(alg)
        claims = id_token.id_token_claims(
            grant,
            issuer=self.issuer,
            ttl=self.times.id_token,
            now=now,
            at_hash=left_half_hash(for_access_token, alg),
            with_nonce=with_nonce,
        )
        return signer.sign(claims, typ=id_token.TYPE)
