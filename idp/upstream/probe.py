"""Testing how a provider is set up, step by step, without a person (`idp provider test`).

Nothing here goes through what is cached, or touches the circuit: whoever tests wants to know how it is now.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any

from idp.crypto.jose import is_usable
from idp.domain.provider import Provider
from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.protocol.upstream import UpstreamRefused
from idp.upstream.callback import is_registered
from idp.upstream.connector import Finding
from idp.upstream.conversation import Conversation, TokenEndpoint, TokenRefused, cleaned, read_json
from idp.upstream.metadata import DISCOVERY_PATH, Metadata, read_metadata

# What ID tokens are given is 60 seconds; half of it is left for a clock that goes on drifting.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=30)
# RFC 6749 §5.2, and GitHub's own: the client was believed, and only the code was not.
_CODE_REFUSED = ("invalid_grant", "bad_verification_code")
_CLIENT_REFUSED = ("invalid_client", "unauthorized_client", "incorrect_client_credentials")
# A step that only tells what to do must not look like one that was well.
_NOT_CHECKED = " (not checked)"
_NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are changed at a provider; `origin` is where pages of ours are named that hold its scripts."""

    client: str = "what is registered at the provider for this client"
    callback: str = "the redirect URIs of this client at the provider"
    origin: str | None = None


