"""The authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1) as an ordered list of small checks."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from idp.domain.client import Client
from idp.domain.resource import Resource
from idp.protocol.authorization_response import Refused, ReplyAddress, ResponseMode, response_mode
from idp.protocol.claims_request import ClaimsRequest, read_claims_request
from idp.protocol.errors import InvalidRequest, InvalidScope, OAuthError, RegistrationNotSupported
from idp.protocol.parameters import Parameters
from idp.protocol.pkce import check_code_challenge
from idp.protocol.redirect_uri import RedirectUri, RedirectUriRefused, check_redirect_uri
from idp.protocol.resource import check_resources, read_resources
from idp.protocol.response_type import CODE, ID_TOKEN, check_response_type
from idp.protocol.scope import check_user_scope

# What is kept of a request that waits for its user; anything else is ignored (RFC 6749 §3.1).
PARAMETERS = (
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "prompt",
    "max_age",
    "display",
    "ui_locales",
    "claims_locales",
    "acr_values",
    "login_hint",
    "id_token_hint",
    "claims",
    "resource",
    "include_granted_scopes",
    "code_challenge",
    "code_challenge_method",
)
MAX_REQUEST_CHARS = 16 * 1024
PROMPTS = ("none", "login", "consent", "select_account")
MAX_NONCE_CHARS = 1024
MAX_STATE_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A request that passed every check; `response_type` is the set of its words."""

    client: Client
    reply: ReplyAddress
    response_type: frozenset[str]
    scope: tuple[str, ...]
    code_challenge: str | None
    nonce: str | None
    prompt: frozenset[str]
    max_age: timedelta | None
    login_hint: str | None
    id_token_hint: str | None
    claims: ClaimsRequest
    resources: tuple[str, ...]
    include_granted_scopes: bool
    acr_values: tuple[str, ...] = ()

    @property
    def redirect_uri(self) -> RedirectUri:
        """Where the answer goes."""
        return self.reply.redirect_uri


def check_registration(client: Client, params: Parameters) -> None:
    """Refuse self-issued registration, which would change the request's meaning if it were ignored (§7.2.1)."""
    if params.get("registration") is not None:
        raise RegistrationNotSupported


def check_response_mode(client: Client, params: Parameters) -> None:
    """Refuse an unknown response mode, and the query for tokens, rather than answer in another one."""
    mode = params.get("response_mode")
    if mode is not None and mode not in set(ResponseMode):
        raise InvalidRequest("This response_mode is not supported.")
    if mode == ResponseMode.QUERY and response_mode(params) is not ResponseMode.QUERY:
        # OAuth 2.0 Multiple Response Type Encoding Practices §3.
        raise InvalidRequest("response_mode=query is only for response_type=code: tokens do not belong into a query.")


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
    """Check that there is a nonce where an ID token comes from here (§3.2.2.1, §3.3.2.11), and none of absurd length.

    It is echoed in every ID token and never shortened.
    """
    nonce = params.get("nonce")
    if nonce is None and ID_TOKEN in (params.get("response_type") or "").split(" "):
        raise InvalidRequest("nonce is required with this response_type.")
    if len(nonce or "") > MAX_NONCE_CHARS:
        raise InvalidRequest("nonce is too long.")


def check_state(client: Client, params: Parameters) -> None:
    """Refuse a state of absurd length: it is never shortened, and the refusal leaves it out."""
    if len(params.get("state") or "") > MAX_STATE_CHARS:
        raise InvalidRequest("state is too long.")


def check_size(client: Client, params: Parameters) -> None:
    """Refuse what nobody sends: a request that waits is stored, and anybody may send one."""
    if sum(len(params.get(name) or "") for name in PARAMETERS) > MAX_REQUEST_CHARS:
        raise InvalidRequest("The request is too long.")


CHECKS: tuple[Callable[[Client, Parameters], object], ...] = (
    lambda client, params: params.check_single(),
    check_size,
    check_state,
    check_registration,
    check_response_type,
    check_response_mode,
    check_prompt,
    check_max_age,
    check_nonce,
)


def reply_address(client: Client, params: Parameters, *, issuer: str) -> ReplyAddress:
    """Return where and how a request is answered, whatever else is wrong with it.

    Raises:
        RedirectUriRefused: there is nowhere safe to answer to; shown as a page.
    """
    if "redirect_uri" in params.repeated or "client_id" in params.repeated:
        raise RedirectUriRefused(client, None)
    redirect_uri = check_redirect_uri(client, params.get("redirect_uri"))
    state = None if "state" in params.repeated else params.get("state")
    if len(state or "") > MAX_STATE_CHARS:
        state = None
    return ReplyAddress(redirect_uri, response_mode(params), state, issuer)


def check_authorization_request(
    client: Client,
    params: Parameters,
    *,
    issuer: str,
    resources: Mapping[str, Resource],
    entitlements: bool = True,
    providers: Collection[str] | None = None,
) -> AuthorizationRequest:
    """Return the request when it passes every check, in order; `resources` are the registered ones among those named.

    `entitlements` is whether there is such a scope; `providers` are those whose APIs the client may use.

    Raises:
        RedirectUriRefused: there is nowhere safe to answer to; shown as a page.
        Refused: any other fault; answered by redirect.
    """
    reply = reply_address(client, params, issuer=issuer)
    try:
        for check in CHECKS:
            check(client, params)
        response_type = check_response_type(client, params)
        code = CODE in response_type
        scope = check_user_scope(client, params.get("scope"), code=code, entitlements=entitlements, providers=providers)
        if ID_TOKEN in response_type and "openid" not in scope:
            raise InvalidScope("An ID token needs the scope openid.")
        return AuthorizationRequest(
            client=client,
            reply=reply,
            response_type=response_type,
            scope=scope,
            code_challenge=check_code_challenge(client, params) if code else None,
            nonce=params.get("nonce"),
            prompt=_prompts(params),
            max_age=_max_age(client, params),
            login_hint=params.get("login_hint"),
            id_token_hint=params.get("id_token_hint"),
            claims=read_claims_request(params),
            acr_values=_acr_values(client, params),
            resources=check_resources(read_resources(params), client, resources, issuer=issuer),
            # Anybody can pose as a public client, and would collect what the real one was given.
            include_granted_scopes=params.get("include_granted_scopes") == "true" and not client.public,
        )
    except OAuthError as error:
        raise Refused(reply, error) from error


def _prompts(params: Parameters) -> frozenset[str]:
    return frozenset((params.get("prompt") or "").split())


def _acr_values(client: Client, params: Parameters) -> tuple[str, ...]:
    raw = params.get("acr_values")
    return client.default_acr_values if raw is None else tuple(raw.split())


def _max_age(client: Client, params: Parameters) -> timedelta | None:
    raw = params.get("max_age")
    seconds = int(raw) if raw is not None else client.default_max_age
    return None if seconds is None else timedelta(seconds=seconds)
