import json
import re
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Idp


def create(idp: Idp, *options: str) -> dict[str, str]:
    return dict(
        json.loads(idp("registration-token", "create", "--note", "Ada, for the wiki", *options, "--json").stdout)
    )


def listed(idp: Idp) -> list[dict[str, str]]:
    return list(json.loads(idp("registration-token", "list", "--json").stdout))


def test_a_token_is_shown_once_and_stored_as_a_hash_only_rfc7591_s1_2(idp: Idp, installation: Path):
    made = create(idp)
    assert len(made["initial_access_token"]) == 43
    assert made["initial_access_token"] not in idp("registration-token", "list", "--json").stdout
    with sqlite3.connect(installation / "var" / "idp.db") as database:
        stored = "\n".join(database.iterdump())
    database.close()
    assert made["id"] in stored
    assert made["initial_access_token"] not in stored


def test_a_token_is_shown_with_its_end_to_people(idp: Idp, installation: Path):
    shown = idp("registration-token", "create", "--note", "Ada", "--days", "1").stdout
    assert re.fullmatch(
        r"id: iat_\w+\nexpires: [\d-]+ [\d:]+ UTC\ninitial access token, shown this once: [\w-]{43}\n", shown
    )


def test_a_token_counts_for_thirty_days_unless_told_otherwise(idp: Idp, installation: Path):
    for options, days in (((), 30), (("--days", "3650"), 3650)):
        made = create(idp, *options)
        lifetime = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
        assert lifetime.days == days


@pytest.mark.parametrize("days", ["0", "3651", "x"])
def test_a_token_counts_for_ten_years_at_most(idp: Idp, installation: Path, days: str):
    assert "'--days'" in idp("registration-token", "create", "--note", "Ada", "--days", days, code=2).stderr


@pytest.mark.parametrize(("note", "why"), [(" ", "it is empty"), ("x" * 301, "at most 300"), ("a\x07", "control")])
def test_a_note_that_nobody_can_read_is_refused(idp: Idp, installation: Path, note: str, why: str):
    stderr = idp("registration-token", "create", "--note", note, code=1).stderr
    assert stderr.startswith("error: note: ")
    assert why in stderr


def test_the_newest_token_stands_first_and_each_says_whether_it_counts(idp: Idp, installation: Path):
    assert idp("registration-token", "list").stdout == ""
    first, second = create(idp), create(idp)
    assert [token["id"] for token in listed(idp)] == [second["id"], first["id"]]
    assert idp("registration-token", "revoke", first["id"]).stdout == f"revoked: {first['id']} (Ada, for the wiki)\n"
    assert [token["state"] for token in listed(idp)] == ["active", "revoked"]
    with sqlite3.connect(installation / "var" / "idp.db") as database:
        database.execute("UPDATE initial_access_tokens SET expires_at = created_at")
    database.close()
    assert [token["state"] for token in listed(idp)] == ["expired", "revoked"]
    lines = idp("registration-token", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[second["id"], "expired"], [first["id"], "revoked"]]


def test_a_token_that_is_revoked_twice_keeps_the_time_of_the_first(idp: Idp, installation: Path):
    made = create(idp)
    once = json.loads(idp("registration-token", "revoke", made["id"], "--json").stdout)
    again = json.loads(idp("registration-token", "revoke", made["id"], "--json").stdout)
    assert once == again
    assert once["revoked_at"] is not None


def test_an_unknown_token_is_told(idp: Idp, installation: Path):
    stderr = idp("registration-token", "revoke", "iat_x", code=1).stderr
    assert stderr == "error: there is no initial access token iat_x\n"
