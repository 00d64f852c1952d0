"""Refusals and failures as answers: what is told to whom, and a reference that leads to the reason.

A refusal is kept under its reference (`idp.services.refusals`); of a failure of ours the log alone knows.
"""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import mint_reference
from idp.crypto.password import HashingBusy
from idp.observe.logs import get_logger
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.errors import OAuthError
from idp.protocol.initiate_login import initiate_login_address
from idp.protocol.parameters import Parameters
from idp.protocol.redirect_uri import RedirectUriRefused
from idp.protocol.refusal import Marked, beside, compare_redirect_uri, shown
from idp.services.authorization import UnknownClient
from idp.services.authorization_answer import InteractionGone
from idp.services.lab_permissions import Forbidden
from idp.services.rate_limit import TooManyRequests
from idp.services.refusals import RefusedRequest
from idp.services.setup import SetupClosed
from idp.store.errors import Unavailable
from idp.web.api.problems import http_problem
from idp.web.application import known_as
from idp.web.cookies import ForgedForm
from idp.web.forms import remembered_parameters
from idp.web.responses import json_no_store, oauth_error
from idp.web.services import Services, find_signed_in

_log = get_logger("idp.web")
_NOT_YOU = "You have not done anything wrong: tell whoever runs the application, and give them the reference."


def log_refusal(request: Request[Services], error: OAuthError) -> None:
    """Log why a request was refused where no explanation is kept; the client gets the code and a fixed description."""
    _log.info(
        "refused",
        route=_route(request),
        error=error.error,
        description=error.description,
        detail=error.detail,
        reference=None,
    )


async def refusal_answer(request: Request[Services], error: OAuthError) -> Response:
    """Return a refusal as JSON; `error_uri` leads to its explanation (RFC 6749 §5.2)."""
    reference = await keep_refusal(request, error.error, error.description, error.detail)
    return oauth_error(error, error_uri=_error_uri(request, reference), challenge="authorization" in request.headers)


async def refusal_response(request: Request[Services], refused: Refused) -> AuthorizationResponse:
    """Return a refusal as the application gets it; `error_uri` leads to its explanation (RFC 6749 §4.1.2.1)."""
    error = refused.error
    reference = await keep_refusal(request, error.error, error.description, error.detail)
    return refused.reply.refusal(error, error_uri=_error_uri(request, reference))


async def keep_refusal(
    request: Request[Services], error: str, description: str, detail: str, *, params: Parameters | None = None
) -> str:
    """Keep an explanation of a refusal, log it, and return the reference of both."""
    route = _route(request)
    refused = RefusedRequest(
        error=error,
        description=description,
        detail=detail,
        route=route,
        params=remembered_parameters(request) if params is None else params,
        authorization=request.headers.get("authorization"),
    )
    reference = await request.state["refusals"].keep(refused)
    _log.info("refused", route=route, error=error, description=description, detail=detail, reference=reference)
    return reference


def _error_uri(request: Request[Services], reference: str) -> str:
    return f"{request.state['issuer']}/explain/{reference}"


def log_failure(request: Request[Services], error: Exception, *, reference: str | None = None) -> None:
    """Log what broke; overload and outages need no traceback."""
    if isinstance(error, Unavailable | HashingBusy | TooManyRequests):
        _log.warning("unavailable", route=_route(request), reason=str(error), reference=reference)
    else:
        _log.exception("failed", route=_route(request), reference=reference)


def _route(request: Request[Services]) -> str:
    # Never the address itself: that of the setup page is a secret, and a query may be no UTF-8.
    return getattr(request.scope.get("route"), "path", "none")


def retry_after(error: Exception) -> int:
    """Return after how many seconds it is worth trying again."""
    return error.retry_after_seconds if isinstance(error, HashingBusy | TooManyRequests) else 2


