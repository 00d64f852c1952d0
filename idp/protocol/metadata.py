"""Server metadata (OpenID Connect Discovery §3, RFC 8414 §2)."""

from collections.abc import Iterable, Mapping
from typing import Any

from idp.domain.claims import SCOPE_CLAIMS
from idp.domain.client import ClientAuthMethod
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.authorization_request import PROMPTS, RESPONSE_TYPES
from idp.protocol.authorization_response import ResponseMode
from idp.protocol.scope import SCOPES_SUPPORTED

_ID_TOKEN_CLAIMS = ("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash")


def server_metadata(*, issuer: str, endpoints: Mapping[str, str], grant_types: Iterable[str]) -> dict[str, Any]:
    """Return the metadata; `endpoints` maps members such as `token_endpoint` to paths of mounted routes."""
    auth_methods = [str(method) for method in ClientAuthMethod]
    scope_claims = dict.fromkeys(name for names in SCOPE_CLAIMS.values() for name in names)
    return {
        "issuer": issuer,
        **{member: issuer + path for member, path in endpoints.items()},
        "scopes_supported": list(SCOPES_SUPPORTED),
        "response_types_supported": list(RESPONSE_TYPES),
        "response_modes_supported": [str(mode) for mode in ResponseMode],
        "grant_types_supported": list(grant_types),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [str(alg) for alg in SigningAlgorithm],
        "token_endpoint_auth_methods_supported": auth_methods,
        "introspection_endpoint_auth_methods_supported": [name for name in auth_methods if name != "none"],
        "revocation_endpoint_auth_methods_supported": auth_methods,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": list(PROMPTS),
        "claim_types_supported": ["normal"],
        "claims_supported": [*_ID_TOKEN_CLAIMS, *scope_claims, "labs", "groups"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
        "ui_locales_supported": ["en"],
    }
