"""Making tokens: signed for the client, and as rows to be committed before the client gets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.jose import left_half_hash, unsecured
from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.claims import LAB_SCOPES, SCOPE_CLAIMS, lab_claims, user_claims
from idp.domain.client import AccessTokenFormat, Client
from idp.domain.grant import AccessToken, Grant
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import User
from idp.protocol import access_token, id_token
from idp.protocol.claims_request import matching, registered_wishes
from idp.protocol.resource import check_granted, scope_for
from idp.services.client_encryption import ClientEncryption
from idp.services.resources import Resources
from idp.services.signing_keys import SigningKeys
from idp.services.subjects import Subjects
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
    """Makes access and ID tokens."""

    def __init__(
        self,
        store: Store,
        signing_keys: SigningKeys,
        subjects: Subjects,
        resources: Resources,
        encryption: ClientEncryption,
        *,
        issuer: str,
        times: TokenTimes,
    ) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self._subjects = subjects
        self._resources = resources
        self._encryption = encryption
        self.issuer = issuer
        self.times = times

    async def audience(self, client: Client, grant: Grant, requested: Sequence[str]) -> tuple[str, ...]:
        """Return for which resources a grant's access token is, judged by what is registered now (RFC 8707 §2.2).

        Raises:
            InvalidTarget: see `idp.protocol.resource.check_granted`.
        """
        known = await self._resources.find_all((*requested, *grant.resources))
        return check_granted(requested, grant.resources, client, known, issuer=self.issuer)

    async def access_token(
        self, client: Client, grant: Grant | None, scope: Sequence[str], *, audience: Sequence[str] = (), now: datetime
    ) -> tuple[str, AccessToken]:
        """Return an access token and its row, for this server where there is no audience; labs are evaluated now.

        It is a JWT (RFC 9068), or opaque where the client registered that. Of the scope it has what means something to
        its audience (RFC 8707 §2.2).
        """
        if audience:
            scope = scope_for(audience, scope, await self._resources.find_all(audience), issuer=self.issuer)
        audience = audience or (self.issuer,)
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
            sub=client.client_id if grant is None else self._subjects.of(client, grant.user_id),
            client_id=client.client_id,
            audience=audience,
            scope=row_scope,
            jti=jti,
            now=now,
            expires_at=expires_at,
            released=released,
            grant=grant,
        )
        if client.access_token_format is AccessTokenFormat.OPAQUE:
            token = mint_token()
        else:
            token = (await self._signing_keys.signer(SigningAlgorithm.RS256)).sign(claims, typ=access_token.TYPE)
        row = AccessToken(
            hash=hash_token(token),
            jti=jti,
            client_id=client.client_id,
            scope=row_scope,
            audience=" ".join(audience),
            created_at=now,
            expires_at=expires_at,
            grant_id=None if grant is None else grant.id,
            # What the token really says, which may be less than what was asked for.
            claims={name: claims[name] for name in _RELEASED if name in claims},
        )
        return token, row

    async def id_token(
        self,
        client: Client,
        grant: Grant,
        user: User,
        *,
        with_nonce: bool,
        now: datetime,
        scope: Sequence[str] = (),
        access_token: str | None = None,
        code: str | None = None,
        state: str | None = None,
    ) -> str:
        """Return an ID token with the hashes of what it goes with (OpenID Connect Core §3.1.3.3, §3.3.2.11).

        It holds the claims of `scope`, and those that were asked for one by one (§5.5); never any about labs.

        Raises:
            ServerError: it has to be encrypted, and the client's keys cannot be had.
        """
        released = user_claims(user, scope) if scope else {}
        if wishes := registered_wishes(grant.claims.get("id_token", {}), client.scopes):
            released |= matching(user_claims(user, SCOPE_CLAIMS), wishes)
        unsigned = client.id_token_signed_response_alg == id_token.UNSIGNED
        parts = {"at_hash": access_token, "c_hash": code, "s_hash": state}
        hashes = {
            # An unsigned one names no hash.
            name: left_half_hash(part, client.id_token_signed_response_alg)
            for name, part in parts.items()
            if part is not None and not unsigned
        }
        claims = id_token.id_token_claims(
            grant,
            issuer=self.issuer,
            sub=self._subjects.of(client, grant.user_id),
            sid=None if grant.session_id is None else self._subjects.sid(client, grant.session_id),
            ttl=self.times.id_token,
            now=now,
            hashes=hashes,
            released=released,
            with_nonce=with_nonce,
        )
        if unsigned:
            token = unsecured(claims, typ=id_token.TYPE)
        else:
            signer = await self._signing_keys.signer(SigningAlgorithm(client.id_token_signed_response_alg))
            token = signer.sign(claims, typ=id_token.TYPE)
        return await self._encryption.id_token(client, token)
