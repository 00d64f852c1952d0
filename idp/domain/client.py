"""An application or service that is registered here (RFC 7591 §2, OpenID Connect Registration §2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from idp.domain.lab import LabRole, ManagedBy
from idp.domain.lab_release import AllowedLabs
from idp.domain.origin import origin_of


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
    CLIENT_SECRET_JWT = "client_secret_jwt"
    PRIVATE_KEY_JWT = "private_key_jwt"


class GrantType(StrEnum):
    """Grant types by their registered names (RFC 7591 §2)."""

    AUTHORIZATION_CODE = "authorization_code"
    IMPLICIT = "implicit"
    REFRESH_TOKEN = "refresh_token"
    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class SubjectType(StrEnum):
    """Whether all clients see the same `sub` for a user, or each sector its own (OpenID Connect Core §8)."""

    PUBLIC = "public"
    PAIRWISE = "pairwise"


class AccessTokenFormat(StrEnum):
    """What access tokens look like: JWTs for resource servers (RFC 9068), or opaque, to be introspected."""

    JWT = "jwt"
    OPAQUE = "opaque"


class RequireLab(StrEnum):
    """Whether only people of certain labs may use the client: of any that it may see, or of all of them."""

    ANY = "any"
    ALL = "all"


class GroupFormat(StrEnum):
    """How the claim `groups` writes a role in a lab."""

    SLUG_ROLE = "slug:role"
    SLUG = "slug"
    PATH = "/slug/role"


class Profile(StrEnum):
    """How tokens tell of labs: in claims of ours, or as AARC-G069 or the WLCG Common JWT Profiles have them."""

    PLAIN = "plain"
    AARC_G069 = "aarc-g069"
    WLCG = "wlcg"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """One secret as HMAC; two may overlap while one is rotated.

    `sealed` holds it encrypted, in base64, where it must be readable again to check MACs (client_secret_jwt).
    """

    hash: str
    created_at: datetime
    expires_at: datetime | None = None
    sealed: str | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the secret is still accepted at `now`."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client; the fields are the RFCs' own, extensions of ours stand last.

    `allowed_labs` is `"*"` for all labs or a tuple of slugs. `trusted` skips the consent page. `group_min_role` is who
    belongs to a group that names no role, and `claim_aliases` gives claims about labs other names.
    `registration_access_token_hash` is set for a client that manages its own registration (RFC 7592).
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
    logo_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    contacts: tuple[str, ...] = ()
    software_id: str | None = None
    software_version: str | None = None
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None
    token_endpoint_auth_signing_alg: str | None = None
    subject_type: SubjectType = SubjectType.PUBLIC
    sector_identifier_uri: str | None = None
    id_token_signed_response_alg: str = "RS256"
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    request_object_signing_alg: str | None = None
    require_signed_request_object: bool = False
    request_uris: tuple[str, ...] = ()
    default_max_age: int | None = None
    require_auth_time: bool = False
    default_acr_values: tuple[str, ...] = ()
    initiate_login_uri: str | None = None
    frontchannel_logout_uri: str | None = None
    frontchannel_logout_session_required: bool = False
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool = False
    registration_access_token_hash: str | None = None
    access_token_format: AccessTokenFormat = AccessTokenFormat.JWT
    require_pkce: bool = True
    trusted: bool = False
    web_origins: tuple[str, ...] | None = None
    allowed_labs: AllowedLabs = ()
    require_lab: RequireLab | None = None
    id_token_lab_claims: bool = False
    group_format: GroupFormat = GroupFormat.SLUG_ROLE
    group_min_role: LabRole = LabRole.MEMBER
    claim_aliases: Mapping[str, str] = field(default_factory=dict)
    profile: Profile = Profile.PLAIN

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

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may read answers to it: those registered, else those of its redirect URIs."""
        if self.web_origins is not None:
            return frozenset(self.web_origins)
        return frozenset(filter(None, map(origin_of, self.redirect_uris)))

    def may_see(self, slug: str) -> bool:
        """Whether the lab is one of those that the client may be told of."""
        return self.allowed_labs == "*" or slug in self.allowed_labs

    @property
    def self_registered(self) -> bool:
        """Whether nobody but its own developer has looked at it (RFC 7591)."""
        return self.managed_by is ManagedBy.REGISTRATION
