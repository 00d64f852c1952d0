"""Which connector speaks with a provider."""

from typing import TYPE_CHECKING

from idp.domain.clock import Clock
from idp.domain.provider import Provider, ProviderKind
from idp.outbound.client import Outbound
from idp.upstream.circuit import Circuit
from idp.upstream.connector import Connector
from idp.upstream.documents import Documents

if TYPE_CHECKING:
    from idp.upstream.github import GitHubConnector
    from idp.upstream.oidc import OidcConnector


def connect(
    provider: Provider, secret: str | None, outbound: Outbound, documents: Documents, circuit: Circuit, clock: Clock
) -> Connector:
    """Return what speaks with a provider; the modules of a kind are loaded with its first provider."""
    return _class_of(provider.kind)(provider, secret, outbound, documents, circuit, clock)


def _class_of(kind: ProviderKind) -> "type[OidcConnector] | type[GitHubConnector]":
    match kind:
        case ProviderKind.GOOGLE:
            from idp.upstream.google import GoogleConnector

            return GoogleConnector
        case ProviderKind.ORCID:
            from idp.upstream.orcid import OrcidConnector

            return OrcidConnector
        case ProviderKind.GITHUB:
            from idp.upstream.github import GitHubConnector

            return GitHubConnector
        case _:
            from idp.upstream.oidc import OidcConnector

            return OidcConnector
