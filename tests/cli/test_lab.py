import asyncio
import json
from pathlib import Path

import yaml

from idp.opening import open_store
from idp.services.join_requests import JoinRequests
from idp.setting_sources import load_settings
from tests.cli.conftest import Idp

SERVICE = ("client", "create", "--client-id", "robot", "--grant-type", "client_credentials")


# ── Labs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_lab_is_made_changed_archived_and_deleted(idp: Idp, installation: Path):
    profile = ("--contact", "office", "--logo-uri", "https://bio.example.org/logo.png", "--admin-acr", "2")
    made = json.loads(idp("lab", "create", "bio", "--name", "Biology", *profile, "--json").stdout)
    assert made["slug"] == "bio"
    idp("lab", "create", "chem", "--name", "Chemistry", "--accepts-join-requests")
    assert idp("lab", "update", "bio", "--name", "Life", "--contact", "").stdout == f"changed: bio ({made['id']})\n"
    shown = yaml.safe_load(idp("lab", "show", "bio").stdout)
    assert {name: shown[name] for name in ("slug", "name", "logo_uri", "admin_acr", "members", "admins")} == {
        "slug": "bio",
        "name": "Life",
        "logo_uri": "https://bio.example.org/logo.png",
        "admin_acr": "2",
        "members": 0,
        "admins": [],
    }
    assert "contact" not in shown
    idp("lab", "update", "chem", "--no-accepts-join-requests")
    assert json.loads(idp("lab", "archive", "chem", "--json").stdout)["status"] == "archived"
    assert idp("lab", "invite", "chem", code=1).stderr == "error: The lab is archived.\n"
    assert [line.split(maxsplit=1) for line in idp("lab", "list").stdout.splitlines()] == [
        ["bio", "Life"],
        ["chem", "Chemistry (archived)"],
    ]
    assert idp("lab", "restore", "chem").stdout.startswith("restored: chem (lab_")
    found = json.loads(idp("lab", "list", "--search", "chem", "--json").stdout)
    assert [(lab["slug"], lab.keys() & {"status", "accepts_join_requests"}) for lab in found] == [("chem", set())]
    wrong = idp("lab", "delete", "bio", input="chem\n", code=1)
    assert "bio has 0 members" in wrong.stderr
    assert "error: that is not its slug: nothing was deleted" in wrong.stderr
    assert idp("lab", "delete", "bio", input="bio\n").stdout.endswith("deleted: bio\n")
    idp("lab", "delete", "chem", "--yes")
    assert idp("lab", "list").stdout == ""
    told = idp("lab", "create", "bio", "--name", "Biology", code=1).stderr
    assert told == "error: slug: it was a deleted lab's, and slugs are never given out again\n"


