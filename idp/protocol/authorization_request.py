"""The authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1) as an ordered list of small checks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from idp.domain.client import Client, GrantType
from idp.protocol.authorization_response import Refused, ReplyAddress, ResponseMode
from idp.protocol.errors import (
    InvalidRequest,
    OAuthError,
    RegistrationNotSupported,
    RequestNotSupported,
    RequestUriNotSupported,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from idp.protocol.parameters import Parameters
from idp.protocol.pkce import check_code_challenge
from idp.protocol.redirect_uri import RedirectUri, RedirectUriRefused, check_redirect_uri
from idp.protocol.resource import check_resource
from idp.protocol.scope import check_user_scope

RESPONSE_TYPES = ("code",)
# What is kept of a request that waits for its user; anything else is ignored (RFC 6749 §3.1).
PARAMETERS = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "prompt",
    "max_age",
    "login_hint",
    "id_token_hint",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
)
MAX_REQUEST_CHARS = 16 * 1024
PROMPTS = ("none", "login", "consent", "select_account")
MAX_NONCE_CHARS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A request that passed every check."""

    client: Client
    reply: ReplyAddress
    scope: tuple[str, ...]
    code_challenge: str | None
    nonce: str | None
    prompt: frozenset[str]
    max_age: timedelta | None
    login_hint: str | None
    id_token_hint: str | None

    @property
    def redirect_uri(self) -> RedirectUri:
        """Where the answer goes."""
        return self.reply.redirect_uri


def check_refused_parameters(client: Client, params: Parameters) -> None:
    """Refuse what would change the request's meaning if it were ignored (OpenID Connect Core §6, §7.2.1)."""
    if params.get("request") is not None:
        raise RequestNotSupported
    if params.get("request_uri") is not None:
        raise RequestUriNotSupported
    if params.get("registration") is not None:
        raise RegistrationNotSupported


def check_response_type(client: Client, params: Parameters) -> None:
    """Check the response type against what is offered and what the client registered (RFC 6749 §3.1.1)."""
    response_type = params.require("response_type")
    if response_type not in RESPONSE_TYPES:
        raise UnsupportedResponseType
    if response_type not in client.response_types or GrantType.AUTHORIZATION_CODE not in client.grant_types:
        raise UnauthorizedClient


def check_response_mode(client: Client, params: Parameters) -> None:
    """Refuse an unknown response mode rather than answer in another one."""
    mode = params.get("response_mode")
    if mode is not None and mode not in set(ResponseMode):
        raise InvalidRequest("This response_mode is not supported.")


def check_prompt(client: Client, params: Parameters) -> None:
    """Check the prompt values (OpenID Connect Core §3.1.2.1): known ones, and `none` alone."""
    prompts = _prompts(params)
    if not prompts <= set(PROMPTS):
        raise InvalidRequest("prompt holds an unknown value.")
    if "none" in prompts and len(prompts) > 1:
        raise InvalidRequest("prompt=none cannot be combined with other values.")


def check_max_age(client: Client, params: Parameters) -> None:
    """Check that max_age is a number of seconds."""
    raw = params.get("max_age")
    if raw is not None and not (raw.isascii() and raw.isdigit() and len(raw) <= 10):
        raise InvalidRequest("max_age must be a number of seconds.")


def check_nonce(client: Client, params: Parameters) -> None:
    """Refuse an absurdly long nonce, which would otherwise be echoed in every ID token; never shorten it."""
    if len(params.get("nonce") or "") > MAX_NONCE_CHARS:
        raise InvalidRequest("nonce is too long.")


def check_size(client: Client, params: Parameters) -> None:
    """Refuse what nobody sends: a request that waits is stored, and anybody may send one."""
    if sum(len(params.get(name) or "") for name in PARAMETERS) > MAX_REQUEST_CHARS:
        raise InvalidRequest("The request is too long.")


CHECKS: tuple[Callable[[Client, Parameters], None], ...] = (
    lambda client, params: params.check_single(),
    check_size,
    check_refused_parameters,
    check_response_type,
    check_response_mode,
    check_prompt,
    check_max_age,
    check_nonce,
)


def check_authorization_request(client: Client, params: Parameters, *, issuer: str) -> AuthorizationRequest:
    """Return the request when it passes every check, in order.

    Raises:
        RedirectUriRefused: there is nowhere safe to answer to; shown as a page.
        Refused: any other fault; answered by redirect.
    """
    if "redirect_uri" in params.repeated or "client_id" in params.repeated:
        raise RedirectUriRefused(client, None)
    redirect_uri = check_redirect_uri(client, params.get("redirect_uri"))
    state = None if "state" in params.repeated else params.get("state")
    reply = ReplyAddress(redirect_uri, ResponseMode.QUERY, state, issuer)
    try:
        for check in CHECKS:
            check(client, params)
        check_resource(params, issuer=issuer)
        return AuthorizationRequest(
            client=client,
            reply=reply,
            scope=check_user_scope(client, params.get("scope")),
            code_challenge=check_code_challenge(client, params),
            nonce=params.get("nonce"),
            prompt=_prompts(params),
            max_age=_max_age(client, params),
            login_hint=params.get("login_hint"),
            id_token_hint=params.get("id_token_hint"),
        )
    except OAuthError as error:
        raise Refused(reply, error) from error


def _prompts(params: Parameters) -> frozenset[str]:
    return frozenset((params.get("prompt") or "").split())


def _max_age(client: Client, params: Parameters) -> timedelta | None:
    raw = params.get("max_age")
    seconds = int(raw) if raw is not None else client.default_max_age
    return None if seconds is None else timedelta(seconds=seconds)
