"""Whether a provider knows the address to which it is to send people back."""

from secrets import token_urlsafe
from urllib.parse import parse_qs

from idp.domain.provider import Provider
from idp.outbound.client import Outbound, OutboundError, Redirected
from idp.upstream.conversation import cleaned, printable


async def is_registered(
    outbound: Outbound, provider: Provider, authorization_endpoint: str, redirect_uri: str
) -> tuple[bool | None, str]:
    """Ask a provider to answer at an address without asking anybody anything, and return what that shows, and why.

    With `prompt=none` it must not show a page (OpenID Connect Core §3.1.2.1), so it sends whoever comes back, nobody
    being signed in: but only to an address that it knows (RFC 6749 §4.1.2.1). Whether it does stays unknown, None,
    where it shows a page all the same, or leads elsewhere.
    """
    # What speaks OpenID Connect imports its test, and so this module.
    from idp.upstream.oidc import with_parameters

    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        # What every client may ask for: it is the address that is tried out.
        "scope": "openid",
        "state": token_urlsafe(32),
        "nonce": token_urlsafe(32),
        # The challenge of a verifier that nobody has: a code that came back would be nobody's.
        "code_challenge": token_urlsafe(32),
        "code_challenge_method": "S256",
        "prompt": "none",
    }
    unknown = f"Whether {redirect_uri} is registered could not be checked"
    try:
        page = await outbound.get(with_parameters(authorization_endpoint, asked), accept="text/html")
    except Redirected as redirected:
        place, mark, answer = _parted(redirected.location)
        if place == redirect_uri:
            error = printable(parse_qs(answer).get("error", [""])[0]) if mark else ""
            return True, f"{redirect_uri} is registered: the provider answers there{f' with {error}' if error else ''}."
        return None, f"{unknown}: the provider leads to {cleaned(place) or 'nowhere'} instead of answering there."
    except OutboundError as error:
        return None, f"{unknown}: {cleaned(str(error), 400)}."
    if page.status < 400:
        return None, f"{unknown}: the provider shows a page instead of answering there."
    text = f"The provider shows a page of status {page.status} instead of answering at {redirect_uri}"
    return False, f"{text}: it does not know that address, or not this client."


def _parted(location: str) -> tuple[str, str, str]:
    """Return an address without query and fragment, and the first of these behind its mark."""
    mark = next((sign for sign in location if sign in "?#"), "")
    return location.partition(mark) if mark else (location, "", "")
