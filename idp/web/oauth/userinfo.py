"""UserInfo endpoint (OpenID Connect Core §5.3)."""

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.access_token import read_bearer_token
from idp.protocol.errors import InvalidRequest, OAuthError
from idp.web import errors
from idp.web.cors import allow_bearers_origin, preflight
from idp.web.endpoint import machine_endpoint
from idp.web.forms import read_form
from idp.web.responses import bearer_error, json_no_store, jwt_no_store, oauth_error
from idp.web.services import Services


@machine_endpoint
async def userinfo(request: Request[Services]) -> Response:
    """Return the claims about the token's user."""
    if request.method == "OPTIONS":
        return await preflight(request)
    token = None
    try:
        token = read_bearer_token(request.headers.get("authorization"), await _token_in_body(request))
        answer = await request.state["userinfo"].read(token)
        response = jwt_no_store(answer) if isinstance(answer, str) else json_no_store(answer)
    except OAuthError as error:
        errors.log_refusal(request, error)
        # Only what is wrong with the token is a challenge (RFC 6750 §3.1).
        response = bearer_error(error) if error.status < 500 else oauth_error(error)
    return await allow_bearers_origin(request, response, token)


async def _token_in_body(request: Request[Services]) -> str | None:
    # RFC 6750 §2.2: only in a form, only with POST; a POST whose token stands in the header may have any body.
    if request.method != "POST" or "form" not in request.headers.get("content-type", ""):
        return None
    form = await read_form(request)
    if "access_token" in form.repeated:
        raise InvalidRequest("A parameter was sent more than once.")
    return form.get("access_token")
