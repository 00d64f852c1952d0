"""What the sign-in page tells Google's script, where the settings allow it there."""

from starlette.requests import Request

from idp.crypto.opaque import hash_token, mint_token
from idp.protocol.authorization_request import AuthorizationRequest
from idp.services.providers import GOOGLE
from idp.services.upstream_visits import Onward
from idp.web.onward import with_carried
from idp.web.services import Services


async def offered(
    request: Request[Services],
    pending: AuthorizationRequest | None,
    going: Onward,
    *,
    form_cookie: str | None,
) -> dict[str, str] | None:
    """Return what the page needs for Google's script; None where it goes without.

    `going` is what every way of signing in carries along; `form_cookie` is the one that the page sets, if it does.
    `style_nonce` lets Google's script add its style sheet to the page (CSP Level 3 §2.3.1), and allows no script.
    """
    state = request.state
    browser = state["cookies"].browser(request) or hash_token(form_cookie or "")
    offer = await state["one_tap"].offer(pending, again=going.proves, browser=browser)
    if offer is None:
        return None
    return {
        "client_id": offer.client_id,
        "nonce": offer.nonce,
        "login_uri": f"{state['issuer']}{with_carried(f'/login/{GOOGLE}/one-tap', going)}",
        "style_nonce": mint_token(),
    }
