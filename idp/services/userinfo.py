"""UserInfo (OpenID Connect Core §5.3): claims as they are now, never as they were when the token was issued."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from idp.crypto.jose import unsecured
from idp.crypto.opaque import hash_token
from idp.domain.claims import SCOPE_CLAIMS, USERINFO_LAB_BYTES, EntitlementNamespace, user_claims
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.grant import Grant
from idp.domain.lab_scope import LAB_SCOPES, is_about_labs
from idp.domain.release import release
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import User
from idp.protocol.claims_request import matching, registered_wishes
from idp.protocol.errors import InvalidToken
from idp.protocol.id_token import UNSIGNED
from idp.protocol.scope import still_registered
from idp.protocol.userinfo import check_userinfo_token, userinfo
from idp.services.client_encryption import ClientEncryption
from idp.services.clients import Clients
from idp.services.signing_keys import SigningKeys
from idp.services.subjects import Subjects
from idp.store.store import Store

_TYPE = "JWT"


class UserInfo:
    """Answers with the claims of the scopes that were granted, and those that were asked for one by one."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        subjects: Subjects,
        signing_keys: SigningKeys,
        encryption: ClientEncryption,
        clock: Clock,
        *,
        issuer: str,
        namespace: EntitlementNamespace | None,
    ) -> None:
        self._store = store
        self._clients = clients
        self._subjects = subjects
        self._signing_keys = signing_keys
        self._encryption = encryption
        self._clock = clock
        self._issuer = issuer
        self._namespace = namespace

    async def read(self, token: str) -> dict[str, Any] | str:
        """Return the response for a bearer token: JSON, or a JWT where the client registered for that (§5.3.2).

        Raises:
            InvalidToken, InsufficientScope: see `idp.protocol.userinfo`.
            ServerError: the answer has to be encrypted, and the client's keys cannot be had.
        """
        issued = await self._store.find_access_token(hash_token(token))
        if issued is None:
            raise InvalidToken
        now = self._clock()
        row, grant, user = check_userinfo_token(issued.item, issued.grant, issued.user, issuer=self._issuer, now=now)
        client = await self._clients.find(row.client_id)
        if client is None:
            raise InvalidToken
        claims = await self._claims(client, grant, user, still_registered(client, row.scope.split()))
        answer = userinfo(self._subjects.of(client, user.id), claims)
        return await self._render(client, answer)

    async def _claims(self, client: Client, grant: Grant, user: User, scope: Sequence[str]) -> Mapping[str, Any]:
        wishes = registered_wishes(grant.claims.get("userinfo", {}), client.scopes)
        asked = (*scope, *(name for name in wishes if name in LAB_SCOPES and name not in scope))
        released = release(
            client,
            asked,
            now=self._clock(),
            user=user,
            memberships=await self._store.find_memberships(user.id) if any(map(is_about_labs, asked)) else (),
            consent=grant.labs,
            acr=grant.acr,
            namespace=self._namespace,
            max_lab_bytes=USERINFO_LAB_BYTES,
        )
        if not wishes:
            return released.claims
        return {**released.claims, **matching(user_claims(user, SCOPE_CLAIMS), wishes)}

    async def _render(self, client: Client, answer: dict[str, Any]) -> dict[str, Any] | str:
        alg = client.userinfo_signed_response_alg
        if alg is None:
            if client.userinfo_encrypted_response_alg is None:
                return answer
            return await self._encryption.userinfo(client, json.dumps(answer), signed=False)
        claims = {**answer, "iss": self._issuer, "aud": client.client_id}
        if alg == UNSIGNED:
            signed = unsecured(claims, typ=_TYPE)
        else:
            signed = (await self._signing_keys.signer(SigningAlgorithm(alg))).sign(claims, typ=_TYPE)
        return await self._encryption.userinfo(client, signed, signed=True)
