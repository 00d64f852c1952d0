"""Why signing in through another provider did not come about: a page for each fault, in plain words."""

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.upstream import UpstreamFault
from idp.services.upstream_sign_in import ArrivalRefused
from idp.services.upstream_visits import Onward
from idp.web.errors import keep_refusal
from idp.web.onward import with_carried
from idp.web.services import Services

_LINKED = "/account/linked"
_OPERATOR = "Tell whoever runs this server, and give them the reference."


class _Text(NamedTuple):
    """What is told: `again` is whether trying the same once more may help."""

    status: int
    title: str
    message: str
    who: str
    again: bool = False


_TEXTS = {
    UpstreamFault.LOST: _Text(
        400,
        "This sign-in cannot go on",
        "It took too long, was finished before, or began in another browser or window.",
        "Start again. If it happens each time, allow cookies for this site.",
        again=True,
    ),
    UpstreamFault.DENIED: _Text(
        403,
        "You said no there",
        "You or the provider cancelled the sign-in, so nothing has happened here.",
        "Try again, there or in another way.",
        again=True,
    ),
    UpstreamFault.REFUSED: _Text(
        502,
        "The provider refused",
        "It does not accept requests of this server as they are set up now.",
        f"You have not done anything wrong. Sign in another way. {_OPERATOR}",
    ),
    UpstreamFault.TROUBLE: _Text(
        502,
        "The provider has a problem",
        "It says that something went wrong on its side, or that it is busy.",
        "Try again in a minute, or sign in another way now.",
        again=True,
    ),
    UpstreamFault.DOWN: _Text(
        503,
        "The provider does not answer",
        "It cannot be reached, or answers too slowly, or not as it should.",
        "Try again in a minute, or sign in another way now.",
        again=True,
    ),
    UpstreamFault.INVALID: _Text(
        502,
        "The answer could not be trusted",
        "What came back is not a valid proof of who you are, so nobody was signed in.",
        f"Try again. If it stays: {_OPERATOR[0].lower()}{_OPERATOR[1:]}",
        again=True,
    ),
    UpstreamFault.WRONG_DOMAIN: _Text(
        403,
        "Please use your organisation’s account",
        "The account that you chose does not belong to an organisation whose people may sign in here.",
        "Try again and choose the account of your organisation.",
        again=True,
    ),
    UpstreamFault.NO_EMAIL: _Text(
        403,
        "There is no address to go by",
        "It told us no email address, and without one no account can be made.",
        "Allow it to tell your address, or sign in another way.",
        again=True,
    ),
    UpstreamFault.UNVERIFIED_EMAIL: _Text(
        403,
        "Your email address is not verified",
        "It says that your address there was never verified, so it could be anybody’s.",
        "Verify your address there first, then try again; or sign in another way.",
        again=True,
    ),
    UpstreamFault.NO_ACCOUNT: _Text(
        403,
        "There is no account for you yet",
        "You proved who you are, but accounts are not made for everybody here.",
        "Ask an admin of your lab to invite you by exactly this address. If you were invited, use the account whose "
        "address the invitation went to. If you have an account here under another "
        "address, sign in to it, then connect this one under “Connected accounts”.",
    ),
    UpstreamFault.DISABLED: _Text(
        403, "This account cannot be used", "It has been switched off.", f"If you think that is a mistake: {_OPERATOR}"
    ),
    UpstreamFault.NOT_FRESH: _Text(
        403,
        "You were not asked to sign in again",
        "What you are about to do needs a fresh proof that it is you, and you signed in there some time ago.",
        "Sign out there first, then try again; or sign in another way, such as with a password of this site.",
        again=True,
    ),
    UpstreamFault.NEVER_FRESH: _Text(
        403,
        "We cannot tell when you signed in",
        "What you are about to do needs a fresh proof that it is you, and it never tells us when people signed in.",
        "Use another account that is connected here, or a password. If you have neither, ask whoever runs this server "
        "for a password.",
        again=True,
    ),
    UpstreamFault.OTHER_ACCOUNT: _Text(
        403,
        "That is not the account you have here",
        "You were to prove an account that you have, and the one that you chose does not sign in to it.",
        "Try again with the account that is connected, or with your password. To connect this one, sign in first.",
        again=True,
    ),
    UpstreamFault.NOT_OFFERED: _Text(
        404,
        "This way of signing in is switched off",
        "Whoever runs this server does not offer it any more.",
        "Sign in another way.",
    ),
    UpstreamFault.LINKED_ELSEWHERE: _Text(
        409,
        "It is connected with another account",
        "The account that you chose there signs in somebody else here; it can be connected with one account only.",
        "If the other one is yours too, sign in to it and disconnect it there. If it is the only way in to that one, "
        "ask whoever runs this server.",
    ),
    UpstreamFault.UNVERIFIED_ACCOUNT: _Text(
        403,
        "The address of an account here was never verified",
        "There is an account with your address, but nobody has ever proved that it is theirs. It may have been made by "
        "somebody else, so it is not connected.",
        f"You have not done anything wrong. {_OPERATOR}",
    ),
    UpstreamFault.LAST_WAY_IN: _Text(
        409,
        "This is your only way in",
        "Without it you could not sign in to your account any more.",
        "Add another way to sign in first.",
    ),
}


async def refused_page(request: Request[Services], refused: ArrivalRefused) -> Response:
    """Return the page about a sign-in that did not come about, with the ways on that are left."""
    text, provider = _TEXTS[refused.fault], refused.provider
    code = f"upstream_{refused.fault}"
    reference = await keep_refusal(request, code, text.message, f"{provider.name}: {refused.detail or refused.fault}")
    sign_in_url = _sign_in_url(refused.onward)
    response = request.state["pages"].render(
        "upstream_refused.html",
        status=text.status,
        transaction=True,
        title=text.title,
        message=text.message,
        who=text.who,
        code=code,
        reference=reference,
        provider=provider.display_name,
        # By the form of the sign-in page: to go there takes a click of the person's own.
        again_url=sign_in_url if text.again else None,
        other_ways_url=None if text.again else sign_in_url,
        address=refused.email,
    )
    if refused.fault is UpstreamFault.DOWN:
        response.headers["Retry-After"] = "30"
    return response


def _sign_in_url(going: Onward) -> str:
    """Return where to begin again as before; whoever was connecting an account goes back to the page of these."""
    if going.next_path == _LINKED and not going.proves:
        return _LINKED
    return with_carried("/login", going)
