"""What of a refused request is kept, to explain it later: an allow-list, so that no secret and no person is in it.

Of what is secret only the length stays, of a JWT its header and times, and of the client what the rule compared with.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from idp.domain.client import Client, ClientAuthMethod
from idp.domain.lab_scope import names_lab, parse_lab_scope
from idp.protocol.parameters import Parameters
from idp.protocol.redirect_uri import closest, differences

# Values that say nothing about a person and open nothing.
KEPT = (
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "prompt",
    "max_age",
    "display",
    "ui_locales",
    "claims_locales",
    "acr_values",
    "resource",
    "audience",
    "include_granted_scopes",
    "request_uri",
    "code_challenge_method",
    "grant_type",
    "client_assertion_type",
    "token_type_hint",
    "post_logout_redirect_uri",
    # Of registrations (RFC 7591 §2).
    "redirect_uris",
    "post_logout_redirect_uris",
    "response_types",
    "grant_types",
    "application_type",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "subject_type",
    "sector_identifier_uri",
    "jwks_uri",
    "request_uris",
    "initiate_login_uri",
    "frontchannel_logout_uri",
    "backchannel_logout_uri",
    "id_token_signed_response_alg",
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "userinfo_signed_response_alg",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "request_object_signing_alg",
)
# Made by machines, so that a length tells where one was cut, and nothing else.
MEASURED = (
    *("state", "nonce", "code_challenge", "code_verifier", "code", "refresh_token", "token", "access_token"),
    *("claims", "registration", "jwks"),
)
# Chosen by people, or about them: that it was there is all that is said.
MENTIONED = ("client_secret", "login_hint", "logout_hint")
JWTS = ("request", "id_token_hint", "client_assertion", "software_statement")

_MAX_VALUE_CHARS = 500
_MAX_VALUES = 20
_LAB_ERRORS = frozenset({"invalid_scope", "access_denied"})
_LAB_CAUSE = (
    "A lab that the scope names was not given. It does not exist, is not open to this application, or the person does "
    "not hold in it what was asked for; which of these is not told."
)
_TIMES = ("iat", "nbf", "exp")
# Beyond it a time in a JWT is no date.
_LAST_SECOND = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_LONG = timedelta(hours=1)
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))
_USER_INFO = re.compile(r"(?<=://)[^\s/@]*@")

Marked = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class Cause:
    """The rule that refused: as the client's own administrators read it, and exactly, for operators."""

    public: str
    operator: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was sent beside what is registered where the two do not agree; `sent` is None when nothing was."""

    parameter: str
    sent: str | None
    member: str
    registered: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that is kept of one refusal; `jwts` holds the header and times of each JWT by its parameter."""

    route: str
    description: str
    cause: Cause
    request_id: str | None
    client_id: str | None
    sent: Mapping[str, str]
    repeated: tuple[str, ...]
    jwts: Mapping[str, Mapping[str, Any]]
    compared: tuple[Comparison, ...]


def sent_parameters(params: Parameters) -> dict[str, str]:
    """Return what may be kept of the parameters, in the order of the allow-list; unknown ones are left out."""
    sent = {}
    for name, value in params.values.items():
        if name in KEPT and not (name == "request_uri" and value.startswith("urn:")):
            sent[name] = shown(value)
        elif name in MEASURED or name in JWTS or name == "request_uri":
            # A pushed request's URN is a secret (RFC 9126 §2.2).
            sent[name] = f"present, {len(value)} characters"
        elif name in MENTIONED:
            sent[name] = "present"
    return {name: sent[name] for name in (*KEPT, *MEASURED, *MENTIONED, *JWTS) if name in sent}


def repeated_parameters(params: Parameters) -> tuple[str, ...]:
    """Return the known parameters that came more than once."""
    return tuple(name for name in (*KEPT, *MEASURED, *MENTIONED, *JWTS) if name in params.repeated)


