"""What the sign-in page tells Google's script, where the settings allow it there."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request

from idp.crypto.opaque import hash_token, mint_token
from idp.protocol.authorization_request import AuthorizationRequest
from idp.services.providers import GOOGLE
from idp.web.services import Services


async def offered(
    request: Request[Services],
    pending: AuthorizationRequest | None,
    carried: Mapping[str, str],
    *,
    form_cookie: str | None,
) -> dict[str, str] | None:
    """Return what the page needs for Google's script; None where it goes without.

    `carried` are the parameters of every way of signing in; `form_cookie` is the one that the page sets, if it does.
    `style_nonce` lets Google's script add its style sheet to the page (CSP Level 3 §2.3.1), and allows no script.
    """
    state = request.state
    browser = state["cookies"].browser(request) or hash_token(form_cookie or "")
    offer = await state["one_tap"].offer(pending, again="again" in carried, browser=browser)
    if offer is None:
        return None
    query = f"?{urlencode(carried)}" if carried else ""
    return {
        "client_id": offer.client_id,
        "nonce": offer.nonce,
        "login_uri": f"{state['issuer']}/login/{GOOGLE}/one-tap{query}",
        "style_nonce": mint_token(),
    }
