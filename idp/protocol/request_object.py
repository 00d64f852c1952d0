"""Request objects (RFC 9101, OpenID Connect Core §6): the parameters of an authorization request inside a JWT."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from idp.domain.client import Client
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.errors import (
    InvalidRequest,
    InvalidRequestObject,
    InvalidRequestUri,
    RequestNotSupported,
    RequestUriNotSupported,
)
from idp.protocol.parameters import REPEATABLE, Parameters

UNSIGNED = "none"
REQUEST_OBJECT_ALGS = (*(str(alg) for alg in SigningAlgorithm), UNSIGNED)
# What a clock may be fast by.
_TOLERANCE = timedelta(seconds=10)
# RFC 9101 §10.8: another JWT of the same client must not be taken for one; JWT is what most libraries write.
_TYPES = frozenset({"jwt", "oauth-authz-req+jwt"})
# Members of the JWT that are no parameters (RFC 9101 §4, RFC 7519 §4.1).
_REGISTERED_CLAIMS = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "sub"})


def check_request_uri(client: Client, request_uri: str) -> None:
    """Check that a reference is one that the client registered, compared as strings (OpenID Connect Core §6.2).

    A fragment is part of the comparison; the hash that it may hold is not verified.

    Raises:
        RequestUriNotSupported: the client registered none.
        InvalidRequestUri: the client did not register this one.
    """
    if not client.request_uris:
        raise RequestUriNotSupported
    if request_uri not in client.request_uris:
        raise InvalidRequestUri


def check_present(client: Client, params: Parameters) -> None:
    """Check that there are not two request objects, and one where the client promised to send no other requests.

    Raises:
        InvalidRequest: both `request` and `request_uri` were sent, or neither by such a client (RFC 9101 §5, §10.5).
    """
    sent = [name for name in ("request", "request_uri") if params.get(name) is not None]
    if len(sent) > 1:
        raise InvalidRequest("Send either request or request_uri, not both.")
    if not sent and client.require_signed_request_object:
        raise InvalidRequest("This client has to send its requests as signed request objects.")


def accepted_algorithms(client: Client, alg: object, *, request_uri: str | None = None) -> tuple[str, ...]:
    """Return with which algorithms an object of this client may be signed; `("none",)` for an unsigned one.

    `alg` is what the object's header says, `request_uri` the registered address that it was fetched from. A client that
    registered no algorithm may leave an object unsigned there over https, which says as well whose it is (OpenID
    Connect Registration §2, Core §6.2); by value anybody could have made it.

    Raises:
        RequestNotSupported: it is unsigned, and the client did not register that.
        InvalidRequestObject: it is signed with another algorithm than the registered one.
    """
    registered = client.request_object_signing_alg
    if alg == UNSIGNED:
        trusted_address = registered is None and request_uri is not None and request_uri.startswith("https://")
        if not (registered == UNSIGNED or trusted_address) or client.require_signed_request_object:
            raise RequestNotSupported
        return (UNSIGNED,)
    if registered is not None and alg != registered:
        raise InvalidRequestObject("The request object is not signed with the registered algorithm.")
    return tuple(str(known) for known in SigningAlgorithm)


def check_type(header: Mapping[str, Any]) -> None:
    """Check that a JWT does not say that it is something else (RFC 9101 §10.8); the type may be left out (§4).

    Raises:
        InvalidRequestObject: it does.
    """
    typ = header.get("typ", "JWT")
    # A media type, in whichever case (RFC 7515 §4.1.9).
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise InvalidRequestObject("The JWT is no request object: its typ says so.")


def merge(client: Client, outer: Parameters, claims: Mapping[str, Any], *, issuer: str, now: datetime) -> Parameters:
    """Return the parameters that count: the object's own, and for the rest those beside it (OpenID Connect Core §6.1).

    Of a client that promised to sign its requests nothing beside the object counts (RFC 9101 §6.3).

    Raises:
        InvalidRequestObject: it was not made by this client for this server now, or differs from what stands beside it.
    """
    _check_claims(client, claims, issuer=issuer, now=now)
    inner = {name: _text(name, value) for name, value in claims.items() if name not in _REGISTERED_CLAIMS}
    inner = {name: text for name, text in inner.items() if text}
    if inner.get("client_id", client.client_id) != client.client_id:
        raise InvalidRequestObject("client_id in the request object differs from the one beside it.")
    if not {"request", "request_uri"}.isdisjoint(inner):
        raise InvalidRequestObject("A request object must not hold another one.")
    beside = outer.get("response_type")
    if beside is not None and set(inner.get("response_type", beside).split(" ")) != set(beside.split(" ")):
        raise InvalidRequestObject("response_type in the request object differs from the one beside it.")
    if client.require_signed_request_object:
        return Parameters({**inner, "client_id": client.client_id})
    values = {name: value for name, value in outer.values.items() if name not in {"request", "request_uri"}}
    return Parameters({**values, **inner}, outer.repeated - inner.keys())


def _check_claims(client: Client, claims: Mapping[str, Any], *, issuer: str, now: datetime) -> None:
    if claims.get("iss", client.client_id) != client.client_id:
        raise InvalidRequestObject("iss in the request object is not the client_id.")
    if claims.get("sub") == client.client_id:
        # RFC 9101 §10.8: so the client proves who it is at the token endpoint, and nothing may serve as both.
        raise InvalidRequestObject("sub in the request object is the client_id, as in a client assertion.")
    audience = claims.get("aud", issuer)
    if issuer not in (audience if isinstance(audience, list) else [audience]):
        raise InvalidRequestObject("aud in the request object is not this issuer.")
    for name in ("exp", "nbf", "iat"):
        time = claims.get(name, 0)
        if isinstance(time, bool) or not isinstance(time, int | float):
            raise InvalidRequestObject("A time in the request object is no number.")
    seconds = now.timestamp()
    if "exp" in claims and claims["exp"] <= seconds:
        raise InvalidRequestObject("The request object has expired.")
    if claims.get("nbf", 0) > seconds + _TOLERANCE.total_seconds():
        raise InvalidRequestObject("The request object is not valid yet.")


def _text(name: str, value: object) -> str:
    """Return a member as the parameter that it stands for (RFC 9101 §4: numbers and objects are JSON's own)."""
    if isinstance(value, str) and "\x00" not in value:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return _document(value)
    if name in REPEATABLE and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    if value is None:
        return ""
    raise InvalidRequestObject("A parameter in the request object has a value of the wrong type.")


def _document(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        raise InvalidRequestObject("A parameter in the request object is nested too deeply.") from None
