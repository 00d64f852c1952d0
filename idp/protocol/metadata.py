"""Server metadata (OpenID Connect Discovery §3, RFC 8414 §2, and what logout and request objects add to it)."""

from collections.abc import Iterable, Mapping
from typing import Any

from idp.domain.acr import ACR_LADDER
from idp.domain.claims import SCOPE_CLAIMS
from idp.domain.client import ClientAuthMethod, SubjectType
from idp.domain.lab_scope import LAB_API_SCOPES
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.authorization_request import PROMPTS
from idp.protocol.authorization_response import ResponseMode
from idp.protocol.client_assertion import ASSERTION_ALGORITHMS
from idp.protocol.request_object import REQUEST_OBJECT_ALGS
from idp.protocol.response_type import RESPONSE_TYPES
from idp.protocol.scope import SCOPES_SUPPORTED

_ID_TOKEN_CLAIMS = (
    *("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid"),
    *("at_hash", "c_hash", "s_hash"),
)
DISPLAYS = ("page", "popup", "touch", "wap")


def server_metadata(
    *,
    issuer: str,
    endpoints: Mapping[str, str],
    grant_types: Iterable[str],
    encryption_algs: Iterable[str],
    encryption_encs: Iterable[str],
    entitlements: bool,
) -> dict[str, Any]:
    """Return the metadata; `endpoints` maps members such as `token_endpoint` to paths of mounted routes.

    Of labs they never name a single one; `entitlements` is whether those are on offer. The algorithms of encryption are
    those that the cryptography below this layer offers.
    """
    auth_methods = [str(method) for method in ClientAuthMethod]
    signing_algs = [str(alg) for alg in SigningAlgorithm]
    assertion_algs = sorted({alg for algs in ASSERTION_ALGORITHMS.values() for alg in algs})
    encryption = {"alg": list(encryption_algs), "enc": list(encryption_encs)}
    labs = ("labs", "groups", *(("entitlements",) if entitlements else ()))
    scope_claims = dict.fromkeys(name for names in SCOPE_CLAIMS.values() for name in names)
    return {
        "issuer": issuer,
        **{member: issuer + path for member, path in endpoints.items()},
        "scopes_supported": [*SCOPES_SUPPORTED, *labs, *LAB_API_SCOPES],
        # The words of a response type have no order, yet some software compares texts: this one is written both ways.
        "response_types_supported": [*RESPONSE_TYPES, "token id_token"],
        "response_modes_supported": [str(mode) for mode in ResponseMode],
        # Where the authorization endpoint itself gives tokens, there is no grant at the token endpoint.
        "grant_types_supported": [*grant_types, "implicit"],
        "subject_types_supported": [str(kind) for kind in SubjectType],
        "acr_values_supported": list(ACR_LADDER),
        "id_token_signing_alg_values_supported": [*signing_algs, "none"],
        "userinfo_signing_alg_values_supported": [*signing_algs, "none"],
        **{
            f"{answer}_encryption_{part}_values_supported": values
            for answer in ("id_token", "userinfo")
            for part, values in encryption.items()
        },
        "request_object_signing_alg_values_supported": list(REQUEST_OBJECT_ALGS),
        **{
            f"{endpoint}_endpoint_auth_methods_supported": methods
            for endpoint, methods in {
                "token": auth_methods,
                "introspection": [name for name in auth_methods if name != "none"],
                "revocation": auth_methods,
            }.items()
        },
        **{
            f"{endpoint}_endpoint_auth_signing_alg_values_supported": assertion_algs
            for endpoint in ("token", "introspection", "revocation")
        },
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": list(PROMPTS),
        "display_values_supported": list(DISPLAYS),
        "claim_types_supported": ["normal"],
        "claims_supported": [*_ID_TOKEN_CLAIMS, *scope_claims, *labs],
        "claims_parameter_supported": True,
        "request_parameter_supported": True,
        "request_uri_parameter_supported": True,
        "require_request_uri_registration": True,
        "authorization_response_iss_parameter_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "ui_locales_supported": ["en"],
    }
