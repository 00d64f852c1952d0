"""What the pages of one's own account have in common: who is signed in, and whose form came."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.parameters import Parameters
from idp.services.sessions import Accounts, SignedIn
from idp.web.cookies import StaleForm
from idp.web.endpoint import Handler, page
from idp.web.forms import read_form
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts


class Show(Protocol):
    """Shows the page; `notice` and `error` are sentences of the catalogue."""

    async def __call__(
        self,
        request: Request[Services],
        accounts: Accounts,
        signed_in: SignedIn,
        *,
        notice: str | None = None,
        error: str | None = None,
        status: int = 200,
    ) -> Response:
        """Return the page."""
        ...


def show_account_page(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    template: str,
    /,
    *,
    action: str,
    status: int = 200,
    **context: Any,
) -> Response:
    """Return a page of the account of who is signed in, whose forms are theirs and go to `action`."""
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, signed_in)
    response = request.state["pages"].render(
        template, status=status, csrf=csrf, action=action, user_label=signed_in.user.label, **context
    )
    cookies.set_form(response, fresh)
    cookies.set_missing_state(response, accounts)
    return response


Act = Callable[[Request[Services], Accounts, SignedIn, Parameters], Awaitable[Response]]


def account_page(path: str, show: Show, *, stale: str) -> Callable[[Act], Handler]:
    """Make a handler of what a page does with its form, which comes here only from the page of who is signed in now.

    Whoever is not signed in comes back to `path` afterwards; `stale` tells that somebody else signed in meanwhile.
    """

    def decorate(act: Act) -> Handler:
        @page
        async def handler(request: Request[Services]) -> Response:
            accounts = await find_accounts(request)
            if accounts.active is None:
                return redirect(sign_in_path(path))
            if request.method != "POST":
                return await show(request, accounts, accounts.active)
            form = await read_form(request)
            form.check_single()
            try:
                request.state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            except StaleForm:
                return await show(request, accounts, accounts.active, error=stale, status=403)
            return await act(request, accounts, accounts.active, form)

        handler.__doc__ = act.__doc__
        return handler

    return decorate
