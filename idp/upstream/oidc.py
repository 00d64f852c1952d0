"""Any OpenID provider: the code flow with PKCE, state and nonce (OpenID Connect Core §3.1, RFC 9700 §2.1)."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from idp.crypto.jose import InvalidSignature, Verified, left_half_hash, read_unverified, verify
from idp.domain.clock import Clock
from idp.domain.provider import Provider
from idp.domain.upstream import UpstreamIdentity
from idp.outbound.client import Outbound
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.protocol.upstream_id_token import Expected, judge, with_userinfo
from idp.upstream.circuit import Circuit
from idp.upstream.connector import ApiToken, Connector, Departure, Finding
from idp.upstream.conversation import AUTH_METHODS, Conversation, TokenEndpoint, TokenRefused, printable
from idp.upstream.documents import Documents
from idp.upstream.metadata import DISCOVERY_PATH, Metadata, read_metadata
from idp.upstream.probe import Places, Probe

# RFC 6749 appendix A.11; some servers fall over longer ones, and would seem to be down.
_CODE = re.compile(r"[ -~]{1,4096}")
# A longer address is refused by many servers.
_MAX_HINT_CHARS = 4096
# RFC 6749 §4.1.2.1.
_FAULTS = {
    "access_denied": UpstreamFault.DENIED,
    "server_error": UpstreamFault.TROUBLE,
    "temporarily_unavailable": UpstreamFault.TROUBLE,
}
_AUTH_TIME = {"id_token": {"auth_time": {"essential": True}}}


class OidcConnector(Connector):
    """Speaks OpenID Connect; presets of single providers are subclasses."""

    places: ClassVar[Places] = Places()
    usual_auth_method: ClassVar[str | None] = None

    def __init__(
        self,
        provider: Provider,
        secret: str | None,
        outbound: Outbound,
        documents: Documents,
        circuit: Circuit,
        clock: Clock,
    ) -> None:
        super().__init__(provider, secret)
        self._outbound = outbound
        self._documents = documents
        self._conversation = Conversation(provider.name, outbound, circuit, clock)

    async def authorization_url(self, departure: Departure) -> str:
        """Return where the browser goes to sign in (OpenID Connect Core §3.1.2.1).

        Raises:
            UpstreamRefused: DOWN, or INVALID where the provider's metadata are another's.
        """
        self._conversation.check_up()
        async with self._conversation.turn():
            metadata = await self._metadata()
        return with_parameters(metadata.authorization_endpoint, self._parameters(departure, metadata))

    async def identify(self, answer: Mapping[str, str], departure: Departure, *, now: datetime) -> UpstreamIdentity:
        """Return whom the provider vouches for (OpenID Connect Core §3.1.3).

        Raises:
            UpstreamRefused: it does not, or not credibly.
        """
        async with self._conversation.turn() as turn:
            metadata = await self._metadata()
            issuers = (self.provider.issuer,)
            code = read_code(answer, issuers, tells_issuer=metadata.tells_issuer)
            turn.ask()
            endpoint = self._token_endpoint(metadata)
            form = {"code": code, "redirect_uri": departure.redirect_uri, "code_verifier": departure.code_verifier}
            # The nonce of its ID token is this request's alone, and no token is kept without it.
            tokens = await self._conversation.token(endpoint, "authorization_code", form, proven=True)
            try:
                identity, expected = await self._judged(tokens, metadata, departure.nonce, now=now)
            except UpstreamRefused:
                # It may have been the answer to another request, and then those that follow are shifted as well.
                self._outbound.drop_kept(metadata.token_endpoint)
                raise
            if metadata.userinfo_endpoint and self._lacks(identity.claims):
                userinfo = await self._conversation.get_json(metadata.userinfo_endpoint, tokens["access_token"])
                if not isinstance(userinfo, dict):
                    raise UpstreamRefused(UpstreamFault.INVALID, detail="userinfo is JSON, but no object")
                identity = with_userinfo(identity, userinfo, expected)
            return self._with_tokens(self._checked(identity), tokens, departure, metadata)

    async def _judged(
        self, tokens: Mapping[str, Any], metadata: Metadata, nonce: str, *, now: datetime
    ) -> tuple[UpstreamIdentity, Expected]:
        """Return whom the ID token vouches for, and what it was held against (OpenID Connect Core §3.1.3.7).

        Raises:
            UpstreamRefused: INVALID: there is none, or it is not credible.
        """
        if not tokens.get("id_token"):
            raise UpstreamRefused(UpstreamFault.INVALID, detail="the token endpoint gave no ID token")
        verified = await self._verified(tokens["id_token"], metadata)
        expected = self._expected(nonce, left_half_hash(tokens["access_token"], verified.header["alg"]))
        return judge(self._repaired(verified.claims), expected, now=now), expected

    async def logout_url(self, id_token: str, *, post_logout_redirect_uri: str, state: str) -> str | None:
        """Return where to sign out there (RP-Initiated Logout 1.0 §2); None where that is not offered, or not now."""
        try:
            async with self._conversation.turn():
                metadata = await self._metadata()
        except UpstreamRefused:
            return None
        if metadata.end_session_endpoint is None or not self.provider.logout:
            return None
        parameters = {
            "id_token_hint": id_token if len(id_token) <= _MAX_HINT_CHARS else "",
            "client_id": self.provider.client_id,
            "post_logout_redirect_uri": post_logout_redirect_uri,
            "state": state,
        }
        told = {name: value for name, value in parameters.items() if value}
        return with_parameters(metadata.end_session_endpoint, told)

    async def api_token(self, refresh_token: str, *, scope: str) -> ApiToken:
        """Return a token for the provider's own API (RFC 6749 §6).

        Raises:
            UpstreamRefused: it gives none: DENIED where the person or the provider took it back.
        """
        async with self._conversation.turn() as turn:
            metadata = await self._metadata()
            turn.ask()
            try:
                # Without the scope, it would be good for all that the sign-in asked for: openid, profile, email.
                form = {"refresh_token": refresh_token, "scope": scope}
                tokens = await self._conversation.token(self._token_endpoint(metadata), "refresh_token", form)
            except TokenRefused as refused:
                if refused.error == "invalid_grant":
                    raise UpstreamRefused(UpstreamFault.DENIED, detail=refused.detail) from None
                raise
        newer = tokens.get("refresh_token")
        return ApiToken(
            access_token=tokens["access_token"],
            expires_in=None if tokens.get("expires_in") is None else int(tokens["expires_in"]),
            scope=tokens.get("scope"),
            refresh_token=None if newer == refresh_token else newer,
        )

    async def probe(self, *, redirect_uri: str, now: datetime) -> Sequence[Finding]:
        """Try out everything that can be tried without a person, and say what to change."""
        probe = Probe(self.provider, self._secret, self._outbound, self._conversation, self.places, now)
        return await probe.openid(redirect_uri=redirect_uri, endpoint=self._token_endpoint)

    async def _metadata(self) -> Metadata:
        document = await self._documents.get(f"{self.provider.issuer.rstrip('/')}{DISCOVERY_PATH}")
        return read_metadata(document, self.provider.issuer)

    def _token_endpoint(self, metadata: Metadata) -> TokenEndpoint:
        configured = self.provider.token_endpoint_auth_method or self.usual_auth_method
        return TokenEndpoint(
            url=metadata.token_endpoint,
            client_id=self.provider.client_id,
            secret=self._secret,
            auth_method=choose_auth_method(configured, self._secret, metadata.auth_methods),
        )

    async def _verified(self, token: str, metadata: Metadata) -> Verified:
        """Return what an ID token says, with its signature checked (OpenID Connect Core §3.1.3.7 steps 6 to 8).

        Raises:
            UpstreamRefused: INVALID: the provider has not signed it.
        """
        try:
            # First, so that nobody makes us look for keys by what could never be verified.
            alg = read_unverified(token).header.get("alg")
            if alg not in metadata.algorithms:
                accepted = " or ".join(metadata.algorithms) or "anything that is known here"
                raise UpstreamRefused(UpstreamFault.INVALID, detail=f"the ID token is not signed with {accepted}")
            document = await self._documents.get(metadata.jwks_uri)
            try:
                return verify(token, _keys(document), algorithms=metadata.algorithms)
            except InvalidSignature:
                # Perhaps with a key that is newer than what we hold (§10.1.1).
                newer = await self._documents.refreshed(metadata.jwks_uri)
            return verify(token, _keys(newer), algorithms=metadata.algorithms)
        except InvalidSignature as error:
            raise UpstreamRefused(UpstreamFault.INVALID, detail=f"the ID token: {error}") from None

    def _with_tokens(
        self, identity: UpstreamIdentity, tokens: Mapping[str, Any], departure: Departure, metadata: Metadata
    ) -> UpstreamIdentity:
        identity = for_signing_out(identity, tokens["id_token"], metadata)
        refresh_token = tokens.get("refresh_token")
        if not departure.api or not refresh_token:
            return identity
        # What is not said is as it was asked for (RFC 6749 §5.1).
        given = (tokens.get("scope") or self.provider.api_scope).split()
        api_scope = " ".join(name for name in self.provider.api_scope.split() if name in given)
        return replace(identity, refresh_token=refresh_token, api_scope=api_scope)

    # ── What a preset may do otherwise ──────────────────────────────────────────────────────────────────────────────
    def _parameters(self, departure: Departure, metadata: Metadata) -> dict[str, str]:
        """Return the parameters of the authorization request."""
        scope = self.provider.scope.split()
        prompt = departure.prompt
        if departure.api:
            offline = [name for name in ("offline_access",) if name in metadata.scopes]
            scope += [*self.provider.api_scope.split(), *offline]
            # §11: without it, offline_access is ignored.
            prompt = _with_consent(prompt)
        parameters = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": departure.redirect_uri,
            "scope": " ".join(dict.fromkeys(["openid", *scope])),
            "state": departure.state,
            "nonce": departure.nonce,
            "code_challenge": code_challenge(departure.code_verifier),
            "code_challenge_method": "S256",
            "prompt": " ".join(prompt),
            "max_age": "" if departure.max_age is None else str(departure.max_age),
            "acr_values": " ".join(departure.acr_values),
            "login_hint": departure.login_hint or "",
        }
        if metadata.takes_claims and asks_for_freshness(departure):
            parameters["claims"] = json.dumps(_AUTH_TIME, separators=(",", ":"))
        return {name: value for name, value in parameters.items() if value}

    def _expected(self, nonce: str, at_hash: str | None) -> Expected:
        """Return what an ID token is held against."""
        return Expected(
            issuer=self.provider.issuer,
            client_id=self.provider.client_id,
            nonce=nonce,
            at_hash=at_hash,
            email_claim=self.provider.claims.get("email", "email"),
            assume_email_verified=self.provider.assume_email_verified,
        )

    def _repaired(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims of an ID token with what the provider is known to write in its own way."""
        return claims

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        """Whether userinfo may hold what the ID token does not tell."""
        wanted = {*self.provider.claims.values(), "email", "email_verified"}
        return any(claims.get(name) is None for name in wanted)

    def _checked(self, identity: UpstreamIdentity) -> UpstreamIdentity:
        """Return the identity, if it is one that may come.

        Raises:
            UpstreamRefused: it is not (WRONG_DOMAIN).
        """
        return identity