def test_what_is_wrong_is_told(idp: Idp, installation: Path):
    assert idp("lab", "create", "admin", "--name", "X", code=1).stderr == "error: slug: it is reserved\n"
    for command in (
        *(("show", "bio"), ("archive", "bio"), ("delete", "bio"), ("remove-member", "bio", "alice"), ("export", "bio")),
        *(
            ("invite", "bio"),
            ("revoke-invitation", "bio", "inv_1"),
            ("requests", "bio"),
            ("revoke-service", "bio", "x"),
        ),
    ):
        assert idp("lab", *command, code=1).stderr == "error: there is no lab bio\n", command
    result = idp("lab", "add-member", "bio", "alice", "--expires-at", "soon", code=1)
    assert result.stderr.startswith("error: expires_at: it must be a date")
    idp("lab", "create", "bio", "--name", "Biology")
    assert "nothing is given that would change" in idp("lab", "update", "bio", code=1).stderr
    assert idp("lab", "update", "bio", "--name", "", code=1).stderr.startswith("error: name: ")
    assert idp("lab", "add-member", "bio", "alice", code=1).stderr == "error: there is no account alice\n"


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_members_come_and_go(idp: Idp, installation: Path):
    idp("user", "create", "--username", "alice")
    made = json.loads(idp("lab", "create", "bio", "--name", "Biology", "--json").stdout)
    told = idp("lab", "add-member", "bio", "alice", "--role", "admin", "--expires-at", "2099-06-30").stdout
    assert told == "alice is admin of bio until 2099-06-30 23:59:59 UTC\n"
    assert yaml.safe_load(idp("export").stdout)["memberships"][0]["role"] == "admin"
    shown = json.loads(idp("lab", "show", "bio", "--json").stdout)
    assert (shown["members"], shown["admins"]) == (1, ["alice"])
    assert made == {**shown, "members": 0, "admins": []}
    assert idp("lab", "members", "bio").stdout == "admin   alice until 2099-06-30 23:59:59 UTC\n"
    held = json.loads(idp("lab", "add-member", "bio", "alice", "--not-before", "2099-01-01", "--json").stdout)
    assert (held["lab_id"], held["role"], held["expires_at"]) == (made["id"], "member", None)
    assert idp("lab", "members", "bio", "--role", "admin").stdout == ""
    assert idp("lab", "members", "bio", "--search", "ali").stdout == "member  alice (not yet)\n"
    (member,) = json.loads(idp("lab", "members", "bio", "--json").stdout)
    assert (member["username"], member["role"], member["state"]) == ("alice", "member", "not yet")
    # As in RFC 3339, wherever it stands.
    assert member["not_before"] == held["not_before"] == "2099-01-01T00:00:00+00:00"
    assert "T" in shown["created_at"]
    ended = idp("lab", "add-member", "bio", "alice", "--expires-at", "2020-01-01")
    assert ended.stderr == "warning: expires_at 2020-01-01 is in the past: the membership does not count\n"
    assert idp("lab", "members", "bio").stdout == "member  alice until 2020-01-01 23:59:59 UTC (ended)\n"
    assert idp("lab", "remove-member", "bio", "alice").stdout == "alice is no member of bio any more\n"
    assert json.loads(idp("lab", "members", "bio", "--json").stdout) == []


def test_people_are_imported_all_or_none_and_exported_again(idp: Idp, installation: Path):
    idp("user", "create", "--email", "alice@example.org", "--email-verified")
    idp("lab", "create", "bio", "--name", "Biology")
    path = installation / "people.csv"
    path.write_text("email,role\nalice@example.org,admin\nbob@example.org,boss\n")
    wrong = idp("lab", "import", "bio", "people.csv", code=1)
    assert "error: people.csv:3: " in wrong.stderr
    assert wrong.stderr.endswith("error: nothing was done\n")
    path.write_text("email,role\nalice@example.org,admin\nbob@example.org,viewer\n")
    shown = idp("lab", "import", "bio", "people.csv", "--dry-run").stdout.splitlines()
    assert shown == ["2: added: alice@example.org", "3: invited: bob@example.org", "nothing was done (--dry-run)"]
    assert idp("lab", "members", "bio").stdout + idp("lab", "invitations", "bio").stdout == ""
    done = json.loads(idp("lab", "import", "bio", "people.csv", "--json").stdout)
    assert [(row["line"], row["user"], row["outcome"]) for row in done["rows"]] == [
        (2, "alice@example.org", "added"),
        (3, "bob@example.org", "invited"),
    ]
    assert "bob@example.org" in idp("lab", "invitations", "bio").stdout
    exported = idp("lab", "export", "bio").stdout
    assert exported.splitlines() == ["email,role,not_before,expires_at", "alice@example.org,admin,,"]
    path.write_text(exported)
    assert idp("lab", "import", "bio", "people.csv").stdout == "2: unchanged: alice@example.org\n"


