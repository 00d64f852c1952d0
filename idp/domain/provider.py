"""Other providers through which people sign in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from idp.domain.lab import ManagedBy


class ProviderKind(StrEnum):
    """How a provider is spoken with."""

    OIDC = "oidc"
    GOOGLE = "google"
    ORCID = "orcid"
    GITHUB = "github"


class ProviderStatus(StrEnum):
    """Whether people may sign in through it."""

    ACTIVE = "active"
    DISABLED = "disabled"


# Which claim of ours is which of the provider's, unless somebody says otherwise.
USUAL_CLAIMS: Mapping[str, str] = {
    name: name for name in ("name", "given_name", "family_name", "picture", "locale", "email")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider with the client that we are there.

    `hosted_domains` are the only ones of Google's organisations whose people may come (claim `hd`); `*` is any
    organisation, and none is anybody. `claims` says which of our claims is which of the provider's. `acr` and `amr`
    translate its words for how people signed in into ours; what is not named there is not believed.
    `api_scope` is what the applications in `api_clients` may use of the provider's own API in a person's name.
    """

    name: str
    kind: ProviderKind
    display_name: str
    issuer: str
    client_id: str
    created_at: datetime
    updated_at: datetime
    sealed_secret: bytes | None = field(default=None, repr=False)
    token_endpoint_auth_method: str | None = None
    scope: str = "openid profile email"
    hosted_domains: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=lambda: dict(USUAL_CLAIMS))
    update_profile: bool = False
    assume_email_verified: bool = False
    acr: Mapping[str, str] = field(default_factory=dict)
    amr: Mapping[str, str] = field(default_factory=dict)
    logout: bool = True
    api_scope: str = ""
    api_clients: tuple[str, ...] = ()
    status: ProviderStatus = ProviderStatus.ACTIVE
    managed_by: ManagedBy = ManagedBy.ADMIN

    @property
    def active(self) -> bool:
        """Whether people may sign in through it."""
        return self.status is ProviderStatus.ACTIVE
