"""What is believed of another provider's ID token (OpenID Connect Core §3.1.3.7) and of its userinfo (§5.3).

Whether the provider signed the token has been decided; here is whether it is for us, for this sign-in, and for now.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from math import isfinite
from typing import Any, NoReturn

from idp.domain.upstream import UpstreamIdentity
from idp.protocol.upstream import UpstreamFault, UpstreamRefused

# The provider's clock and ours.
LEEWAY = timedelta(seconds=60)
# We ask for a token when it is needed; one that lay about for longer was kept by somebody.
MAX_AGE = timedelta(minutes=10)

_GOOGLE = "https://accounts.google.com"
# Google's documentation allows both in its ID tokens.
_GOOGLE_ISSUERS = (_GOOGLE, "accounts.google.com")
# Printable, as §2 asks for ASCII; nothing of what no database can keep.
_SUB = re.compile(r"[ -~]{1,255}")
_EMAIL = re.compile(
    r"[^\s@\"(),:;<>\[\]\\]{1,64}@(?:[^\W_]|[^\W_][\w-]{0,61}[^\W_])(?:\.(?:[^\W_]|[^\W_][\w-]{0,61}[^\W_]))*"
)
_MAX_EMAIL_CHARS = 254
# Userinfo is not signed, and says nothing about this sign-in: of these only the ID token speaks.
_TOKEN_ALONE = frozenset(
    {"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "auth_time", "acr", "amr", "sid", "hd"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an ID token is held against.

    `at_hash` is the hash of the access token that came with it, by the token's own algorithm (§3.1.3.6); None where
    none came. `email_claim` is where the provider tells the address, and `assume_email_verified` whether it is taken
    as verified where the provider never says (§5.1).
    """

    issuer: str
    client_id: str
    nonce: str = field(repr=False)
    at_hash: str | None = None
    email_claim: str = "email"
    assume_email_verified: bool = False


def judge(claims: Mapping[str, Any], expected: Expected, *, now: datetime) -> UpstreamIdentity:
    """Return whom an ID token vouches for, once its signature has been verified (§3.1.3.7 steps 2 to 12).

    Stricter than §3.1.3.7: we are the only audience, `nonce` is always required, and the types are those of §2.

    Raises:
        UpstreamRefused: INVALID, with a fixed text for the log.
    """
    _check_types(claims)
    _check_registered(claims, expected, now)
    if claims["aud"] not in (expected.client_id, [expected.client_id]):
        _refuse("the ID token is for others as well (aud)")
    if now.timestamp() - claims["iat"] > MAX_AGE.total_seconds():
        _refuse("the ID token is too old (iat)")
    if not _same(claims["nonce"], expected.nonce):
        _refuse("the ID token belongs to another sign-in (nonce)")
    at_hash = claims.get("at_hash")
    if at_hash is not None and expected.at_hash is not None and not _same(at_hash, expected.at_hash):
        _refuse("the access token is not the one that the ID token was issued with (at_hash)")
    identity = UpstreamIdentity(
        issuer=expected.issuer,
        sub=claims["sub"],
        auth_time=_auth_time(claims, now),
        acr=claims.get("acr"),
        amr=tuple(claims.get("amr") or ()),
    )
    return _with_claims(identity, claims, expected)


def with_userinfo(identity: UpstreamIdentity, userinfo: Mapping[str, Any], expected: Expected) -> UpstreamIdentity:
    """Return the identity with what userinfo tells beyond the ID token, which it never overrides (§5.3.4).

    Raises:
        UpstreamRefused: INVALID: it is about somebody else (§5.3.2).
    """
    if userinfo.get("sub") != identity.sub:
        _refuse("userinfo is about somebody else (sub)")
    signed = identity.claims
    told = {name: value for name, value in userinfo.items() if name not in _TOKEN_ALONE}
    claims = {**told, **signed}
    # An address and whether it is verified are told together, or else one might vouch for another.
    if signed.get("email") is None:
        claims["email_verified"] = told.get("email_verified")
    elif signed.get("email_verified") is None and told.get("email") != signed["email"]:
        claims["email_verified"] = None if _is_yes(told.get("email_verified")) else told.get("email_verified")
    return _with_claims(identity, claims, expected)


