"""The page that a refusal's reference leads to: the reason for those who can mend it, the way to them for the rest."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.refusal import Marked, beside, clock_remarks, jwt_facts
from idp.services.refusals import Audience, Ticket, may_read
from idp.web.endpoint import page
from idp.web.services import Services, find_signed_in

_NOTHING: dict[str, Any] = {"ticket": None, "cause": None, "compared": (), "jwts": (), "request_rows": ()}


@page
async def explain(request: Request[Services]) -> Response:
    """Show what a refusal was about; one that is not known, or not any more, looks alike."""
    state = request.state
    ticket = await state["refusals"].find(request.path_params["reference"])
    if ticket is None:
        return state["pages"].render("explain.html", status=404, **_NOTHING)
    signed_in = await find_signed_in(request)
    audience = may_read(None if signed_in is None else signed_in.user, ticket.refusal)
    reason = {} if audience is Audience.ANYBODY else _reason(ticket, audience)
    return state["pages"].render("explain.html", **{**_NOTHING, "ticket": ticket, **reason})


def _reason(ticket: Ticket, audience: Audience) -> dict[str, Any]:
    explanation = ticket.explanation
    facts = {
        "client": None if "client_id" in explanation.sent else explanation.client_id,
        "route": explanation.route,
        "request id": explanation.request_id,
        "sent more than once": ", ".join(explanation.repeated),
    }
    return {
        "cause": ticket.cause(audience),
        "compared": [(item.parameter, item.member, beside(item)) for item in explanation.compared],
        "jwts": [
            (name, _rows(jwt_facts(jwt)), clock_remarks(jwt, at=ticket.refusal.created_at))
            for name, jwt in explanation.jwts.items()
        ],
        "request_rows": _rows([*facts.items(), *explanation.sent.items()]),
    }


def _rows(facts: Iterable[tuple[str, str | None]]) -> list[tuple[str, Marked]]:
    return [(name, [(text, False)]) for name, text in facts if text]
