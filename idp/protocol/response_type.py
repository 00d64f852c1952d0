"""Response types (RFC 6749 §3.1.1, OAuth 2.0 Multiple Response Type Encoding Practices): words in any order."""

from idp.domain.client import Client, GrantType
from idp.protocol.errors import UnauthorizedClient, UnsupportedResponseType
from idp.protocol.parameters import Parameters

CODE, ID_TOKEN, TOKEN = "code", "id_token", "token"
# Everything on offer, in the order in which it is registered and stored; `token` alone authenticates nobody.
RESPONSE_TYPES = ("code", "id_token", "id_token token", "code id_token", "code token", "code id_token token")
_BY_WORDS = {frozenset(kind.split()): kind for kind in RESPONSE_TYPES}


def canonical_response_type(raw: str) -> str | None:
    """Return a response type with its words in our order; None when it is not on offer (§5: the order says nothing)."""
    words = raw.split(" ")
    return _BY_WORDS.get(frozenset(words)) if len(set(words)) == len(words) else None


def grant_types_of(response_type: str) -> frozenset[GrantType]:
    """Return the grant types that go with a response type (OpenID Connect Registration §2, `grant_types`)."""
    words = set(response_type.split())
    needed = {GrantType.AUTHORIZATION_CODE} if CODE in words else set()
    return frozenset(needed | ({GrantType.IMPLICIT} if words - {CODE} else set()))


def check_response_type(client: Client, params: Parameters) -> frozenset[str]:
    """Return the words of the response type when it is on offer and registered for the client.

    Raises:
        InvalidRequest: it is missing.
        UnsupportedResponseType: it is not on offer.
        UnauthorizedClient: the client did not register it.
    """
    response_type = canonical_response_type(params.require("response_type"))
    if response_type is None:
        raise UnsupportedResponseType
    if response_type not in client.response_types or not grant_types_of(response_type) <= set(client.grant_types):
        raise UnauthorizedClient
    return frozenset(response_type.split())