def read_code(answer: Mapping[str, str], issuers: tuple[str, ...], *, tells_issuer: bool) -> str:
    """Return the code of an answer (RFC 6749 §4.1.2), whose issuer was compared (RFC 9207 §2.4).

    Raises:
        UpstreamRefused: it is an error (DENIED, REFUSED), or it is not the answer of the provider that was asked.
    """
    # First, so that not even an error is believed of somebody else.
    if "iss" in answer and answer["iss"] not in issuers:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="the answer comes from another provider (iss)")
    if tells_issuer and "iss" not in answer:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="the answer does not say from which provider (iss)")
    if "error" in answer:
        error = answer["error"]
        # Not DOWN: anybody can send browsers here with such a word, and must not shut the provider off for the others.
        fault = _FAULTS.get(error, UpstreamFault.REFUSED)
        raise UpstreamRefused(fault, detail=f"it answered with {printable(error) or 'an error without a name'}")
    code = answer.get("code", "")
    if _CODE.fullmatch(code) is None:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="the answer has no code")
    return code


def with_parameters(endpoint: str, parameters: Mapping[str, str]) -> str:
    """Return an endpoint with parameters beside those of its own query, which stay as they are (RFC 6749 §3.1)."""
    own = {name for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True)}
    added = urlencode({name: value for name, value in parameters.items() if name not in own})
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{added}"


