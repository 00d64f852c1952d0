"""UserInfo (OpenID Connect Core §5.3): claims as they are now, never as they were when the token was issued."""

import json
from typing import Any

from idp.crypto.jose import unsecured
from idp.crypto.opaque import hash_token
from idp.domain.claims import LAB_SCOPES, SCOPE_CLAIMS, lab_claims, user_claims
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.grant import Grant
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import User
from idp.protocol.claims_request import matching, registered_wishes
from idp.protocol.errors import InvalidToken
from idp.protocol.id_token import UNSIGNED
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
    ) -> None:
        self._store = store
        self._clients = clients
        self._subjects = subjects
        self._signing_keys = signing_keys
        self._encryption = encryption
        self._clock = clock
        self._issuer = issuer

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
        registered = client.scopes
        scope = [token for token in row.scope.split() if token in registered]
        claims = await self._claims(client, grant, user, scope)
        answer = userinfo(self._subjects.of(client, user.id), claims)
        return await self._render(client, answer)

    async def _claims(self, client: Client, grant: Grant, user: User, scope: list[str]) -> dict[str, Any]:
        claims = user_claims(user, scope)
        if wishes := registered_wishes(grant.claims.get("userinfo", {}), client.scopes):
            claims |= matching(user_claims(user, SCOPE_CLAIMS), wishes)
        labs = LAB_SCOPES.intersection({*scope, *wishes})
        if labs:
            claims |= lab_claims(await self._store.find_memberships(user.id), client, labs, now=self._clock())
        return claims

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