def test_an_invitation_shows_its_link_once_and_can_be_taken_back(idp: Idp, installation: Path):
    idp("lab", "create", "bio", "--name", "Biology")
    told = idp("lab", "invite", "bio", "--ends-at", "2099-06-30").stdout
    assert "for: whoever has the link, as member until 2099-06-30 23:59:59 UTC\n" in told
    assert "link, shown this once: http://localhost:8000/invitations/" in told
    mailed = json.loads(idp("lab", "invite", "bio", "--email", "Bob@example.org", "--role", "admin", "--json").stdout)
    assert (mailed["email"], mailed["role"], mailed["status"]) == ("bob@example.org", "admin", "open")
    assert mailed["url"].startswith("http://localhost:8000/invitations/")
    listed = idp("lab", "invitations", "bio").stdout
    assert mailed["url"].rpartition("/")[2] not in listed
    assert f"{mailed['id']}  open " in listed
    idp("lab", "revoke-invitation", "bio", mailed["id"])
    states = {each["email"]: each["status"] for each in json.loads(idp("lab", "invitations", "bio", "--json").stdout)}
    assert states == {None: "open", "bob@example.org": "revoked"}
    refused = idp("lab", "invite", "bio", "--role", "admin", code=1).stderr
    assert refused.startswith("error: role: a link gives at most")


def test_who_asks_to_join_is_listed(idp: Idp, installation: Path):
    async def ask() -> None:
        async with open_store(load_settings()) as opened:
            async with opened.store.read() as tx:
                (alice,) = await tx.users.all()
            asked = JoinRequests(opened.store, opened.outbox, opened.clock, issuer=opened.settings.issuer)
            await asked.ask(alice, "bio", "From the greenhouse,\nplease")

    idp("user", "create", "--username", "alice")
    idp("lab", "create", "bio", "--name", "Biology", "--accepts-join-requests")
    asyncio.run(ask())
    assert idp("lab", "requests", "bio").stdout.endswith("  alice: From the greenhouse, please\n")
    (request,) = json.loads(idp("lab", "requests", "bio", "--json").stdout)
    assert (request["username"], request["message"]) == ("alice", "From the greenhouse,\nplease")
    idp("lab", "add-member", "bio", "alice")
    assert idp("lab", "requests", "bio").stdout == ""


# ── Services ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_lab_gives_a_service_a_role_and_takes_it_back(idp: Idp, installation: Path):
    idp("lab", "create", "bio", "--name", "Biology")
    idp(*SERVICE)
    given = json.loads(idp("lab", "grant-service", "bio", "robot", "--role", "admin", "--json").stdout)
    assert (given["lab"], given["client_id"], given["role"], given["granted_by"]) == ("bio", "robot", "admin", "cli")
    (shown,) = yaml.safe_load(idp("client", "show", "robot").stdout)["lab_grants"]
    assert (shown["lab"], shown["role"]) == ("bio", "admin")
    (service,) = json.loads(idp("lab", "show", "bio", "--json").stdout)["services"]
    assert (service["client_id"], service["role"], service["expires_at"]) == ("robot", "admin", given["expires_at"])
    assert idp("lab", "grant-service", "bio", "robot").stdout.startswith("robot is member of bio until 20")
    assert idp("lab", "revoke-service", "bio", "robot").stdout == "robot has nothing of bio any more\n"
    assert "lab_grants" not in yaml.safe_load(idp("client", "show", "robot").stdout)


def test_what_a_lab_cannot_give_or_take_is_told(idp: Idp, installation: Path):
    idp("lab", "create", "bio", "--name", "Biology")
    idp(*SERVICE)
    for arguments, told in (
        (("grant-service", "bio", "nobody"), "error: client_id: there is no service"),
        (
            ("grant-service", "bio", "robot", "--expires-at", "2099-01-01"),
            "error: expires_at: it must be within a year",
        ),
        (("revoke-service", "bio", "robot"), "error: bio has no grant for robot"),
    ):
        assert idp("lab", *arguments, code=1).stderr.startswith(told)
