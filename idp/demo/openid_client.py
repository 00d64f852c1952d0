"""An OpenID Connect client of Lab ID, written to be copied (OpenID Connect Core §3.1, RFC 9700).

Code flow with PKCE, state and nonce; the issuer of each answer is checked (RFC 9207), every token verified.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oauth2.rfc6749 import OAuth2Token
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from idp.domain.clock import system_clock

# Always explicit: a library's default list is not what was registered here.
ALGORITHMS: Final = ["RS256"]


@dataclass(frozen=True)
class SignIn:
    """What must be remembered between leaving for the provider and coming back."""

    nonce: str
    code_verifier: str


@dataclass(frozen=True)
class Account:
    """Somebody who is signed in here; every token in it was verified."""

    tokens: OAuth2Token
    id_token: CodeIDToken
    access_token: jwt.Token
    userinfo: Mapping[str, Any]


class OpenIDClient:
    """What the application asks of its provider."""

    def __init__(self, issuer: str, *, client_id: str, client_secret: str, redirect_uri: str) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._metadata: dict[str, Any] = {}

    async def authorization_url(self, scope: str, *, state: str, sign_in: SignIn) -> str:
        """Return where to send the browser (OpenID Connect Core §3.1.2.1)."""
        async with self._client() as client:
            params = {"scope": scope, "state": state, "nonce": sign_in.nonce, "code_verifier": sign_in.code_verifier}
            if "offline_access" in scope.split():
                params["prompt"] = "consent"  # §11
            url, _ = client.create_authorization_url(await self._endpoint(client, "authorization"), **params)
            return str(url)

    def check_answer(self, params: Mapping[str, str]) -> str:
        """Return the code of an authorization response.

        Raises:
            OAuthError: it comes from another provider, or is an error.
        """
        # First, so that not even an error is believed of somebody else (RFC 9207 §2.4).
        if params.get("iss") != self._issuer:
            raise OAuthError("wrong_issuer", "The answer does not come from the provider that was asked.")
        if "error" in params or "code" not in params:
            raise OAuthError(params.get("error", "invalid_response"), params.get("error_description"))
        return params["code"]

    async def sign_in(self, code: str, sign_in: SignIn) -> Account:
        """Exchange a code for tokens and verify them (OpenID Connect Core §3.1.3).

        Raises:
            OAuthError, JoseError: the provider refused, or its answer is wrong.
        """
        async with self._client() as client:
            tokens = await client.fetch_token(
                await self._endpoint(client, "token"),
                grant_type="authorization_code",
                code=code,
                code_verifier=sign_in.code_verifier,
            )
            return await self._verified(client, tokens, nonce=sign_in.nonce)

    async def refresh(self, account: Account) -> Account:
        """Return the account with new tokens and claims (OpenID Connect Core §12).

        Raises:
            OAuthError, JoseError: as for `sign_in`.
        """
        async with self._client(token=account.tokens) as client:
            tokens = await client.refresh_token(await self._endpoint(client, "token"))
            return await self._verified(client, tokens, sub=account.id_token["sub"])

    async def read_userinfo(self, account: Account) -> Account:
        """Return the account with what the provider says about it now; an access token that ended is renewed first.

        Raises:
            OAuthError, JoseError: as for `sign_in`.
        """
        if account.tokens.is_expired():
            return await self.refresh(account)
        async with self._client(token=account.tokens) as client:
            userinfo = await self._userinfo(client, account.id_token["sub"])
        return replace(account, userinfo=userinfo)

    async def logout_url(self, account: Account, *, state: str, post_logout_redirect_uri: str) -> str:
        """Return where to send the browser (OpenID Connect RP-Initiated Logout 1.0 §2)."""
        params = {
            "id_token_hint": account.tokens["id_token"],
            "post_logout_redirect_uri": post_logout_redirect_uri,
            "state": state,
        }
        async with self._client() as client:
            return f"{await self._endpoint(client, 'end_session')}?{urlencode(params)}"

    def _client(self, token: OAuth2Token | None = None) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._client_id,
            client_secret=self._client_secret,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            token=token,
            # The age of a token is looked at before it is used, see `read_userinfo`.
            leeway=0,
            timeout=10,
            # The provider is on this machine, where no proxy of the environment leads.
            trust_env=False,
        )

    async def _endpoint(self, client: AsyncOAuth2Client, name: str) -> str:
        """Return an endpoint by its name in the provider's metadata, read once (OpenID Connect Discovery §4)."""
        if not self._metadata:
            metadata = await self._json(client, f"{self._issuer}/.well-known/openid-configuration")
            if metadata.get("issuer") != self._issuer:
                raise OAuthError("wrong_issuer", "The metadata belong to another provider.")
            self._metadata = metadata
        return str(self._metadata[f"{name}_endpoint"])

    async def _json(self, client: AsyncOAuth2Client, url: str, *, withhold_token: bool = True) -> Any:
        response = await client.request("GET", url, withhold_token=withhold_token)
        response.raise_for_status()
        return response.json()

    async def _verified(
        self, client: AsyncOAuth2Client, tokens: OAuth2Token, *, nonce: str | None = None, sub: str | None = None
    ) -> Account:
        if "id_token" not in tokens:
            raise OAuthError("invalid_response", "There is no ID token in the answer.")
        # Read anew for each sign-in, so that rotated keys are there; a busy application keeps them for their max-age.
        keys = KeySet.import_key_set(await self._json(client, self._metadata["jwks_uri"]))
        signed = jwt.decode(tokens["id_token"], keys, algorithms=ALGORITHMS)
        expected: dict[str, Any] = {
            # Both essential: Authlib alone would take a foreign `aud` beside a matching `azp`.
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._client_id},
        }
        if sub is not None:
            expected["sub"] = {"essential": True, "value": sub}  # the same user as before (§12.2)
        params = {"client_id": self._client_id, "nonce": nonce, "access_token": tokens["access_token"]}
        id_token = CodeIDToken(signed.claims, signed.header, options=expected, params=params)
        id_token.validate(now=int(system_clock().timestamp()), leeway=10)
        # An access token is the API's to read; this application opens it only to show it.
        access_token = jwt.decode(tokens["access_token"], keys, algorithms=ALGORITHMS)
        return Account(tokens, id_token, access_token, await self._userinfo(client, id_token["sub"]))

    async def _userinfo(self, client: AsyncOAuth2Client, sub: str) -> dict[str, Any]:
        url = await self._endpoint(client, "userinfo")
        userinfo: dict[str, Any] = await self._json(client, url, withhold_token=False)
        if userinfo.get("sub") != sub:
            raise OAuthError("wrong_subject", "UserInfo answered about somebody else.")  # §5.3.2
        return userinfo
