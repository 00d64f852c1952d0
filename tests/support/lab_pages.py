"""What the pages of a lab can show, for the tests that hold for every page."""

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

AT = datetime(2026, 11, 20, 9, 0, 12, tzinfo=UTC)
STANDINGS = (None, "not yet", "ends soon", "ended")
ROLES = ("admin", "member", "viewer")


def everything(text: str, *, name: str | None = None) -> dict[str, dict[str, Any]]:
    """Each page with all that it can show: `name` wherever others chose a name, `text` in every other place."""
    name = name or text
    lab = {"slug": text, "name": name, "logo": f"/logo/{text}.png", "archived": False, "managed": True}
    shell = {"lab": lab, "user_label": name, "error": text, "notice": text}
    form = {**shell, "csrf": text}
    invitation = SimpleNamespace(id=text, email=name, role="member", ends_at=AT, expires_at=AT, created_at=AT)
    members = [_member(text, name, standing) for standing in STANDINGS]
    return {
        "labs/members.html": {
            **shell,
            "members": members,
            "count": 1,
            "waiting": 2,
            "search": text,
            "role": "admin",
            "first": text,
            "next": text,
        },
        "labs/member.html": {
            **form,
            "member": members[2],
            "granted_at": AT,
            "rule": _rule(text, name, "hd"),
            "removed": False,
            "removing": False,
            "errors": {"role": text, "not_before": text, "expires_at": text, "": text},
            "values": {"role": "viewer", "not_before": "2026-11-20", "expires_at": "2027-11-20"},
        },
        "labs/profile.html": {
            **form,
            "lab": {**lab, "managed": False},
            "description": name,
            "homepage": f"https://{name}",
            "contact": name,
            "role": "member",
            "weakly_signed_in": True,
            "until": AT,
            "standing": "ends soon",
            "admins": [{"name": name, "email": f"{name} at home"}, {"name": name, "email": name}],
            "asked_at": None,
            "ended": None,
            "may_ask": True,
            "errors": {"message": text},
            "message": text,
        },
        "labs/invitations.html": {
            **form,
            "link": text,
            "waiting": [invitation, SimpleNamespace(**{**vars(invitation), "email": None})],
            "first": text,
            "next": text,
            "past": [(invitation, status) for status in ("accepted", "declined", "revoked", "expired")],
            "errors": {"email": text, "role": text, "ends_at": text, "expires_at": text},
            "values": {"email": text, "role": "member"},
        },
        "labs/requests.html": {
            **form,
            "accepting": False,
            "requests": [
                {"user_id": text, "label": name, "name": named, "message": message, "since": AT}
                for named, message in ((name, name), (None, None))
            ],
            "first": text,
            "next": text,
            "errors": {"role-1": text, "ends_at-2": text},
        },
        "labs/rules.html": {
            **form,
            "rules": [_rule(text, name, claim) for claim in ("hd", text)],
            "may_write": True,
            # Each is a line of its own in its list, and turns nothing else.
            "providers": [(text, text)],
            "leaving": None,
            "proposed": None,
            "errors": {"provider": text, "claim": text, "value": text, "role": text},
            "values": {"provider": text, "claim": text, "value": text, "role": "viewer"},
        },
        "labs/services.html": {
            **form,
            "services": [
                {"client_id": text, "name": name, "role": role, "until": AT, "standing": "ended"} for role in ROLES
            ],
            "latest": "2027-11-20",
            "errors": {"client_id": text, "role": text, "expires_at": text},
            "values": {"client_id": text, "role": "member", "expires_at": "2027-11-20"},
        },
        "labs/applications.html": {
            **form,
            "applications": [
                {
                    "client_id": text,
                    "name": name,
                    "logo": f"/logo/{text}.png",
                    "host": name,
                    "people": people,
                    "trusted": people,
                    "named": named,
                }
                for named, people in ((True, True), (False, False))
            ],
            "errors": {"client_id": text},
            "client_id": text,
        },
        "labs/settings.html": {
            **form,
            "may_archive": True,
            "errors": dict.fromkeys(("name", "description", "homepage", "contact", "logo_uri", "admin_acr"), text),
            "values": {"name": text, "description": text, "admin_acr": "2", "accepts_join_requests": "yes"},
        },
        "labs/import.html": {
            **form,
            "plan": True,
            "counts": [(outcome, 1) for outcome in ("unchanged", "changed", "added", "invited", "refused")],
            "rows": list(_rows(text, name)),
            "left_out": 3,
            "refused": True,
            "done": False,
            "content": text,
            "errors": {"file": text, "content": text},
            "largest_kib": 60,
        },
    }


def nothing_optional() -> dict[str, dict[str, Any]]:
    """What each page lacks that has only what it must have."""
    ended = SimpleNamespace(denied_at=AT, repeatable_at=AT)
    one_page = {"first": None, "next": None}
    nobody = {"members": [], "count": None, "filtered": False, "waiting": 0, "search": "", "role": None, **one_page}
    nothing_known = dict.fromkeys(("description", "homepage", "contact", "role", "until", "standing", "asked_at"))
    absent: dict[str, dict[str, Any]] = {
        "labs/members.html": nobody,
        "labs/member.html": {"removing": True, "rule": None, "errors": {}},
        "labs/profile.html": {**nothing_known, "ended": ended, "admins": []},
        "labs/invitations.html": {"link": None, "waiting": [], "past": [], **one_page, "errors": {}, "values": {}},
        "labs/requests.html": {"accepting": True, "requests": [], **one_page, "errors": {}},
        "labs/rules.html": {"rules": [], "may_write": False, "providers": [], "errors": {}, "values": {}},
        "labs/services.html": {"services": [], "errors": {}, "values": {}},
        "labs/applications.html": {"applications": [], "errors": {}, "client_id": ""},
        "labs/settings.html": {"may_archive": False, "errors": {}, "values": {}},
        "labs/import.html": {"plan": False, "refused": False, "errors": {}, "content": ""},
    }
    # Nothing is offered in an archived one.
    lab = {"slug": "bio", "name": "Biology", "logo": None, "archived": True, "managed": True}
    return {page: {"lab": lab, "error": None, "notice": None, **changes} for page, changes in absent.items()}


def _member(text: str, name: str, standing: str | None) -> dict[str, Any]:
    return {
        "id": text,
        "label": name,
        "name": name,
        "role": "viewer",
        "since": AT,
        "until": AT if standing else None,
        "standing": standing,
    }


def _rule(text: str, name: str, claim: str) -> dict[str, Any]:
    return {
        "id": text,
        "provider_name": name,
        "claim": claim,
        "value": text,
        "role": "member",
        "since": AT,
        "members": 2,
    }


def _rows(text: str, name: str) -> Iterator[dict[str, Any]]:
    was = SimpleNamespace(role="viewer", not_before=AT, expires_at=None)
    row = {"line": 2, "user": name, "role": "admin", "not_before": None, "expires_at": AT, "before": None}
    yield {**row, "outcome": "refused", "fault": text}
    for outcome in ("added", "invited", "changed"):
        yield {**row, "outcome": outcome, "fault": None, "before": was if outcome == "changed" else None}
