import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from idp.store.database import Database
from idp.store.store import Store
from tests.cli.conftest import Idp
from tests.support.clock import START
from tests.support.factories import make_client, make_logout_delivery, make_user

GIVEN_UP = make_logout_delivery(
    id="l_given_up", attempts=9, next_attempt_at=None, last_error="HTTP 503", expires_at=START
)
TRIED = make_logout_delivery(id="l_tried", session_id="s_1", attempts=1, next_attempt_at=START + timedelta(seconds=5))
DELIVERED = make_logout_delivery(id="l_delivered", session_id="s_2", next_attempt_at=None, delivered_at=START)


def outbox(installation: Path) -> None:
    async def fill() -> None:
        store = Store(Database(f"sqlite+aiosqlite:///{installation / 'var' / 'idp.db'}"))
        try:
            await store.commit.append(make_user(), make_client(), GIVEN_UP, TRIED, DELIVERED)
        finally:
            await store.close()

    asyncio.run(fill())


def test_what_applications_have_not_been_told_is_listed_and_what_they_have_is_not(idp: Idp, installation: Path):
    outbox(installation)

    assert idp("logout-deliveries", "list").stdout.splitlines() == [
        "l_given_up  portal  9 attempts, given up (HTTP 503)",
        "l_tried  portal  1 attempts, next 2026-01-05 12:00:05",
    ]
    listed = json.loads(idp("logout-deliveries", "list", "--json").stdout)
    assert [delivery["id"] for delivery in listed] == ["l_given_up", "l_tried"]
    assert listed[0] == {
        "id": "l_given_up",
        "client_id": "portal",
        "user_id": "u_alice",
        "session_id": "s_browser",
        "created_at": START.isoformat(),
        "attempts": 9,
        "next_attempt_at": None,
        "last_error": "HTTP 503",
    }


def test_what_was_given_up_is_tried_again_on_demand(idp: Idp, installation: Path):
    outbox(installation)

    (again,) = json.loads(idp("logout-deliveries", "retry", "l_given_up", "--json").stdout)

    assert again["attempts"] == 0
    assert again["next_attempt_at"] is not None
    assert "given up" not in idp("logout-deliveries", "list").stdout


def test_what_was_delivered_or_never_owed_is_not_tried_again(idp: Idp, installation: Path):
    outbox(installation)

    for delivery in (DELIVERED, replace(DELIVERED, id="l_unknown")):
        error = idp("logout-deliveries", "retry", delivery.id, code=1).stderr
        assert error.startswith("error: ")
        assert delivery.id in error
