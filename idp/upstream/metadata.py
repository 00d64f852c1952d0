"""A provider's metadata (OpenID Connect Discovery §3, RFC 8414 §2): what of them is used, once they were checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.redirect_uri import is_safe_uri_text
from idp.protocol.upstream import UpstreamFault, UpstreamRefused

DISCOVERY_PATH = "/.well-known/openid-configuration"
# What a provider may sign with: never `none`, and nothing that is made with a secret (RFC 8725 §3.1).
ALGORITHMS: tuple[str, ...] = tuple(map(str, SigningAlgorithm))
# What a provider signs with that does not say (Discovery §3: RS256 must be included).
_USUAL_ALGORITHM = str(SigningAlgorithm.RS256)
_FULLY_SPECIFIED_EDDSA = "Ed25519"  # RFC 9864 §2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The metadata of one provider; `auth_methods` are those of its token endpoint, None where it does not say."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    algorithms: tuple[str, ...]
    auth_methods: tuple[str, ...] | None
    scopes: tuple[str, ...]
    tells_issuer: bool
    takes_claims: bool


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Return what is used of a provider's metadata.

    Raises:
        UpstreamRefused: INVALID: they are another issuer's (Discovery §4.3), or name an endpoint that is not safe.
    """
    if document.get("issuer") != issuer:
        raise UpstreamRefused(UpstreamFault.INVALID, detail="the metadata belong to another issuer")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer),
        token_endpoint=_endpoint(document, "token_endpoint", issuer),
        jwks_uri=_endpoint(document, "jwks_uri", issuer),
        userinfo_endpoint=_optional(document, "userinfo_endpoint", issuer),
        end_session_endpoint=_optional(document, "end_session_endpoint", issuer),
        algorithms=_algorithms(document),
        auth_methods=_texts(document, "token_endpoint_auth_methods_supported"),
        scopes=_texts(document, "scopes_supported") or (),
        tells_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        takes_claims=document.get("claims_parameter_supported") is True,
    )


def endpoint_fault(uri: Any, issuer: str) -> str | None:
    """Return why an endpoint is not used, as a clause; None when it may be.

    Plain http is for providers whose issuer is http itself, which IDP_OUTBOUND_ALLOW must name.
    """
    if not isinstance(uri, str) or not is_safe_uri_text(uri):
        return "is missing, or no address"
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.scheme != "https" and not (parts.scheme == "http" and issuer.startswith("http://")):
        return "does not begin with https://"
    if not host or port == 0 or "@" in parts.netloc or "#" in uri:
        return "has no host, or a user, or a fragment"
    return None


def _endpoint(document: Mapping[str, Any], name: str, issuer: str) -> str:
    fault = endpoint_fault(document.get(name), issuer)
    if fault:
        raise UpstreamRefused(UpstreamFault.INVALID, detail=f"{name} in the metadata {fault}")
    return str(document[name])


def _optional(document: Mapping[str, Any], name: str, issuer: str) -> str | None:
    return None if document.get(name) is None else _endpoint(document, name, issuer)


def _algorithms(document: Mapping[str, Any]) -> tuple[str, ...]:
    listed = _texts(document, "id_token_signing_alg_values_supported")
    if listed is None:
        return (_USUAL_ALGORITHM,)
    named = {str(SigningAlgorithm.EDDSA) if name == _FULLY_SPECIFIED_EDDSA else name for name in listed}
    return tuple(name for name in ALGORITHMS if name in named)


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else None
