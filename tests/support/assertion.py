"""Client assertions as clients make them (RFC 7523 §2.2), with any header and any claim, right or wrong."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.support.clock import START

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ISSUER = "http://localhost:8000"
_numbers = count(1)


@cache
def private_key(name: str, alg: str = "ES256") -> Any:
    """Return the key of this name: always the same one within a run."""
    if alg in ("RS256", "PS256"):
        return RSAKey.generate_key(2048)
    return OKPKey.generate_key("Ed25519") if alg == "EdDSA" else ECKey.generate_key("P-256")


def public_jwk(name: str, alg: str = "ES256", **changes: Any) -> dict[str, Any]:
    return {**private_key(name, alg).as_dict(private=False), "kid": name, "use": "sig", **changes}


def jwks(*names: str) -> dict[str, Any]:
    return {"keys": [public_jwk(name) for name in names]}


def claims_of(client_id: str, *, now: datetime = START, **changes: Any) -> dict[str, Any]:
    """Return what a client says to the issuer for one minute; a change of None leaves a claim out."""
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": ISSUER,
        "jti": f"jti-{next(_numbers)}",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=1)).timestamp()),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def compact(header: Mapping[str, Any], claims: Mapping[str, Any] | str, key: Any) -> str:
    """Return a JWS with exactly this header; claims may be given as JSON text, and a secret is given as bytes."""
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    signing_input = f"{_part(json.dumps(header))}.{_part(payload)}".encode()
    alg = header["alg"]
    if alg == "none":
        signature = b""
    elif alg.startswith("HS"):
        # By hand, since the library refuses what must be tried: public keys as secrets.
        signature = hmac.digest(key, signing_input, f"sha{alg[2:]}")
    else:
        signature = JWSRegistry.algorithms[alg].sign(signing_input, key)
    return f"{signing_input.decode()}.{_part(signature)}"


def signed(client_id: str, key: str = "key-1", *, alg: str = "ES256", header: Any = None, **claims: Any) -> str:
    """Return an assertion signed with the private key of this name."""
    full = {"alg": alg, "kid": key, "typ": "JWT", **(header or {})}
    return compact(full, claims_of(client_id, **claims), private_key(key, alg))


def maced(client_id: str, secret: str, *, alg: str = "HS256", **claims: Any) -> str:
    """Return an assertion with a MAC made with this secret."""
    return compact({"alg": alg}, claims_of(client_id, **claims), secret.encode())


def form_of_assertion(assertion: str, **form: str) -> dict[str, str]:
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **form}


def _part(data: str | bytes) -> str:
    octets = data.encode() if isinstance(data, str) else data
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