def code_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def for_signing_out(identity: UpstreamIdentity, id_token: str, metadata: Metadata) -> UpstreamIdentity:
    """Return the identity with its ID token where one can sign out there; nothing else needs it later."""
    return identity if metadata.end_session_endpoint is None else replace(identity, id_token=id_token)


def asks_for_freshness(departure: Departure) -> bool:
    """Whether the provider is to say when the person signed in."""
    return departure.max_age is not None or "login" in departure.prompt


def choose_auth_method(configured: str | None, secret: str | None, listed: tuple[str, ...] | None) -> str:
    """Return how we authenticate at a token endpoint (OpenID Connect Core §9): as configured, else as it lists.

    Raises:
        UpstreamRefused: REFUSED: it wants what we cannot do.
    """
    if secret is None:
        return "none"
    wanted = AUTH_METHODS[:2] if configured is None else (configured,)
    # Discovery §3: without a list it is basic.
    accepted = listed if configured is None and listed is not None else AUTH_METHODS
    methods = [method for method in wanted if method in accepted]
    if not methods:
        raise UpstreamRefused(
            UpstreamFault.REFUSED, detail="the token endpoint takes neither client_secret_basic nor client_secret_post"
        )
    return methods[0]


def _with_consent(prompt: tuple[str, ...]) -> tuple[str, ...]:
    return prompt if "none" in prompt or "consent" in prompt else (*prompt, "consent")


def _keys(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Providers' sets also hold keys that are for something else; `verify` passes over what does not fit.
    keys = document.get("keys")
    return [key for key in keys if isinstance(key, Mapping)] if isinstance(keys, list) else []