def reduce_jwt(header: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be kept of a JWT that nobody has verified: algorithm, key, type, issuer, audience and times."""
    reduced: dict[str, Any] = {}
    for name in ("alg", "kid", "typ"):
        if isinstance(header.get(name), str):
            reduced[name] = shown(header[name])
    if isinstance(claims.get("iss"), str):
        reduced["iss"] = shown(claims["iss"])
    audience = claims.get("aud")
    texts = [text for text in (audience if isinstance(audience, list) else [audience]) if isinstance(text, str)]
    if texts:
        reduced["aud"] = [shown(text) for text in texts[:_MAX_VALUES]]
    for name in _TIMES:
        time = claims.get(name)
        if isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time < _LAST_SECOND:
            reduced[name] = int(time)
    return reduced


def cause_of(error: str, description: str, detail: str, params: Parameters) -> Cause:
    """Return the rule that refused; everything that can be wrong with a lab, or an API, is one cause to the client.

    Else an application could learn which labs exist, and who is in them, from its own refusals.
    """
    operator = shown(detail or description)
    if error == "invalid_target":
        # Which APIs there are is nobody's business who has none of their scopes.
        return Cause(public=description, operator=operator)
    labs = any(map(names_lab, (params.get("scope") or "").split(" ")))
    return Cause(public=_LAB_CAUSE if labs and error in _LAB_ERRORS else operator, operator=operator)


def compare(
    error: str, client: Client, params: Parameters, *, authentication: str, jwts: Mapping[str, Mapping[str, Any]]
) -> tuple[Comparison, ...]:
    """Return where the request and the registration do not agree, as far as that can be why it was refused.

    `authentication` is how the client tried to prove itself.
    """
    algorithms = {name: str(jwt.get("alg", "none")) for name, jwt in jwts.items()}
    asked = _Asked(client, params, authentication, algorithms)
    return tuple(found for rule in _RULES.get(error, ()) if (found := rule(asked)) is not None)


def compare_redirect_uri(client: Client, sent: str | None) -> Comparison:
    """Return a redirect URI that was refused beside those that are registered."""
    return _comparison("redirect_uri", sent, "redirect_uris", client.redirect_uris)


def beside(comparison: Comparison) -> list[tuple[str, Marked]]:
    """Return what was sent and what is registered, one under the other, each in pieces with whether they differ."""
    sent, registered = comparison.sent, comparison.registered
    if sent is None or not registered:
        others = [("Registered", [(text, False)]) for text in registered or ("nothing",)]
        return [("The application sent", [(sent or "nothing", False)]), *others]
    if not comparison.parameter.endswith("_uri"):
        known = {word for text in registered for word in text.split(" ")}
        pieces = [piece for word in sent.split(" ") for piece in ((word, word not in known), (" ", False))]
        return [("The application sent", pieces[:-1]), *(("Registered", [(text, False)]) for text in registered)]
    near = closest(sent, registered) or ""
    return [
        ("The application sent", differences(sent, near)),
        ("Closest registered", differences(near, sent)),
        *(("Also registered", [(text, False)]) for text in registered if text != near),
    ]


def clock_remarks(jwt: Mapping[str, Any], *, at: datetime) -> list[str]:
    """Return whose clock was off: how the times of a JWT lie to ours when the request came, as sentences."""
    times = {name: datetime.fromtimestamp(jwt[name], UTC) for name in _TIMES if name in jwt}
    remarks = []
    if "exp" in times and times["exp"] <= at:
        remarks.append(f"It expired {_amount(at - times['exp'])} before our time.")
    if "exp" in times and times["exp"] > at + _LONG:
        remarks.append(f"It expires {_amount(times['exp'] - at)} after our time.")
    if "nbf" in times and times["nbf"] > at:
        remarks.append(f"It is not valid until {_amount(times['nbf'] - at)} after our time.")
    if "iat" in times and times["iat"] > at:
        remarks.append(f"It was issued {_amount(times['iat'] - at)} after our time: the sender's clock is ahead.")
    return remarks


def jwt_facts(jwt: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was kept of a JWT as names and texts."""
    facts = []
    for name, value in jwt.items():
        if name in _TIMES:
            value = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        facts.append((name, ", ".join(value) if isinstance(value, list) else value))
    return facts


def shown(text: str) -> str:
    """Return a text of visible characters and bounded length, without the password that a URL may hold."""
    cut = _USER_INFO.sub("***@", text[:_MAX_VALUE_CHARS])
    visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return visible if len(text) <= _MAX_VALUE_CHARS else f"{visible}… ({len(text)} characters)"


def _amount(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "second"))
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the rules below look at it."""

    client: Client
    params: Parameters
    authentication: str
    algorithms: Mapping[str, str]

    def differs(self, parameter: str, member: str, registered: Sequence[str], *, fits: bool) -> Comparison | None:
        sent = self.params.get(parameter)
        if sent is None or fits:
            return None
        return _comparison(parameter, sent, member, registered)


def _comparison(parameter: str, sent: str | None, member: str, registered: Sequence[str]) -> Comparison:
    values = tuple(shown(str(value)) for value in registered[:_MAX_VALUES])
    return Comparison(parameter, None if sent is None else shown(sent), member, values)


def _redirect_uri(asked: _Asked) -> Comparison | None:
    # A registration is refused with the same code, and has nothing to be compared with.
    if asked.params.get("redirect_uris") is not None:
        return None
    return compare_redirect_uri(asked.client, asked.params.get("redirect_uri"))


def _post_logout_redirect_uri(asked: _Asked) -> Comparison | None:
    registered = asked.client.post_logout_redirect_uris
    fits = asked.params.get("post_logout_redirect_uri") in registered
    return asked.differs("post_logout_redirect_uri", "post_logout_redirect_uris", registered, fits=fits)


def _scope(asked: _Asked) -> Comparison | None:
    client, sent = asked.client, (asked.params.get("scope") or "").split()
    # A lab is no registered scope: the client may see it, and so ask for it.
    labs = [f"lab:{slug}" for slug in client.allowed_labs if client.allowed_labs != "*"]
    seen = [token for token in sent if names_lab(token) and _is_seen(client, token)]
    registered = dict.fromkeys((*(token for token in client.scopes if not names_lab(token)), *labs, *seen))
    return asked.differs("scope", "scope", [" ".join(registered)], fits=set(sent) <= set(registered))


def _is_seen(client: Client, token: str) -> bool:
    try:
        return client.may_see(parse_lab_scope(token).slug)
    except ValueError:
        return False


def _response_type(asked: _Asked) -> Comparison | None:
    registered = asked.client.response_types
    sent = sorted((asked.params.get("response_type") or "").split(" "))
    fits = sent in [sorted(words.split(" ")) for words in registered]
    return asked.differs("response_type", "response_types", registered, fits=fits)


def _grant_type(asked: _Asked) -> Comparison | None:
    registered = [str(grant_type) for grant_type in asked.client.grant_types]
    fits = asked.params.get("grant_type") in registered
    return asked.differs("grant_type", "grant_types", registered, fits=fits)


def _request_uri(asked: _Asked) -> Comparison | None:
    registered = asked.client.request_uris
    fits = asked.params.get("request_uri") in registered
    return asked.differs("request_uri", "request_uris", registered, fits=fits)


def _code_challenge_method(asked: _Asked) -> Comparison | None:
    sent = asked.params.get("code_challenge_method")
    if "code" not in (asked.params.get("response_type") or "").split(" ") or not asked.client.require_pkce:
        return None
    if sent == "S256" and asked.params.get("code_challenge") is not None:
        return None
    return _comparison("code_challenge_method", sent, "require_pkce", ["S256 with a code_challenge"])


def _authentication(asked: _Asked) -> Comparison | None:
    method = asked.client.token_endpoint_auth_method
    # The two ways of sending a secret are taken for each other.
    secret = {ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST}
    if asked.authentication in (secret if method in secret else {method}):
        return None
    return _comparison("authentication", asked.authentication, "token_endpoint_auth_method", [method])


def _algorithm(parameter: str, member: str) -> Callable[[_Asked], Comparison | None]:
    def rule(asked: _Asked) -> Comparison | None:
        registered, sent = getattr(asked.client, member), asked.algorithms.get(parameter)
        if sent is None or registered in {None, sent}:
            return None
        return _comparison(f"{parameter}: alg", sent, member, [registered])

    return rule


_request_algorithm = _algorithm("request", "request_object_signing_alg")
_Rule = Callable[[_Asked], Comparison | None]
# What can be why, by error; where the request fits the registration, nothing is shown.
_RULES: Mapping[str, Sequence[_Rule]] = {
    "invalid_redirect_uri": (_redirect_uri,),
    "invalid_request": (_code_challenge_method, _post_logout_redirect_uri),
    "invalid_scope": (_scope,),
    "unsupported_response_type": (_response_type,),
    "unauthorized_client": (_response_type, _grant_type),
    "unsupported_grant_type": (_grant_type,),
    "invalid_client": (_authentication, _algorithm("client_assertion", "token_endpoint_auth_signing_alg")),
    "request_not_supported": (_request_algorithm,),
    "request_uri_not_supported": (_request_uri,),
    "invalid_request_uri": (_request_uri,),
    "invalid_request_object": (_request_algorithm,),
}
