"""What an authorization gives: the grant, and the code and tokens that hang on it.

Revocation marks the grant, and every check reads it, so that one mark ends everything that came from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from idp.domain.consent import LabConsent


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A user's authorization of a client, with how and when the user had signed in.

    An `offline` grant outlives the browser session; any other ends at `expires_at`, when the session does.
    `auth_time` is told nobody unless `auth_time_known`. `claims` is the claims parameter of its request (OpenID Connect
    Core §5.5); `resources` are what its access tokens are for (RFC 8707), this server itself where there are none.
    `labs` is the consent to tell of labs as it was then; None where none is needed.
    """

    id: str
    client_id: str
    user_id: str
    scope: str
    auth_time: datetime
    acr: str
    amr: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    auth_time_known: bool = True
    session_id: str | None = None
    offline: bool = False
    nonce: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    labs: LabConsent | None = None
    revoked_at: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether what hangs on the grant still counts at `now`."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """A single-use code (RFC 6749 §4.1.2), bound to its client, redirect URI and PKCE challenge (RFC 7636)."""

    hash: str
    grant_id: str
    redirect_uri: str | None
    code_challenge: str | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A refresh token (RFC 6749 §1.5); `used_at` is when it was first exchanged for its successor."""

    hash: str
    grant_id: str
    scope: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """An access token (RFC 9068); `claims` records what about its user it released.

    A token of a client acting for itself has no grant and no user. `audience` holds URIs separated by spaces.
    """

    hash: str
    jti: str
    client_id: str
    scope: str
    audience: str
    created_at: datetime
    expires_at: datetime
    grant_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    revoked_at: datetime | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom the token is meant for."""
        return tuple(self.audience.split())
