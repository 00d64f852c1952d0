"""Labs and their members at the API."""

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from idp.domain.lab import LabMember, LabRole
from idp.services.input import Input, InputRefused
from idp.services.lab_input import LabChanges, LabInput, MembershipInput
from idp.services.paging import LONGEST_PAGE
from idp.store.errors import NotFound
from idp.web.api import representations as shown
from idp.web.api.operation import API, Call
from idp.web.api.problems import CONFLICT, Problem


class PageQuery(Input):
    """Which part of a list to return."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = 50


class LabQuery(PageQuery):
    """Which labs to list."""

    search: str | None = None


class MemberQuery(LabQuery):
    """Which members to list."""

    role: LabRole | None = None


async def list_labs(call: Call) -> Response:
    """List the labs that you see.

    For a person these are the labs that they belong to, as far as the application may see them; who administers the
    installation sees all, as does a service that is trusted with all. A service sees those that granted it a role.
    """
    query = call.query(LabQuery)
    page = await call.services["labs"].list(call.actor, search=query.search, after=query.after, limit=query.limit)
    return call.page(shown.LabPage(items=tuple(map(shown.Lab.model_validate, page.items)), next=page.next), page.next)


async def create_lab(call: Call) -> Response:
    """Create a lab.

    Only for whoever administers the installation. A slug never changes, and is never given out again: one that a lab
    has or had is a conflict.
    """
    given = await call.body(LabInput)
    try:
        lab = await call.services["labs"].create(call.actor, given)
    except InputRefused as taken:
        # What was sent is in order; what is there already is not in what was sent.
        return Problem(CONFLICT, errors=taken.errors).response(call.request)
    return call.answer(shown.Lab.model_validate(lab), status=201, Location=call.address(f"{API}/labs/{lab.slug}"))


async def read_lab(call: Call) -> Response:
    """Read a lab."""
    return call.answer(shown.Lab.model_validate(await call.services["labs"].find(call.actor, call.slug)))


async def update_lab(call: Call) -> Response:
    """Change a lab.

    What is absent stays as it is, null clears a member (RFC 7396). `status` is changed by whoever administers the
    installation, all else by the lab's admins too.
    """
    changes = await call.body(LabChanges)
    return call.answer(shown.Lab.model_validate(await call.services["labs"].update(call.actor, call.slug, changes)))


async def delete_lab(call: Call) -> Response:
    """Delete a lab with its memberships.

    Only for whoever administers the installation. Nothing brings it back: to archive it, change its `status`.
    """
    await call.services["labs"].delete(call.actor, call.slug)
    return call.done()


async def list_members(call: Call) -> Response:
    """List a lab's members, in the order of their addresses.

    Those whose membership has not begun or has ended are among them.
    """
    query = call.query(MemberQuery)
    page = await call.services["labs"].members(
        call.actor, call.slug, search=query.search, role=query.role, after=query.after, limit=query.limit
    )
    return call.page(shown.MemberPage(items=tuple(map(shown.Member.of, page.items)), next=page.next), page.next)


async def read_member(call: Call) -> Response:
    """Read a membership."""
    member = await _find_member(call)
    if member is None:
        raise NotFound("there is no such member")
    return call.answer(shown.Member.of(member))


async def set_member(call: Call) -> Response:
    """Write a membership: its role and its time, both anew.

    Who is no member yet becomes one if another lab that the caller looks after has them already; everybody else is
    invited. Nobody gives a role above their own, and a lab keeps an admin. A mere date begins or ends with that day
    in UTC.
    """
    given = await call.body(MembershipInput, lab=call.slug, user=user_id(call))
    present = await _find_member(call)
    await call.services["labs"].set_member(call.actor, given)
    written = await call.services["labs"].member(call.actor, call.slug, given.user)
    return call.answer(shown.Member.of(written), status=201 if present is None else 200)


async def remove_member(call: Call) -> Response:
    """End a membership. A lab keeps an admin."""
    member = await _find_member(call)
    if member is None:
        raise NotFound("there is no such member")
    await call.services["labs"].remove_member(call.actor, call.slug, member.user.id)
    return call.done()


def user_id(call: Call) -> str:
    """Return the account that the path names: by its id alone, so that nobody tries addresses out.

    Raises:
        NotFound: no account has such an id.
    """
    identifier = call.named("user_id")
    if not identifier.startswith("u_"):
        raise NotFound("no account has such an id")
    return identifier


async def _find_member(call: Call) -> LabMember | None:
    try:
        member = await call.services["labs"].member(call.actor, call.slug, user_id(call))
    except NotFound:
        # Of a lab that is not there for the actor, whoever goes on is told so.
        return None
    if member.user.id != user_id(call):
        raise NotFound("somebody else is called that")
    return member
