"""An application or service that is registered here (RFC 7591 §2, OpenID Connect Registration §2)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from idp.domain.lab import ManagedBy


class ClientStatus(StrEnum):
    """Whether the client is served."""

    ACTIVE = "active"
    DISABLED = "disabled"


class ApplicationType(StrEnum):
    """The kind of application, which decides what redirect URIs are safe (RFC 8252)."""

    WEB = "web"
    NATIVE = "native"


class ClientAuthMethod(StrEnum):
    """How a client proves itself at the token endpoint (RFC 7591 §2)."""

    NONE = "none"
    CLIENT_SECRET_BASIC = "client_secret_basic"
    CLIENT_SECRET_POST = "client_secret_post"


class GrantType(StrEnum):
    """Grant types by their registered names (RFC 7591 §2)."""

    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"
    CLIENT_CREDENTIALS = "client_credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """One secret as HMAC; two may overlap while one is rotated."""

    hash: str
    created_at: datetime
    expires_at: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the secret is still accepted at `now`."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client; the fields are the RFCs' own, extensions of ours stand last.

    `allowed_labs` is `"*"` for all labs or a tuple of slugs. `trusted` skips the consent page.
    """

    client_id: str
    client_name: str
    created_at: datetime
    updated_at: datetime
    secrets: tuple[ClientSecret, ...] = ()
    status: ClientStatus = ClientStatus.ACTIVE
    managed_by: ManagedBy = ManagedBy.ADMIN
    application_type: ApplicationType = ApplicationType.WEB
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[GrantType, ...] = (GrantType.AUTHORIZATION_CODE,)
    response_types: tuple[str, ...] = ("code",)
    token_endpoint_auth_method: ClientAuthMethod = ClientAuthMethod.CLIENT_SECRET_BASIC
    scope: str = "openid"
    client_uri: str | None = None
    id_token_signed_response_alg: str = "RS256"
    default_max_age: int | None = None
    require_auth_time: bool = False
    require_pkce: bool = True
    trusted: bool = False
    web_origins: tuple[str, ...] | None = None
    allowed_labs: tuple[str, ...] | Literal["*"] = ()

    @property
    def active(self) -> bool:
        """Whether the client is served at all."""
        return self.status is ClientStatus.ACTIVE

    @property
    def public(self) -> bool:
        """Whether the client cannot keep a secret (RFC 6749 §2.1)."""
        return self.token_endpoint_auth_method is ClientAuthMethod.NONE

    @property
    def scopes(self) -> tuple[str, ...]:
        """The registered scopes, in their order."""
        return tuple(self.scope.split())