def error_page(
    request: Request[Services],
    *,
    status: int,
    code: str,
    title: str,
    message: str,
    who: str,
    reference: str,
    explained: bool = False,
    client_name: str | None = None,
    details: list[tuple[str, Marked]] | None = None,
    onward: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the error page; with `explained` its reference leads to the explanation.

    `client_name` is which application one cannot continue to; `onward` where to start again, and what is there.
    """
    state = request.state
    response = state["pages"].render(
        "error.html",
        status=status,
        transaction=True,
        title=title,
        message=message,
        who=who,
        code=code,
        reference=reference,
        explained=explained,
        at=state["clock"](),
        client_name=client_name,
        details=details or [],
        onward=onward,
    )
    response.headers.update(headers or {})
    return response


async def refusal_page(request: Request[Services], error: OAuthError) -> Response:
    """Return the page of a refusal that must not be redirected."""
    return error_page(
        request,
        status=error.status if error.status != 401 else 400,
        code=error.error,
        title="This request cannot be answered",
        message=error.description,
        who=_NOT_YOU,
        reference=await keep_refusal(request, error.error, error.description, error.detail),
        explained=True,
    )


async def redirect_uri_page(request: Request[Services], error: RedirectUriRefused) -> Response:
    """Return the page about a return address that is not registered.

    Anybody sees what was sent; only a signed-in administrator sees what is registered, with the difference marked.
    """
    client, sent = error.client, error.sent
    try:
        signed_in = await find_signed_in(request)
    except Unavailable:
        # The client may be known from the cache; then nobody is known to be an administrator.
        signed_in = None
    if sent is None:
        message = "It did not say, exactly once, where to send you back."
    else:
        message = "The address it asked us to send you back to does not match the ones on file."
    if signed_in is not None and signed_in.user.roles:
        details = beside(compare_redirect_uri(client, sent))
    else:
        details = [] if sent is None else [("The application sent", [(shown(sent), False)])]
    params = remembered_parameters(request)
    values = {name: value for name, value in params.values.items() if name != "redirect_uri"}
    judged = Parameters(values if sent is None else {**values, "redirect_uri": sent}, params.repeated)
    description = "The redirect_uri is not registered for this client, or missing while it is needed."
    detail = f"{(sent or 'none, or several')[:2048]} is no redirect URI of client {client.client_id}"
    reference = await keep_refusal(request, "invalid_redirect_uri", description, detail, params=judged)
    return error_page(
        request,
        status=400,
        code="invalid_redirect_uri",
        title="This application’s return address is not registered",
        message=message,
        client_name=client.client_name,
        who="You have not done anything wrong. If you run this application: register the address, or correct the one "
        "it sends. Scheme, host, port, path and query must match exactly.",
        reference=reference,
        explained=True,
        details=details,
    )


# Exception → status, code, title, message, who can mend it.
_EXPLAINED: dict[type[Exception], tuple[int, str, str, str, str]] = {
    UnknownClient: (
        400,
        "invalid_client",
        "This application is not known here",
        "The client_id of the request is missing, unknown, or the application was switched off.",
        _NOT_YOU,
    ),
    InteractionGone: (
        400,
        "expired",
        "This sign-in has expired",
        "It was finished already, or left open for too long.",
        "Go back to the application and start again from there.",
    ),
    SetupClosed: (
        404,
        "expired",
        "This link does not work any more",
        "It was used, has expired, or there is an administrator already.",
        "Whoever runs this server gets a new link by restarting it, as long as there is no administrator.",
    ),
    ForgedForm: (
        403,
        "forged_form",
        "This form cannot be accepted",
        "It was opened before you signed in or out or changed to another account, or it comes from another address of "
        "this server or from another site.",
        "Go back, load the page again and try once more. Cookies must be allowed.",
    ),
    TooManyRequests: (
        429,
        "rate_limited",
        "That was too often",
        "So many have done this from your network that no more is accepted for now.",
        "Please try again later. If it stays like this, tell whoever runs this server.",
    ),
    Unavailable: (
        503,
        "temporarily_unavailable",
        "Please try again in a moment",
        "The service is restarting, or its database is out of reach. Nothing you did is lost or half done.",
        "If it stays like this, tell whoever runs this server.",
    ),
    HashingBusy: (
        503,
        "temporarily_unavailable",
        "Many people are signing in right now",
        "Your sign-in was not looked at yet. Please try again in a few seconds.",
        "If it stays like this, tell whoever runs this server.",
    ),
}


async def explained_page(request: Request[Services], error: Exception) -> Response:
    """Return the page of a failure that has an explanation of its own."""
    status, code, title, message, who = next(text for kind, text in _EXPLAINED.items() if isinstance(error, kind))
    refused = status < 500 and not isinstance(error, TooManyRequests)
    headers = {}
    if refused:
        reference = await keep_refusal(request, code, message, "")
    else:
        reference = mint_reference()
        log_failure(request, error, reference=reference)
        headers["Retry-After"] = str(retry_after(error))
    return error_page(
        request,
        status=status,
        code=code,
        title=title,
        message=message,
        who=who,
        reference=reference,
        explained=refused,
        onward=await _onward(request, error),
        headers=headers,
    )


async def _onward(request: Request[Services], error: Exception) -> tuple[str, str] | None:
    """Return where a sign-in that was lost can be started again, if its application tells (OIDC Core §4)."""
    if not isinstance(error, InteractionGone) or error.client_id is None:
        return None
    try:
        client = await request.state["clients"].find(error.client_id)
    except Unavailable:
        return None
    if client is None:
        return None
    address = initiate_login_address(client, issuer=request.state["issuer"])
    if address is None and not client.self_registered:
        address = client.client_uri
    return None if address is None else (address, known_as(client))


def forbidden_page(request: Request[Services], error: Forbidden) -> Response:
    """Return the page about what somebody may see but not do."""
    reference = mint_reference()
    _log.info("refused", route=_route(request), error="forbidden", detail=str(error), reference=reference)
    return error_page(
        request,
        status=403,
        code="forbidden",
        title="You may not do this",
        message=str(error),
        who="Ask an admin of the lab, or whoever runs this server.",
        reference=reference,
    )


def failure_page(request: Request[Services], error: Exception) -> Response:
    """Return the page of a failure of ours; call it while the exception is being handled."""
    reference = mint_reference()
    log_failure(request, error, reference=reference)
    return error_page(
        request,
        status=500,
        code="server_error",
        title="Something went wrong here",
        message="This is a fault of this server, not yours. It has been recorded.",
        who="Try again; if it stays, give the reference to whoever runs this server.",
        reference=reference,
    )


async def http_error(request: Request[Any], error: Exception) -> Response:
    """Answer what routing refuses: a page for people, JSON for the rest, problem details below the API's address."""
    if not isinstance(error, HTTPException):
        raise error
    if request.scope["path"].startswith("/api/"):
        return http_problem(error).response(request)
    headers = dict(error.headers or {})
    code, title, message = _HTTP_TEXTS.get(error.status_code, ("invalid_request", "This cannot be done", error.detail))
    if "text/html" not in request.headers.get("accept", ""):
        content = {"error": code, "error_description": message}
        return json_no_store(content, status=error.status_code, headers=headers)
    reference = mint_reference()
    _log.info("refused", route=_route(request), error=code, detail=f"HTTP {error.status_code}", reference=reference)
    return error_page(
        request,
        status=error.status_code,
        code=code,
        title=title,
        message=message,
        who="Check the address, or start from the first page of this server.",
        reference=reference,
        headers=headers,
    )


_HTTP_TEXTS = {
    404: ("not_found", "There is nothing here", "No page or endpoint has this address."),
    405: ("invalid_request", "This cannot be done that way", "This address does not take requests of this method."),
    413: ("invalid_request", "That was too much", "The body of the request is larger than this server accepts."),
}

EXCEPTION_HANDLERS: dict[Any, Any] = {HTTPException: http_error}
