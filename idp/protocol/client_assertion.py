"""Client authentication by JWT: client_secret_jwt, private_key_jwt (RFC 7521 §4.2, RFC 7523 §3, OIDC Core §9)."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from idp.domain.client import Client, ClientAuthMethod
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.errors import InvalidClient, InvalidRequest
from idp.protocol.parameters import Parameters

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# A client may register one algorithm of its method's; without that, each of them is accepted.
ASSERTION_ALGORITHMS: Mapping[ClientAuthMethod, tuple[str, ...]] = {
    ClientAuthMethod.CLIENT_SECRET_JWT: ("HS256", "HS384", "HS512"),
    ClientAuthMethod.PRIVATE_KEY_JWT: tuple(map(str, SigningAlgorithm)),
}
# Short, because every jti is kept until its assertion expires.
MAX_LIFETIME = timedelta(hours=1)
# The client's clock may be ahead of ours (FAPI 2.0 §5.3.2.1 asks for these 10 seconds).
CLOCK_SKEW = timedelta(seconds=10)
_MAX_JTI_CHARS = 200
_TYPES = frozenset({"jwt", "client-authentication+jwt"})


def read_client_assertion(authorization: str | None, params: Parameters) -> str | None:
    """Return the assertion that a request authenticates with, None when it brings none (RFC 7521 §4.2).

    Raises:
        InvalidRequest: half of what is needed, or a second credential (RFC 6749 §2.3).
        InvalidClient: an assertion of another type.
    """
    assertion, assertion_type = params.get("client_assertion"), params.get("client_assertion_type")
    if assertion is None and assertion_type is None:
        return None
    if assertion is None or assertion_type is None:
        raise InvalidRequest("client_assertion and client_assertion_type belong together: one is missing.")
    if authorization is not None or params.get("client_secret") is not None:
        raise InvalidRequest("The client authenticated twice: use the assertion alone.")
    if assertion_type != ASSERTION_TYPE:
        raise InvalidClient(
            "The client_assertion_type is unknown here: only the one that ends in jwt-bearer is accepted."
        )
    return assertion


def read_client_id(claims: Mapping[str, Any], params: Parameters) -> str:
    """Return which client an assertion is about (RFC 7523 §3); nobody has checked yet who made it.

    Raises:
        InvalidClient: it is about none.
        InvalidRequest: the body names another one (RFC 7521 §4.2).
    """
    sub = claims.get("sub")
    if not isinstance(sub, str):
        raise InvalidClient("The client assertion needs iss and sub, both the client_id.")
    if params.get("client_id") not in (None, sub):
        raise InvalidRequest("client_id in the body differs from the client assertion.")
    return sub


def check_assertion_header(client: Client, header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the algorithms that the client's assertion may be signed with: the registered ones (RFC 7591 §2).

    `jku`, `jwk`, `x5c` and `x5u` are ignored: keys are those that the client registered (RFC 8725 §3.10).

    Raises:
        InvalidClient: the client may not authenticate with this.
    """
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise InvalidClient(detail="the typ of the assertion is neither JWT nor client-authentication+jwt")
    method, registered = client.token_endpoint_auth_method, client.token_endpoint_auth_signing_alg
    algorithms = tuple(alg for alg in ASSERTION_ALGORITHMS.get(method, ()) if registered in (None, alg))
    if header.get("alg") not in algorithms:
        accepted = " ".join(algorithms) or "no assertion"
        raise InvalidClient(detail=f"registered for {method} with {accepted}; the assertion has another algorithm")
    return algorithms


def check_client_assertion(
    claims: Mapping[str, Any], client_id: str, audiences: Collection[str], now: datetime
) -> tuple[str, datetime]:
    """Judge what the client signed and return the assertion's `jti` and when it expires (RFC 7523 §3).

    Stricter than §3: `jti` is required, and no assertion is accepted for longer than an hour. Who signed it has been
    checked, so its developer is told what is wrong.

    Raises:
        InvalidClient: the assertion does not count, or not here, or not now.
    """
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise InvalidClient("The client assertion needs iss and sub, both the client_id.")
    _check_audience(claims.get("aud"), audiences)
    expires_at = _check_times(claims, now)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_CHARS:
        raise InvalidClient("The client assertion needs a jti of at most 200 characters.")
    return jti, expires_at


def _check_audience(aud: Any, audiences: Collection[str]) -> None:
    named = aud if isinstance(aud, list) else [aud]
    if not all(isinstance(name, str) for name in named) or not any(name in audiences for name in named):
        raise InvalidClient("The client assertion is not for this server: aud has to be the issuer.")


def _check_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    at, skew, lifetime = now.timestamp(), CLOCK_SKEW.total_seconds(), MAX_LIFETIME.total_seconds()
    exp, nbf, iat = (_numeric_date(claims, name) for name in ("exp", "nbf", "iat"))
    if exp is None:
        raise InvalidClient("The client assertion needs an exp.")
    if exp <= at:
        raise InvalidClient("The client assertion has expired: make a new one for each request.")
    if exp > at + lifetime + skew or (iat is not None and iat < at - lifetime):
        raise InvalidClient("The client assertion lives too long: at most an hour, better one minute.")
    if (nbf or 0) > at + skew or (iat or 0) > at + skew:
        raise InvalidClient("The client assertion is from the future: check the clock of the client.")
    return datetime.fromtimestamp(exp, UTC)


def _numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if name in claims and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidClient("The client assertion has a time that is no number of seconds.")
    return value
