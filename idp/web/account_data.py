"""The page of all that is kept about oneself, to read and to take along."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.services.sessions import SignedIn
from idp.web.endpoint import page
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/account/data"


@page
async def data(request: Request[Services]) -> Response:
    """Show all of it."""
    state = request.state
    signed_in = await _proven(request)
    if isinstance(signed_in, Response):
        return signed_in
    gathered = await state["own_data"].of(signed_in.user)
    return state["pages"].render(
        "account/data.html",
        user_label=signed_in.user.label,
        sections=[(name, _rows(held)) for name, held in gathered.items() if name != "exported_at" and held],
        download_url=f"{_PATH}/download",
    )


@page
async def download(request: Request[Services]) -> Response:
    """Give all of it as a file for machines (RFC 8259)."""
    signed_in = await _proven(request)
    if isinstance(signed_in, Response):
        return signed_in
    gathered = await request.state["own_data"].of(signed_in.user)
    headers = {
        "Content-Disposition": 'attachment; filename="account.json"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    body = json.dumps(gathered, ensure_ascii=False, indent=2).encode()
    return Response(body, media_type="application/json", headers=headers)


async def _proven(request: Request[Services]) -> SignedIn | Response:
    """Return who is signed in and has proved it lately, or the way to do so."""
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(_PATH))
    # Whoever finds a browser open is not to carry all of it away.
    if not request.state["sessions"].is_recent(accounts.active.session):
        return redirect(sign_in_path(_PATH, again=True))
    return accounts.active


def _rows(held: Any) -> list[list[tuple[str, str]]]:
    """Return what a section holds, as names and texts."""
    return [list(_texts("", each)) for each in (held if isinstance(held, list) else [held])]


def _texts(before: str, held: Any) -> list[tuple[str, str]]:
    if isinstance(held, dict):
        return [pair for name, value in held.items() for pair in _texts(f"{before}.{name}" if before else name, value)]
    if isinstance(held, list):
        return [(before, ", ".join(map(str, held)))]
    return [(before, json.dumps(held) if isinstance(held, bool) else str(held))]
