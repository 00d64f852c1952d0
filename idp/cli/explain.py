"""`idp explain`: why a request was refused."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import Json, echo_json, over_store, refuse

if TYPE_CHECKING:
    from idp.opening import Opened
    from idp.protocol.refusal import Marked
    from idp.services.refusals import Ticket


def explain(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="As on the page, such as K7Q2-M9XD.")],
    as_json: Json = False,
) -> None:
    """Explain a refusal by the reference that its page or its error_uri shows."""

    async def run(opened: "Opened") -> "Ticket | None":
        from idp.services.refusals import Refusals

        limit = opened.settings.refusals_per_address
        refusals = Refusals(opened.store, opened.clients, opened.keys, opened.clock, per_address=limit)
        return await refusals.find(reference)

    ticket = over_store(run)
    if ticket is None:
        refuse("no refusal is kept under this reference; a refusal is kept for 7 days, of a failure only the log knows")
    if as_json:
        echo_json(_document(ticket))
    else:
        for line in _lines(ticket):
            typer.echo(line)


def _document(ticket: "Ticket") -> dict[str, Any]:
    from dataclasses import asdict

    from idp.protocol.refusal import clock_remarks
    from idp.services.refusals import Audience

    refusal, explanation = ticket.refusal, ticket.explanation
    remarks = {name: clock_remarks(jwt, at=refusal.created_at) for name, jwt in explanation.jwts.items()}
    return {
        "reference": refusal.reference,
        "at": refusal.created_at,
        "error": refusal.error,
        **asdict(explanation),
        "cause": ticket.cause(Audience.OPERATOR),
        "clocks": {name: said for name, said in remarks.items() if said},
    }


def _lines(ticket: "Ticket") -> list[str]:
    from idp.protocol.refusal import beside, clock_remarks, jwt_facts
    from idp.services.refusals import Audience

    refusal, explanation = ticket.refusal, ticket.explanation
    facts = {
        "reference": refusal.reference,
        "time": f"{refusal.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "error": refusal.error,
        "description": explanation.description,
        "cause": ticket.cause(Audience.OPERATOR),
        "client": explanation.client_id,
        "route": explanation.route,
        "request id": explanation.request_id,
        "sent more than once": ", ".join(explanation.repeated),
    }
    lines = [f"{name}: {text}" for name, text in facts.items() if text]
    for item in explanation.compared:
        lines += ["", f"{item.parameter} beside {item.member}"]
        for label, pieces in beside(item):
            lines += [f"  {label}", *_marked(pieces)]
    for name, jwt in explanation.jwts.items():
        lines += ["", f"{name} says of itself"]
        lines += [f"  {fact}: {text}" for fact, text in jwt_facts(jwt)]
        lines += [f"  ! {remark}" for remark in clock_remarks(jwt, at=refusal.created_at)]
    if explanation.sent:
        lines += ["", "sent", *(f"  {name}: {text}" for name, text in explanation.sent.items())]
    return lines


def _marked(pieces: "Marked") -> list[str]:
    """Return a text, and under it a line that points at what differs."""
    text = "".join(piece for piece, _ in pieces)
    pointers = "".join(("^" if differs else " ") * len(piece) for piece, differs in pieces).rstrip()
    return [f"    {text}", *([f"    {pointers}"] if pointers else [])]
