"""GitHub: plain OAuth 2.0, and its REST API for who it is ("Authorizing OAuth apps", "REST API endpoints for users").

There is no ID token, so no nonce and no `auth_time`: PKCE and `state` bind the code to the browser, and when somebody
signed in there is never known. `sub` is the number of the account, as names can be given up and taken by others.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from idp.domain.clock import Clock
from idp.domain.provider import Provider
from idp.domain.upstream import UpstreamIdentity
from idp.outbound.client import Outbound
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.protocol.upstream_id_token import check_address
from idp.upstream.circuit import Circuit
from idp.upstream.connector import Connector, Departure, Finding
from idp.upstream.conversation import Conversation, TokenEndpoint
from idp.upstream.documents import Documents
from idp.upstream.oidc import choose_auth_method, code_challenge, read_code, with_parameters
from idp.upstream.probe import Places, Probe

_GITHUB = "https://github.com"
_SCOPE = "read:user user:email"
_ACCEPT = "application/vnd.github+json"
# Ours and GitHub's names for the texts of a profile.
_CLAIMS = {"preferred_username": "login", "name": "name", "picture": "avatar_url", "profile": "html_url"}
_SETTINGS = "GitHub → Settings → Developer settings → OAuth Apps → your application"


class GitHubConnector(Connector):
    """Speaks with github.com, or with a GitHub Enterprise Server."""

    places: ClassVar[Places] = Places(client=_SETTINGS, callback=f"{_SETTINGS} → Authorization callback URL")

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
        self._conversation = Conversation(provider.name, outbound, circuit, clock)
        issuer = provider.issuer.rstrip("/")
        self._oauth = f"{issuer}/login/oauth"
        self._api = "https://api.github.com" if issuer == _GITHUB else f"{issuer}/api/v3"

    async def authorization_url(self, departure: Departure) -> str:
        """Return where the browser goes to sign in.

        Raises:
            UpstreamRefused: it was down several times in a row.
        """
        self._conversation.check_up()
        parameters = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": departure.redirect_uri,
            "scope": self._scope,
            "state": departure.state,
            "code_challenge": code_challenge(departure.code_verifier),
            "code_challenge_method": "S256",
        }
        if departure.prompt:
            # It documents no other one; this at least shows the person which account it is.
            parameters["prompt"] = "select_account"
        return with_parameters(f"{self._oauth}/authorize", parameters)

    async def identify(self, answer: Mapping[str, str], departure: Departure, *, now: datetime) -> UpstreamIdentity:
        """Return whom GitHub's API calls the holder of the token.

        Raises:
            UpstreamRefused: it does not, or not credibly.
        """
        async with self._conversation.turn() as turn:
            # RFC 9207, as GitHub has answered since 2026: with the issuer of its metadata.
            code = read_code(answer, (self.provider.issuer, self._oauth), tells_issuer=False)
            turn.ask()
            form = {"code": code, "redirect_uri": departure.redirect_uri, "code_verifier": departure.code_verifier}
            tokens = await self._conversation.token(self._token_endpoint, "authorization_code", form)
            token = tokens["access_token"]
            user = await self._conversation.get_json(f"{self._api}/user", token, accept=_ACCEPT)
            sub, claims = _read_user(user)
            email, verified = await self._email(token)
            claims |= {} if email is None else {"email": email, "email_verified": verified}
            return UpstreamIdentity(
                issuer=self.provider.issuer,
                sub=sub,
                email=email,
                email_verified=verified,
                email_vouched=False,
                claims=claims,
            )

    async def probe(self, *, redirect_uri: str, now: datetime) -> Sequence[Finding]:
        """Try out everything that can be tried without a person, and say what to change."""
        probe = Probe(self.provider, self._secret, self._outbound, self._conversation, self.places, now)
        if await probe.reached("api", f"{self._api}/"):
            await probe.clock(self._token_endpoint.url)
        probe.callback(redirect_uri)
        await probe.client(self._token_endpoint, redirect_uri)
        return probe.findings

    @property
    def _scope(self) -> str:
        # That of the OpenID providers is what a provider has of which nobody said anything else.
        own = self.provider.scope.split()
        return _SCOPE if "openid" in own or not own else " ".join(own)

    @property
    def _token_endpoint(self) -> TokenEndpoint:
        return TokenEndpoint(
            url=f"{self._oauth}/access_token",
            client_id=self.provider.client_id,
            secret=self._secret,
            auth_method=choose_auth_method(
                self.provider.token_endpoint_auth_method, self._secret, ("client_secret_post",)
            ),
        )

    async def _email(self, token: str) -> tuple[str | None, bool]:
        """Return the primary address and whether it was verified; none where the scope does not reach so far."""
        try:
            listed = await self._conversation.get_json(f"{self._api}/user/emails", token, accept=_ACCEPT)
        except UpstreamRefused as refused:
            if refused.fault is not UpstreamFault.REFUSED:
                raise
            return None, False
        addresses = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
        for entry in addresses:
            if entry.get("primary") is True:
                email = check_address(entry.get("email"))
                return email, email is not None and entry.get("verified") is True
        return None, False


def _read_user(user: Any) -> tuple[str, dict[str, Any]]:
    """Return the number of an account, and its claims under our names.

    Raises:
        UpstreamRefused: INVALID: this is no account.
    """
    number = user.get("id") if isinstance(user, Mapping) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 10**18:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="the user has no number (id)")
    texts = {ours: user.get(theirs) for ours, theirs in _CLAIMS.items()}
    return str(number), {ours: text for ours, text in texts.items() if isinstance(text, str) and text}
