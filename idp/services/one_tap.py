"""Google's One Tap and the button that its script draws: an ID token that the browser posts, without going anywhere.

No `state` binds it to the browser that asked, as with a redirect; the nonce in the token does (OpenID Connect Core
§3.1.2.1). It is made for one browser and one hour without being stored, and counts once.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from idp.crypto.jose import InvalidSignature, read_unverified
from idp.crypto.opaque import hash_token, mac, mint_token, same
from idp.domain.clock import Clock
from idp.domain.provider import Provider
from idp.domain.seen_token import SeenToken
from idp.domain.upstream import UpstreamIdentity
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.prompt import demanded_freshness
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.installation import DataKeys
from idp.services.providers import GOOGLE, Providers
from idp.services.sessions import Accounts
from idp.services.upstream_sign_in import Arrival, UpstreamSignIn
from idp.services.upstream_visits import Onward
from idp.store.errors import Conflict
from idp.store.store import Store

# As long as somebody may look at the sign-in page before pressing the button.
LIFETIME = timedelta(hours=1)
# When it was made, what makes it the only one, and the proof that we made it for this browser.
_NONCE = re.compile(r"(([0-9]{1,12})\.[A-Za-z0-9_-]{43})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What Google's script is told: for whom the ID token is to be, and what it is to hold."""

    client_id: str
    nonce: str = field(repr=False)


class OneTap:
    """Offers One Tap on the sign-in page, and takes what comes of it."""

    def __init__(
        self, store: Store, providers: Providers, sign_in: UpstreamSignIn, keys: DataKeys, clock: Clock
    ) -> None:
        self._store = store
        self._providers = providers
        self._sign_in = sign_in
        self._keys = keys
        self._clock = clock

    async def provider(self) -> Provider | None:
        """Return Google, where its script is allowed here."""
        return await self._providers.find(GOOGLE) if self._providers.one_tap else None

    async def offer(self, request: AuthorizationRequest | None, *, again: bool, browser: str) -> Offer | None:
        """Return what the page offers to a browser, which is named by the hash of its form cookie.

        None where it is switched off, and where somebody has to prove that they are there: Google then asks nobody
        anything, so a tap would prove nothing.
        """
        provider = await self.provider()
        if provider is None or again or (request is not None and demanded_freshness(request) is not None):
            return None
        return Offer(client_id=provider.client_id, nonce=self._nonce(browser))

    async def arrive(
        self,
        provider: Provider,
        credential: str,
        onward: Onward,
        *,
        browser: str,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrival:
        """Take the ID token that Google's script posted, once.

        Raises:
            ArrivalRefused: nobody is signed in by it, and no account was made or linked.
            TooManyRequests, InteractionGone, UnknownClient, RedirectUriRefused, Refused: see `UpstreamSignIn`.
        """
        identify = partial(self._identify, provider, credential, browser)
        return await self._sign_in.receive_token(
            provider, identify, onward, browser=browser, accounts=accounts, user_agent=user_agent
        )

    async def _identify(self, provider: Provider, credential: str, browser: str) -> UpstreamIdentity:
        """Return whom the ID token vouches for; its nonce is used up.

        Raises:
            UpstreamRefused: LOST: it is for another browser, too late or used; else what `identify_by_token` raises.
        """
        now = self._clock()
        nonce = _read_nonce(credential)
        expires_at = self._checked(nonce, browser, now=now)
        connector = self._providers.connector(provider)
        identity = await connector.identify_by_token(credential, nonce=nonce, now=now)
        try:
            # Only now: what is no proof uses nothing up.
            seen = SeenToken(hash=hash_token(f"one-tap\0{nonce}"), expires_at=expires_at)
            await self._store.commit.append(seen)
        except Conflict:
            raise UpstreamRefused(UpstreamFault.LOST, detail="the ID token was posted before") from None
        # Nobody was asked who they are: whatever time it tells is that of another sign-in.
        return replace(identity, auth_time=None)

    def _nonce(self, browser: str) -> str:
        text = f"{int(self._clock().timestamp())}.{mint_token()}"
        return f"{text}.{self._proof(text, browser)}"

    def _checked(self, nonce: str, browser: str, *, now: datetime) -> datetime:
        """Return until when a nonce of ours counts.

        Raises:
            UpstreamRefused: LOST: it is none, another browser's or too old.
        """
        match = _NONCE.fullmatch(nonce)
        if match is None or not same(match[3], self._proof(match[1], browser)):
            raise UpstreamRefused(UpstreamFault.LOST, detail="the ID token is not for a page of this browser (nonce)")
        expires_at = datetime.fromtimestamp(int(match[2]), UTC) + LIFETIME
        if now >= expires_at:
            raise UpstreamRefused(UpstreamFault.LOST, detail="the sign-in page had been open for too long (nonce)")
        return expires_at

    def _proof(self, text: str, browser: str) -> str:
        # Form tokens are made with the same key, of a cookie and a session, and so of no text that reads like this.
        return mac(self._keys.csrf, f"one-tap|{browser}|{text}")


def _read_nonce(credential: str) -> str:
    """Return the nonce of a token that nobody has verified yet, empty where it has none.

    Raises:
        UpstreamRefused: INVALID: it is no token.
    """
    try:
        nonce = read_unverified(credential).claims.get("nonce")
    except InvalidSignature as error:
        raise UpstreamRefused(UpstreamFault.INVALID, detail=f"the ID token: {error}") from None
    return nonce if isinstance(nonce, str) else ""
