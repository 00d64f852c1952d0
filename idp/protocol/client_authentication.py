"""Client authentication (RFC 6749 §2.3): none, client_secret_basic, client_secret_post.

The methods with a signed JWT have a module of their own, `client_assertion`.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from urllib.parse import unquote_plus

from idp.domain.client import Client, ClientAuthMethod
from idp.protocol.errors import InvalidClient, InvalidRequest
from idp.protocol.parameters import Parameters

_SECRET_METHODS = (ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST)


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request says about its client."""

    client_id: str
    secret: str | None


def read_client_credentials(authorization: str | None, params: Parameters) -> Presented:
    """Return the credentials of a request from its Authorization header or body (RFC 6749 §2.3.1).

    A client_id in the body that matches Basic is no second authentication.

    Raises:
        InvalidRequest: two credentials, or two different clients.
        InvalidClient: no client at all, or a header that cannot be read.
    """
    body_id, body_secret = params.get("client_id"), params.get("client_secret")
    if authorization is None:
        if body_id is None:
            raise InvalidClient("No client authentication was sent.")
        return Presented(body_id, body_secret)
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient("Only HTTP Basic is accepted in the Authorization header here.")
    client_id, secret = _decode_basic(encoded.strip())
    if body_secret is not None:
        raise InvalidRequest("The client authenticated twice: use the Authorization header or the body.")
    if body_id is not None and body_id != client_id:
        raise InvalidRequest("client_id in the body differs from the Authorization header.")
    return Presented(client_id, secret)


def _decode_basic(encoded: str) -> tuple[str, str]:
    try:
        text = b64decode(encoded, validate=True).decode("utf-8")
        client_id, separator, secret = text.partition(":")
        # §2.3.1: both halves are form-encoded before Basic joins them.
        client_id, secret = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except (Base64Error, ValueError) as error:
        raise InvalidClient("The Basic credentials are malformed.") from error
    if not separator or not client_id:
        raise InvalidClient("The Basic credentials are malformed.")
    return client_id, secret


def check_client_credentials(
    client: Client | None, presented: Presented, *, mac: Callable[[str], str], now: datetime
) -> Client:
    """Return the client when its credentials are right.

    Clients registered for a secret may send it either way, whichever they registered; `mac` is the keyed hash of
    secrets. An unknown client, a disabled one and a wrong secret look alike.

    Raises:
        InvalidClient: anything else.
    """
    sent = mac(presented.secret or "")
    if client is None:
        raise InvalidClient(detail="unknown client")
    if not client.active:
        raise InvalidClient(detail="client is disabled")
    if client.public:
        if presented.secret:
            raise InvalidClient(detail="a public client sent a secret")
        return client
    if client.token_endpoint_auth_method not in _SECRET_METHODS:
        raise InvalidClient(detail=f"registered for {client.token_endpoint_auth_method}; no assertion was sent")
    if presented.secret is None:
        raise InvalidClient(detail="no secret was sent")
    # Every secret is compared, so that time does not tell which one matched.
    matches = [compare_digest(secret.hash, sent) and secret.valid(now=now) for secret in client.secrets]
    if not any(matches):
        raise InvalidClient(detail="wrong or expired secret")
    return client
