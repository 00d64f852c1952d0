"""A lab's members as CSV: brought in after a look at what would happen, and taken out."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from idp.domain.lab import Lab
from idp.services.input import InputRefused
from idp.services.lab_import import ImportOutcome, ImportPlan
from idp.store.errors import Conflict
from idp.web.labs.visit import Visit, faults, lab_page, lab_upload_page

_NOTHING = "Choose a file, or paste its lines."
_TOO_MUCH = "That is more than can be confirmed at once. Split the file, or ask whoever runs this server to import it."
_CHANGED = "Somebody changed the members in the meantime. This is what would happen now: please confirm again."
# Beside the lines themselves a form carries its fields, and their frame.
_FRAME_BYTES = 4096
# What stands behind them is counted: the page must stay small.
_MOST_SHOWN = 100


@lab_upload_page
async def import_members(visit: Visit) -> Response:
    """Take a file, show what it would do, and do exactly that once it is confirmed."""
    lab, form = await visit.managed(), visit.form
    if visit.too_large:
        response = await _show(visit, lab, errors={"content": _TOO_MUCH}, status=413)
        # What is left of it is not read.
        response.headers["Connection"] = "close"
        return response
    if form is None:
        return await _show(visit, lab)
    content = form.get("content") or ""
    raw = _plain_lines(visit.file or content.encode())
    if not raw:
        return await _show(visit, lab, errors={"content": _NOTHING}, status=422)
    # Browsers send every line break as two characters when it is confirmed.
    if len(raw) + raw.count(b"\n") + _FRAME_BYTES > visit.services["max_body_bytes"]:
        return await _show(visit, lab, errors={"content": _TOO_MUCH}, status=422)
    lab_csv, digest = visit.services["lab_csv"], form.get("digest")
    if digest is not None:
        try:
            return await _show(visit, lab, plan=await lab_csv.run(visit.actor, lab.slug, raw, digest=digest), done=True)
        except (Conflict, InputRefused):
            # It would come out otherwise by now: what is shown below is to be confirmed anew.
            pass
    try:
        plan = await lab_csv.dry_run(visit.actor, lab.slug, raw)
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, "file"), content=content, status=422)
    return await _show(
        visit,
        lab,
        plan=plan,
        content=raw.decode(),
        error=None if digest is None else _CHANGED,
        status=200 if digest is None else 409,
    )


def _plain_lines(raw: bytes) -> bytes:
    """Return the lines with their breaks made alike: browsers change those of what is confirmed."""
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    plan: ImportPlan | None = None,
    content: str = "",
    done: bool = False,
    errors: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    rows = [row for row in plan.rows if row.outcome is not ImportOutcome.UNCHANGED] if plan is not None else []
    # In the order of the lines, but what is in the way first.
    rows.sort(key=lambda row: row.fault is None)
    return await visit.show(
        "labs/import.html",
        lab,
        plan=plan is not None,
        digest=None if plan is None else plan.digest,
        counts=[] if plan is None else [(str(outcome), count) for outcome, count in plan.counts.items() if count],
        rows=[
            {
                "line": row.line,
                "user": row.user,
                "outcome": str(row.outcome),
                "fault": row.fault,
                "role": row.role,
                "not_before": None if row.membership is None else row.membership.not_before,
                "expires_at": row.expires_at,
                "before": row.before,
            }
            for row in rows[:_MOST_SHOWN]
        ],
        left_out=len(rows[_MOST_SHOWN:]),
        refused=plan is not None and bool(plan.faults),
        content=content,
        done=done,
        errors=errors or {},
        largest_kib=(visit.services["max_body_bytes"] - _FRAME_BYTES) // 1024,
        **more,
    )


@lab_page
async def export_members(visit: Visit) -> Response:
    """Return all members as CSV, page by page."""
    lab = await visit.managed()
    parts = await visit.services["lab_csv"].export(visit.actor, lab.slug)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{lab.slug}-members.csv"',
        "Content-Type": "text/csv; charset=utf-8",
    }
    return StreamingResponse(parts, headers=headers)
