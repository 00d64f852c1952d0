"""What the pages of a lab share: who looks at which lab, what they sent, and refusals as pages that explain."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.domain.lab import Lab, LabStatus, Membership, is_lab_slug
from idp.domain.user import User
from idp.protocol.parameters import Parameters
from idp.services.input import InputRefused
from idp.services.lab_permissions import Actor, Forbidden
from idp.services.lab_reminders import ENDS_SOON
from idp.services.sessions import Accounts, SignedIn
from idp.store.errors import NotFound
from idp.web.cookies import StaleForm
from idp.web.endpoint import Handler, page
from idp.web.errors import forbidden_page
from idp.web.forms import read_form, read_upload
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_STALE = "Somebody signed in or out in another window meanwhile. This is who is signed in now: please try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One look at a lab by who is signed in.

    `form` is what they sent, if it came from our page; `file` what they sent along. `stale` says that it came from a
    page that was opened before somebody signed in or out: it is not to be acted upon, the page is shown anew.
    `too_large` says that an upload was larger than this server accepts, and was not read.
    """

    request: Request[Services]
    accounts: Accounts
    signed_in: SignedIn
    actor: Actor
    form: Parameters | None = None
    file: bytes = b""
    stale: bool = False
    too_large: bool = False

    @property
    def services(self) -> Services:
        """The services, by name."""
        return self.request.state

    @property
    def user(self) -> User:
        """Who is signed in."""
        return self.signed_in.user

    @property
    def slug(self) -> str:
        """The slug in the address."""
        return str(self.request.path_params["slug"])

    async def find(self) -> Lab:
        """Return the lab.

        Raises:
            NotFound: there is none for this person.
        """
        return await self.services["labs"].find(self.actor, self.slug)

    async def managed(self) -> Lab:
        """Return the lab, which the person looks after.

        Raises:
            NotFound: as for `find`.
            Forbidden: they do not.
        """
        lab = await self.find()
        if not self.actor.manages(lab):
            raise Forbidden("Only an admin of the lab may see this.")
        return lab

    async def show(
        self,
        template: str,
        lab: Lab,
        *,
        notice: str | None = None,
        error: str | None = None,
        status: int = 200,
        **context: Any,
    ) -> Response:
        """Render a page of the lab."""
        cookies = self.services["cookies"]
        csrf, fresh = cookies.form_token(self.request, self.signed_in)
        response = self.services["pages"].render(
            template,
            status=403 if self.stale else status,
            csrf=csrf,
            user_label=self.user.label,
            lab={
                "slug": lab.slug,
                "name": lab.name,
                "logo": await self.services["logos"].url(lab),
                "archived": lab.status is LabStatus.ARCHIVED,
                "managed": self.actor.manages(lab),
            },
            error=_STALE if self.stale else error,
            notice=notice,
            **context,
        )
        cookies.set_form(response, fresh)
        cookies.set_missing_state(response, self.accounts)
        return response


LabHandler = Callable[[Visit], Awaitable[Response]]


def lab_page(handler: LabHandler) -> Handler:
    """Let a handler see who visits; the page is for who is signed in, and for labs that exist for them."""
    return _visited(handler, _read_form)


def lab_upload_page(handler: LabHandler) -> Handler:
    """Do the same for a page whose form may bring a file along."""
    return _visited(handler, _read_upload)


def faults(refused: InputRefused, *fields: str) -> dict[str, str]:
    """Return what is wrong by the form's fields; what belongs to none of them stands for the whole form."""
    return {name if name in fields else "": message for name, message in refused.errors.items()}


def pages_of(path: str, *, after: str | None, following: str | None, **filters: str) -> dict[str, Any]:
    """Return where a list's first page is, if that is another one, and the page that follows."""
    return {
        "first": f"{path}?{urlencode(filters)}".rstrip("?") if after else None,
        "next": None if following is None else f"{path}?{urlencode({**filters, 'after': following})}",
    }


def standing(membership: Membership, *, now: datetime) -> str | None:
    """Return what there is to say about a membership's time: "not yet", "ends soon" or "ended"; None if nothing is."""
    if membership.expires_at is not None and membership.expires_at <= now:
        return "ended"
    if membership.not_before is not None and now < membership.not_before:
        return "not yet"
    ends_soon = membership.expires_at is not None and membership.expires_at <= now + ENDS_SOON
    return "ends soon" if ends_soon else None


_Sent = tuple[Parameters | None, bytes]


def _visited(handler: LabHandler, read: Callable[[Request[Any]], Awaitable[_Sent]]) -> Handler:
    @page
    @wraps(handler)
    async def visited(request: Request[Services]) -> Response:
        state = request.state
        accounts = await find_accounts(request)
        if accounts.active is None:
            return redirect(sign_in_path(request.scope["path"]))
        form, file, stale, too_large = None, b"", False, False
        if request.method == "POST":
            form, file = await read(request)
            too_large = form is None
        if form is not None:
            form.check_single()
            try:
                state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            except StaleForm:
                form, file, stale = None, b"", True
        actor = await state["labs"].actor_for(accounts.active.user, acr=accounts.active.session.acr)
        visit = Visit(
            request=request,
            accounts=accounts,
            signed_in=accounts.active,
            actor=actor,
            form=form,
            file=file,
            stale=stale,
            too_large=too_large,
        )
        try:
            if not is_lab_slug(visit.slug):
                raise NotFound
            return await handler(visit)
        except NotFound:
            raise HTTPException(413 if too_large else 404) from None
        except Forbidden as error:
            return forbidden_page(request, error)

    return visited


async def _read_form(request: Request[Any]) -> _Sent:
    return await read_form(request), b""


async def _read_upload(request: Request[Any]) -> _Sent:
    try:
        return await read_upload(request)
    except HTTPException as refused:
        # Whoever chose a large file is told on the page where they can choose another one.
        if refused.status_code != 413:
            raise
        return None, b""
