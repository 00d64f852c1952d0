"""Making tokens: signed for the client, and as rows to be committed before the client gets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.jose import left_half_hash, unsecured
from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.acr import ACR_LADDER
from idp.domain.claims import JWT_LAB_BYTES, SCOPE_CLAIMS, EntitlementNamespace, user_claims
from idp.domain.client import AccessTokenFormat, Client, Profile
from idp.domain.grant import AccessToken, Grant
from idp.domain.lab import LabMembership
from idp.domain.lab_release import ENDING
from idp.domain.lab_scope import is_about_labs
from idp.domain.release import Release, release
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import User
from idp.protocol import access_token, id_token
from idp.protocol.claims_request import matching, registered_wishes
from idp.protocol.errors import InvalidGrant, InvalidScope
from idp.protocol.lab_consent import meets_required_labs
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


@dataclass(frozen=True, slots=True)
class NewAccessToken:
    """An access token, its row, and the scope that is told: what of the row's is granted at this moment.

    The row keeps what was asked for, so that a lab which is not told now does not widen what is asked later.
    """

    token: str
    row: AccessToken
    scope: tuple[str, ...]

    def response(self, *, now: datetime) -> dict[str, Any]:
        """Return what the client is told (RFC 6749 §4.2.2, §5.1); no scope, no member (§3.3)."""
        response = {
            "access_token": self.token,
            "token_type": "Bearer",
            "expires_in": int((self.row.expires_at - now).total_seconds()),
        }
        return {**response, "scope": " ".join(self.scope)} if self.scope else response


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
        namespace: EntitlementNamespace | None,
    ) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self._subjects = subjects
        self._resources = resources
        self._encryption = encryption
        self._namespace = namespace
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
        self,
        client: Client,
        grant: Grant | None,
        scope: Sequence[str],
        *,
        audience: Sequence[str] = (),
        held: Sequence[LabMembership] = (),
        now: datetime,
    ) -> NewAccessToken:
        """Return an access token, for this server where there is no audience; labs are evaluated now.

        It is a JWT (RFC 9068), or opaque where the client registered that. Of the scope it has what means something to
        its audience (RFC 8707 §2.2), and of the labs that are named in it those that are told. `held` is what labs gave
        to a client that acts for itself.

        Raises:
            InvalidScope: nothing is left of the scope that the user gave.
            InvalidGrant: the user is in none of the labs any more that the client insists on.
        """
        meant = scope
        if audience:
            meant = scope_for(audience, scope, await self._resources.find_all(audience), issuer=self.issuer)
        audience = audience or (self.issuer,)
        if grant is not None:
            held = await self._memberships(client, grant, scope)
        released = self._release(client, grant, meant, held, now)
        if grant is not None and not meets_required_labs(client, released.labs, held, acr=grant.acr, now=now):
            raise InvalidGrant("The user is in no lab any more that the application is for.")
        if (scope or grant is not None) and not released.scope and all(map(is_about_labs, scope)):
            raise InvalidScope(detail="nothing is left of the scope")
        jti = mint_id("t")
        expires_at = released.expires_at(now + self.times.access_token, now=now)
        if grant is not None:
            expires_at = min(expires_at, grant.expires_at)
        claims = access_token.access_token_claims(
            issuer=self.issuer,
            sub=client.client_id if grant is None else self._subjects.of(client, grant.user_id),
            client_id=client.client_id,
            audience=audience,
            scope=" ".join(released.scope),
            jti=jti,
            now=now,
            expires_at=expires_at,
            released=released.claims,
            not_before=client.profile is Profile.WLCG,
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
            scope=" ".join(meant),
            audience=" ".join(audience),
            created_at=now,
            expires_at=expires_at,
            grant_id=None if grant is None else grant.id,
            # What the token really says, which may be less than what was asked for.
            claims=released.claims,
        )
        return NewAccessToken(token, row, released.scope)

    async def _memberships(self, client: Client, grant: Grant, scope: Sequence[str]) -> Sequence[LabMembership]:
        if client.require_lab is None and not any(map(is_about_labs, scope)):
            return ()
        return await self._store.find_memberships(grant.user_id)

    def _release(
        self,
        client: Client,
        grant: Grant | None,
        scope: Sequence[str],
        held: Sequence[LabMembership],
        now: datetime,
    ) -> Release:
        """Return what a JWT tells about labs."""
        return release(
            client,
            scope,
            now=now,
            memberships=held,
            consent=None if grant is None else grant.labs,
            # Labs gave a service what it has, however it proves itself.
            acr=ACR_LADDER[-1] if grant is None else grant.acr,
            allowed="*" if grant is None else None,
            ending=ENDING,
            namespace=self._namespace,
            max_lab_bytes=JWT_LAB_BYTES,
        )

    async def id_token(
        self,
        client: Client,
        grant: Grant,
        user: User,
        *,
        granted: Sequence[str],
        with_nonce: bool,
        now: datetime,
        scope: Sequence[str] = (),
        access_token: str | None = None,
        code: str | None = None,
        state: str | None = None,
    ) -> str:
        """Return an ID token with the hashes of what it goes with (OpenID Connect Core §3.1.3.3, §3.3.2.11).

        It holds the claims of `scope`, and those that were asked for one by one (§5.5). About labs it tells, as far as
        `granted` goes, only clients that registered for it: others put it into addresses, and so into logs.

        Raises:
            ServerError: it has to be encrypted, and the client's keys cannot be had.
        """
        released = user_claims(user, scope) if scope else {}
        if wishes := registered_wishes(grant.claims.get("id_token", {}), client.scopes):
            released |= matching(user_claims(user, SCOPE_CLAIMS), wishes)
        expires_at = now + self.times.id_token
        if client.id_token_lab_claims or client.profile is Profile.WLCG:
            labs = self._release(client, grant, granted, await self._memberships(client, grant, granted), now)
            released |= labs.claims
            expires_at = labs.expires_at(expires_at, now=now)
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
            now=now,
            expires_at=expires_at,
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
