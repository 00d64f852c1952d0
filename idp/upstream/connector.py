"""What every connector to another provider can do, whatever it speaks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from idp.domain.provider import Provider
from idp.domain.upstream import UpstreamIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """What a browser takes along to the provider, and what its answer is held against.

    `prompt`, `max_age` and `acr_values` are what is asked of the provider (OpenID Connect Core §3.1.2.1); `max_age` is
    in seconds. `api` asks for what applications may use of the provider's API, and for a refresh token with it.
    """

    redirect_uri: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    prompt: tuple[str, ...] = ()
    max_age: int | None = None
    acr_values: tuple[str, ...] = ()
    login_hint: str | None = None
    api: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """An access token of the provider's own API (RFC 6749 §5.1).

    `scope` is what the provider says that it is for, None where that is what was asked for; `refresh_token` where it
    gave a new one.
    """

    access_token: str = field(repr=False)
    expires_in: int | None
    scope: str | None
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One step of the setup test: what was looked at, whether it is well, and what to change if not."""

    step: str
    ok: bool
    text: str
    advice: str = ""


class Connector(ABC):
    """Speaks with one provider.

    What it raises is `UpstreamRefused`, with the fault DENIED, REFUSED, DOWN, INVALID or WRONG_DOMAIN.
    """

    def __init__(self, provider: Provider, secret: str | None) -> None:
        self.provider = provider
        self._secret = secret

    @abstractmethod
    async def authorization_url(self, departure: Departure) -> str:
        """Return where the browser goes to sign in.

        Raises:
            UpstreamRefused: the provider's metadata cannot be had (DOWN).
        """

    @abstractmethod
    async def identify(self, answer: Mapping[str, str], departure: Departure, *, now: datetime) -> UpstreamIdentity:
        """Return whom the provider vouches for, by the parameters of its answer (RFC 6749 §4.1.2, RFC 9207).

        That `state` is ours has been checked, and is the caller's business.

        Raises:
            UpstreamRefused: it does not, or not credibly.
        """

    async def identify_by_token(self, credential: str, *, nonce: str, now: datetime) -> UpstreamIdentity:
        """Return whom an ID token vouches for that came by the browser (Google's One Tap).

        Raises:
            UpstreamRefused: it is not to be believed.
            NotImplementedError: it is not Google, whose page alone posts one.
        """
        raise NotImplementedError

    async def logout_url(self, id_token: str, *, post_logout_redirect_uri: str, state: str) -> str | None:
        """Return where to sign out there (RP-Initiated Logout 1.0 §2); None where that is not offered.

        An empty `state` is not sent.
        """
        return None

    async def api_token(self, refresh_token: str, *, scope: str) -> ApiToken:
        """Return a token for the provider's own API, asked for with no more than a scope (RFC 6749 §6).

        Whether it is for no more is the caller's business: a refused answer may hold a refresh token that counts now.

        Raises:
            UpstreamRefused: it gives none: DENIED where the person or the provider took it back.
            NotImplementedError: it gives no refresh tokens; none is kept of it, and no `api_scope` may be set.
        """
        raise NotImplementedError

    @abstractmethod
    async def probe(self, *, redirect_uri: str, now: datetime) -> Sequence[Finding]:
        """Try out everything that can be tried without a person, and say what to change."""
