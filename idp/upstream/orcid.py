"""ORCID, the register of researchers: `sub` is the ORCID iD, and nobody's address is told."""

from collections.abc import Mapping
from typing import Any, ClassVar

from idp.upstream.connector import Departure
from idp.upstream.metadata import Metadata
from idp.upstream.oidc import OidcConnector
from idp.upstream.probe import Places

# Scopes that every other provider knows, and ORCID refuses.
_UNKNOWN_SCOPES = frozenset({"profile", "email", "offline_access"})


class OrcidConnector(OidcConnector):
    """Speaks with ORCID, or its sandbox."""

    places: ClassVar[Places] = Places(
        client="ORCID → your name → Developer tools", callback="ORCID → your name → Developer tools → Redirect URIs"
    )
    usual_auth_method: ClassVar[str | None] = "client_secret_post"

    def _parameters(self, departure: Departure, metadata: Metadata) -> dict[str, str]:
        parameters = super()._parameters(departure, metadata)
        scope = [name for name in parameters["scope"].split() if name not in _UNKNOWN_SCOPES]
        return {**parameters, "scope": " ".join(scope)}

    def _repaired(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        repaired = dict(claims)
        if isinstance(claims.get("amr"), str):
            # ORCID writes the one word that it has, "pwd" or "mfa", without the list that it belongs in (§2).
            repaired["amr"] = [claims["amr"]]
        names = [claims[name] for name in ("given_name", "family_name") if isinstance(claims.get(name), str)]
        if names and claims.get("name") is None:
            repaired["name"] = " ".join(names)
        return repaired

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        # The ID token has what userinfo has, but where the person shows nobody their name.
        return False