class Probe:
    """One test of one provider; findings come in the order of the steps."""

    def __init__(
        self,
        provider: Provider,
        secret: str | None,
        outbound: Outbound,
        conversation: Conversation,
        places: Places,
        now: datetime,
    ) -> None:
        self._provider = provider
        self._secret = secret
        self._outbound = outbound
        self._conversation = conversation
        self._places = places
        self._now = now
        self._began = asyncio.get_running_loop().time()
        self._findings: list[Finding] = []

    async def openid(self, *, redirect_uri: str, endpoint: Callable[[Metadata], TokenEndpoint]) -> Sequence[Finding]:
        """Test an OpenID provider; `endpoint` says how we authenticate there."""
        document = await self._discovery()
        metadata = None if document is None else self._metadata(document)
        if document is not None and metadata is not None:
            self._algorithms(metadata)
            self._pkce(document)
            await self._keys(metadata)
            await self.clock(metadata.token_endpoint)
        if metadata is None:
            self.callback(redirect_uri)
        else:
            await self._callback(metadata, redirect_uri)
            try:
                await self.client(endpoint(metadata), redirect_uri)
            except UpstreamRefused as refused:
                self._note("client", False, _sentence(refused.detail), f"Change it in {self._places.client}.")
        return self.findings

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far."""
        return tuple(self._findings)

    async def reached(self, step: str, url: str) -> Fetched | None:
        """Note whether an address answers at all."""
        try:
            fetched = await self._outbound.get(url, accept="application/json")
        except OutboundError as error:
            advice = "Check the issuer, the name servers and the firewall of this machine; IDP_OUTBOUND_ALLOW names "
            advice += "addresses that are not public, IDP_OUTBOUND_CA_FILE authorities that are not well known."
            self._note(step, False, _sentence(str(error)), advice)
            return None
        self._note(step, True, f"{url} answers.")
        return fetched

    async def clock(self, token_endpoint: str) -> None:
        """Compare our time with that of an answer that nobody has cached (RFC 9110 §6.6.1)."""
        try:
            date = (await self._outbound.post_form(token_endpoint, {"grant_type": "authorization_code"})).date
        except OutboundError as error:
            self._note("clock", False, f"The time there is not known: {_sentence(str(error))}")
            return
        if date is None:
            self._note("clock", True, "The provider does not tell its time.")
            return
        elapsed = timedelta(seconds=asyncio.get_running_loop().time() - self._began)
        difference = abs(self._now + elapsed - date)
        text = f"The clock here and the provider's differ by {difference.total_seconds():.0f} seconds."
        is_right = difference <= MAX_CLOCK_DIFFERENCE
        self._note("clock", is_right, text, "" if is_right else "Let the clock of this machine be set by NTP.")

    def callback(self, redirect_uri: str, text: str = "") -> None:
        """Tell the address that has to be registered, of which nobody knows whether it is; `text` says why not."""
        text = text or f"Only a sign-in shows whether {redirect_uri} is registered."
        self._note(f"callback{_NOT_CHECKED}", True, text, self._to_register)
        self._origin(redirect_uri)

    async def client(self, endpoint: TokenEndpoint, redirect_uri: str) -> None:
        """Ask for a token with a code that nobody gave: what is refused first tells what is right."""
        form = {"code": token_urlsafe(16), "redirect_uri": redirect_uri, "code_verifier": token_urlsafe(32)}
        try:
            await self._conversation.token(endpoint, "authorization_code", form)
        except TokenRefused as refused:
            self._refused(refused, redirect_uri)
        except UpstreamRefused as refused:
            self._note("client", False, _sentence(refused.detail), self._compare())
        except OutboundError as error:
            self._note("client", False, _sentence(str(error)))
        else:
            advice = "Whoever guesses signs in as anybody: do not use this provider."
            self._note("client", False, "The provider gave a token for a code that it never issued.", advice)

    async def _discovery(self) -> Mapping[str, Any] | None:
        url = f"{self._provider.issuer.rstrip('/')}{DISCOVERY_PATH}"
        fetched = await self.reached("discovery", url)
        if fetched is None:
            return None
        try:
            document = read_json(fetched.body) if fetched.status == 200 else None
        except ValueError:
            document = None
        if isinstance(document, dict):
            return document
        advice = "The issuer is the address in front of /.well-known/openid-configuration, in the provider's own words."
        text = f"{url} answers with status {fetched.status} and no JSON object."
        self._findings[-1] = Finding(step="discovery", ok=False, text=text, advice=advice)
        return None

    def _metadata(self, document: Mapping[str, Any]) -> Metadata | None:
        issuer = self._provider.issuer
        if document.get("issuer") == issuer:
            self._note("issuer", True, f"The issuer is {issuer}.")
        else:
            told = cleaned(document.get("issuer")) or "no issuer at all"
            self._note(
                "issuer", False, f"The provider calls itself {told}.", f"It is set up as {issuer}: make it equal."
            )
        try:
            metadata = read_metadata({**document, "issuer": issuer}, issuer)
        except UpstreamRefused as refused:
            self._note("endpoints", False, _sentence(refused.detail), "This is the provider's to mend.")
            return None
        self._note("endpoints", True, ", ".join(str(document[name]) for name in _NEEDED))
        return metadata

    def _algorithms(self, metadata: Metadata) -> None:
        if metadata.algorithms:
            self._note("algorithms", True, f"ID tokens are signed with {' or '.join(metadata.algorithms)}.")
        else:
            advice = "Let it sign with RS256, PS256, ES256 or EdDSA; secrets and unsigned tokens are not accepted."
            self._note("algorithms", False, "The provider signs with no algorithm that is known here.", advice)

    def _pkce(self, document: Mapping[str, Any]) -> None:
        methods = document.get("code_challenge_methods_supported")
        if methods is None:
            self._note("pkce", True, "PKCE is not listed in the metadata; it is sent all the same.")
        elif isinstance(methods, list) and "S256" in methods:
            self._note("pkce", True, "PKCE with S256 is supported.")
        else:
            self._note("pkce", False, "PKCE is supported without S256.", "Codes are protected by the secret alone.")

    async def _keys(self, metadata: Metadata) -> None:
        fetched = await self.reached("keys", metadata.jwks_uri)
        if fetched is None:
            return
        try:
            document = read_json(fetched.body)
        except ValueError:
            document = None
        keys = document.get("keys") if isinstance(document, dict) else None
        usable = [
            key
            for key in (keys if isinstance(keys, list) else [])
            if isinstance(key, Mapping) and any(is_usable(key, alg, use="sig") for alg in metadata.algorithms)
        ]
        text = f"{len(usable)} of its keys can be used here."
        advice = "" if usable else "The provider has to publish a key of one of its algorithms, RSA with 2048 bits."
        self._findings[-1] = Finding(step="keys", ok=bool(usable), text=text, advice=advice)

    async def _callback(self, metadata: Metadata, redirect_uri: str) -> None:
        is_known, text = await is_registered(
            self._outbound, self._provider, metadata.authorization_endpoint, redirect_uri
        )
        if is_known is None:
            self.callback(redirect_uri, text)
        else:
            self._note("callback", is_known, text, "" if is_known else self._to_register)
            self._origin(redirect_uri)

    def _origin(self, redirect_uri: str) -> None:
        if self._places.origin:
            origin = "/".join(redirect_uri.split("/")[:3])
            self._note(f"origin{_NOT_CHECKED}", True, origin, f"Needed for One Tap only: {self._places.origin}.")

    @property
    def _to_register(self) -> str:
        return f"Register exactly this address: {self._places.callback}."

    def _refused(self, refused: TokenRefused, redirect_uri: str) -> None:
        if refused.error in _CODE_REFUSED:
            self._note("client", True, "The provider knows the client, and takes its secret.")
            return
        text = f"The provider refuses with {refused.error}{': ' if refused.description else ''}{refused.description}"
        if "redirect_uri" in refused.error or "redirect_uri" in refused.description:
            advice = f"Register exactly {redirect_uri}: {self._places.callback}."
        elif refused.error in _CLIENT_REFUSED:
            advice = self._compare()
        else:
            advice = "It tried a code that nobody gave, which most providers call invalid_grant."
        self._note("client", False, _sentence(text), advice)

    def _compare(self) -> str:
        return f"Compare client id, secret and how the client authenticates with {self._places.client}."

    def _note(self, step: str, ok: bool, text: str, advice: str = "") -> None:
        self._findings.append(Finding(step=step, ok=ok, text=text, advice=advice))


def _sentence(text: str) -> str:
    """Return a text of ours, or the provider's, as a sentence of printable ASCII."""
    text = cleaned(text, 400)
    # Addresses and names of the protocol are spelt as they are.
    begins = text[:1].upper() if text.partition(" ")[0].isalpha() else text[:1]
    return f"{begins}{text[1:]}{'' if text.endswith('.') else '.'}"