def check_address(value: Any) -> str | None:
    """Return an e-mail address in lower case; None where it is no address, or would be another one then."""
    if not isinstance(value, str) or not value.isprintable() or lowers_to_ascii(value):
        return None
    address = value.lower()
    return address if len(address) <= _MAX_EMAIL_CHARS and _EMAIL.fullmatch(address) else None


def lowers_to_ascii(text: str) -> bool:
    """Whether something beyond ASCII becomes ASCII in lower case, as KELVIN SIGN does: of another mailbox."""
    return any(not mark.isascii() and mark.lower()[0].isascii() for mark in text)


def _with_claims(identity: UpstreamIdentity, claims: Mapping[str, Any], expected: Expected) -> UpstreamIdentity:
    email = check_address(claims.get(expected.email_claim))
    said = claims.get("email_verified")
    if said is None or (_is_yes(said) and claims.get("email") != claims.get(expected.email_claim)):
        verified = expected.assume_email_verified
    else:
        verified = _is_yes(said)
    return replace(identity, claims=dict(claims), email=email, email_verified=email is not None and verified)


def _is_yes(said: Any) -> bool:
    # Amazon and Apple write the word.
    return said is True or said == "true"


def _check_types(claims: Mapping[str, Any]) -> None:
    for name, is_right in _TYPES.items():
        value = claims.get(name)
        # What has no value should be left out (§5.3.2), and is when it is null.
        if value is None and name in _REQUIRED:
            _refuse(f"the ID token has no {name}")
        if value is not None and not is_right(value):
            _refuse(f"the ID token has a {name} that is none")


def _check_registered(claims: Mapping[str, Any], expected: Expected, now: datetime) -> None:
    # Loaded with the first sign-in.
    from authlib.oidc.core.claims import CodeIDToken

    issuers = list(_GOOGLE_ISSUERS) if expected.issuer == _GOOGLE else [expected.issuer]
    # Both essential: Authlib alone takes a foreign `aud` beside a matching `azp`.
    options = {
        "iss": {"essential": True, "values": issuers},
        "aud": {"essential": True, "value": expected.client_id},
    }
    names = ("iss", "sub", "aud", "azp", "exp", "iat", "nbf")
    known = {name: claims[name] for name in names if claims.get(name) is not None}
    token = CodeIDToken(known, {}, options, {"client_id": expected.client_id})
    try:
        token.validate(now=now.timestamp(), leeway=LEEWAY.total_seconds())
    except Exception as error:  # whatever the library calls it: the token does not count
        raise UpstreamRefused(
            UpstreamFault.INVALID, detail=f"the ID token is not from there, not for us or not for now: {_name(error)}"
        ) from None


def _name(error: Exception) -> str:
    # The library's fixed names, such as expired_token; its descriptions name the claim, and never its value.
    return f"{getattr(error, 'error', type(error).__name__)} {getattr(error, 'description', '')}".strip()


def _auth_time(claims: Mapping[str, Any], now: datetime) -> datetime | None:
    told = claims.get("auth_time")
    if told is None:
        return None
    if told > now.timestamp() + LEEWAY.total_seconds():
        _refuse("the person signs in there in the future (auth_time)")
    # A clock that is ahead must not make a sign-in younger than it can be.
    return min(datetime.fromtimestamp(told, UTC), now)


def _same(told: str, expected: str) -> bool:
    return compare_digest(told.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _refuse(detail: str) -> NoReturn:
    raise UpstreamRefused(UpstreamFault.INVALID, detail=detail)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_audience(value: Any) -> bool:
    return _is_text(value) or _is_list(value)


def _is_sub(value: Any) -> bool:
    return isinstance(value, str) and _SUB.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    """Whether this is a number of seconds since 1970: finite, and not what JSON calls true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and (isinstance(value, int) or isfinite(value))


_REQUIRED = frozenset({"iss", "sub", "aud", "exp", "iat", "nonce"})
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "iss": _is_text,
    "sub": _is_sub,
    "aud": _is_audience,
    "exp": _is_time,
    "iat": _is_time,
    "nonce": _is_text,
    "azp": _is_text,
    "nbf": _is_time,
    "at_hash": _is_text,
    "auth_time": _is_time,
    "acr": _is_text,
    "amr": _is_list,
}
