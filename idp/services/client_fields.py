"""The values of client metadata (RFC 7591 §2, OpenID Connect Registration §2), each judged by itself."""

import math
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, ValidatorFunctionWrapHandler, WrapValidator

from idp.crypto.jose import usable_keys
from idp.crypto.jwe import ENCRYPTION_ALGS, ENCRYPTION_ENCS
from idp.domain.claims import SCOPE_OF_CLAIM
from idp.domain.lab_scope import LAB_SCOPES, names_lab, parse_lab_scope
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.redirect_uri import is_safe_uri_text, server_uri_fault
from idp.protocol.response_type import RESPONSE_TYPES, canonical_response_type
from idp.protocol.scope import is_scope_token
from idp.services.input import check_email, check_web_address, longest
from idp.services.lab_input import check_slug
from idp.store.columns import storable

# RFC 6749 appendix A.1 and A.2.
_VSCHARS = re.compile(r"[\x20-\x7E]+")
_MAX_ENTRIES = 50
_CLAIM_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
# What says something else in a token, in userinfo or in an answer of introspection.
_TAKEN_CLAIMS = frozenset(
    (
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti"),  # RFC 7519 §4.1
        *("azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid"),  # OpenID Connect
        *("sub_jwk", "_claim_names", "_claim_sources"),
        *("client_id", "scope", "act", "may_act", "cnf", "authorization_details", "events"),  # RFC 9068 and others
        *("active", "token_type", "username"),  # RFC 7662 §2.2
        *("error", "error_description", "error_uri"),
        *("labs_overflow", "wlcg.ver", *SCOPE_OF_CLAIM),
    )
)


def _check_vschars(text: str) -> str:
    if _VSCHARS.fullmatch(text) is None or text != text.strip():
        raise ValueError("it must be printable ASCII characters, without spaces around them")
    return text


def _check_client_id(client_id: str) -> str:
    # RFC 9700 §4.15: its own tokens have the client's id as `sub`, which must never be taken for a person's.
    if client_id.startswith("u_"):
        raise ValueError("it must not begin with u_, as people's ids do")
    return client_id


def _check_scope(scope: str) -> str:
    tokens = scope.split()
    if any(not is_scope_token(token) for token in tokens):
        raise ValueError("it must be scopes separated by spaces, without quotes and backslashes")
    try:
        # What is right about them counts for nothing here: allowed_labs decides.
        for token in filter(names_lab, tokens):
            parse_lab_scope(token)
    except ValueError:
        raise ValueError("it names a lab that cannot exist") from None
    return " ".join(dict.fromkeys(tokens))


def _check_once(items: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(items)) < len(items):
        raise ValueError("it lists something twice")
    return items


def _check_few(items: tuple[str, ...]) -> tuple[str, ...]:
    if len(items) > _MAX_ENTRIES:
        raise ValueError(f"it has more than {_MAX_ENTRIES} entries")
    return items


def _check_response_type(kind: str) -> str:
    canonical = canonical_response_type(kind)
    if canonical is None:
        raise ValueError(f"it must be one of: {', '.join(RESPONSE_TYPES)}")
    return canonical


def _check_acr(acr: str) -> str:
    # Requests list them separated by spaces (OpenID Connect Core §3.1.2.1).
    if " " in acr:
        raise ValueError("it holds spaces")
    return acr


def _check_contact(contact: str) -> str:
    scheme, _, _ = contact.partition(":")
    if scheme in {"http", "https"}:
        check_web_address(contact)
    elif scheme != "tel" or not is_safe_uri_text(contact):
        check_email(contact.removeprefix("mailto:"))
    return contact


def _check_jwks(jwks: dict[str, Any]) -> dict[str, Any]:
    try:
        usable_keys(jwks)
    except ValueError as error:
        sentence = str(error).removesuffix(".")
        raise ValueError(f"{sentence[:1].lower()}{sentence[1:]}") from None
    if not _is_storable(jwks):
        raise ValueError("it holds characters or numbers that cannot be stored")
    return jwks


def _is_storable(value: object) -> bool:
    """Whether a database takes a JSON value: members that nobody here knows are kept as they are (RFC 7517 §4)."""
    match value:
        case str():
            return storable(value)
        case float():
            return math.isfinite(value)
        case dict():
            return all(_is_storable(part) for member in value.items() for part in member)
        case list():
            return all(map(_is_storable, value))
    return True


def _server(**options: bool) -> AfterValidator:
    def check(uri: str) -> str:
        fault = server_uri_fault(uri, **options)
        if fault is not None:
            raise ValueError(fault)
        return uri

    return AfterValidator(check)


def _one_of(names: Iterable[str]) -> AfterValidator:
    known = [str(name) for name in names]

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"it must be {', '.join(known[:-1])} or {known[-1]}")
        return name

    return AfterValidator(check)


def _read_allowed_labs(value: object, read_slugs: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value != "*":
        raise ValueError('it must be "*" or a list of slugs')
    return value if value == "*" else read_slugs(value)


def _check_claim_name(name: str) -> str:
    if _CLAIM_NAME.fullmatch(name) is None:
        raise ValueError("it must be 1 to 200 letters, digits and _ . : / -")
    if name in _TAKEN_CLAIMS:
        raise ValueError("it is the name of another claim")
    return name


def _check_claim_aliases(aliases: dict[str, str]) -> dict[str, str]:
    if not aliases.keys() <= LAB_SCOPES:
        raise ValueError(f"it gives other names to {', '.join(sorted(LAB_SCOPES))} only")
    if len(set(aliases.values())) < len(aliases):
        raise ValueError("it gives one name twice")
    return aliases


def _without_repetition(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


Once = AfterValidator(_check_once)
Few = AfterValidator(_check_few)
Credential = Annotated[str, AfterValidator(_check_vschars)]
ClientId = Annotated[Credential, longest(2048), AfterValidator(_check_client_id)]
Scope = Annotated[str, AfterValidator(_check_scope)]
ResponseTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_check_response_type)], ...], AfterValidator(_without_repetition)
]
AllowedLabs = Annotated[tuple[Annotated[str, AfterValidator(check_slug)], ...], WrapValidator(_read_allowed_labs)]
ClaimAliases = Annotated[
    dict[str, Annotated[str, AfterValidator(_check_claim_name)]], AfterValidator(_check_claim_aliases)
]
Contact = Annotated[str, longest(300), AfterValidator(_check_contact)]
Acr = Annotated[Credential, longest(300), AfterValidator(_check_acr)]
Jwks = Annotated[dict[str, Any], AfterValidator(_check_jwks)]

# Addresses that this server asks, or sends browsers to: its own guard decides again when it does.
ServerUri = Annotated[str, _server()]
HttpsUri = Annotated[str, _server(loopback=False)]
# OpenID Connect Core §6.2 limits them.
RequestUri = Annotated[str, _server(fragment=True), longest(512)]

SignatureAlg = Annotated[str, _one_of([*SigningAlgorithm, "none"])]
EncryptionAlg = Annotated[str, _one_of(ENCRYPTION_ALGS)]
EncryptionEnc = Annotated[str, _one_of(ENCRYPTION_ENCS)]
