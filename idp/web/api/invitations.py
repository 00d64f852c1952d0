"""How people come into labs, at the API: invitations and requests to join."""

from starlette.responses import Response

from idp.services.invitations import InvitationInput
from idp.services.join_requests import DecisionInput
from idp.web.api import representations as shown
from idp.web.api.labs import PageQuery, user_id
from idp.web.api.operation import Call


async def list_invitations(call: Call) -> Response:
    """List the invitations into a lab with what became of each: those that wait first, of all the newest first."""
    query, now = call.query(PageQuery), call.services["clock"]()
    page = await call.services["invitations"].of_lab(call.actor, call.slug, after=query.after, limit=query.limit)
    items = tuple(shown.Invitation.of(each, now=now) for each in page.items)
    return call.page(shown.InvitationPage(items=items, next=page.next), page.next)


async def invite(call: Call) -> Response:
    """Invite somebody into a lab.

    With an `email` the link is mailed there, and only whoever has verified that address can accept. Without one whoever
    holds the `url` can, once, and becomes a member at most. `ends_at` is when the membership will end.
    """
    given = await call.body(InvitationInput, lab=call.slug)
    invitation, url = await call.services["invitations"].invite(call.actor, given)
    held = shown.Invitation.of(invitation, now=call.services["clock"]())
    return call.answer(shown.OpenedInvitation(**dict(held), url=url), status=201)


async def revoke_invitation(call: Call) -> Response:
    """Revoke an invitation."""
    await call.services["invitations"].revoke(call.actor, call.slug, call.named("invitation_id"))
    return call.done()


async def list_join_requests(call: Call) -> Response:
    """List the requests to join a lab that wait for a decision, the oldest first."""
    query = call.query(PageQuery)
    page = await call.services["join_requests"].of_lab(call.actor, call.slug, after=query.after, limit=query.limit)
    items = tuple(shown.JoinRequest.of(*each) for each in page.items)
    return call.page(shown.JoinRequestPage(items=items, next=page.next), page.next)


async def decide_join_request(call: Call) -> Response:
    """Decide a request to join: a `role` accepts it, null denies it. The person is told by mail."""
    user = user_id(call)
    decision = await call.body(DecisionInput)
    await call.services["join_requests"].decide(
        call.actor, call.slug, user, role=decision.role, ends_at=decision.ends_at
    )
    return call.done()
