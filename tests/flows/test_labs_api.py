"""The API of labs: who may do what, through which application, and what strangers learn, which is nothing."""

import re
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.client import ClientStatus
from idp.domain.lab import LabRole
from idp.domain.user import UserStatus
from tests.support.app import ALICE_ID, BOB_ID, ISSUER, App, Browser, add_all, bearer
from tests.support.clock import START
from tests.support.factories import make_membership, make_user
from tests.support.labs_api import BIO, BOTH, CALLERS, ROOT, LabsApi, api, kind_of

__all__ = ["api"]

# For what is decided before anything is asked of a database.
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OK = "ok"
# By whom `bio` is looked after, who sees it without that, and for whom it does not exist.
MANAGED = {
    **dict.fromkeys(("bob", "adam", "alice", "robot", "steward"), OK),
    **dict.fromkeys(("vera", "carl"), 403),
    **dict.fromkeys(("dora", "idle", "alice by chemist", "bob by chemist"), 404),
}
LISTED = {**MANAGED, "vera": OK}
SEEN = {**LISTED, "carl": OK}
OF_INSTALLATION = {**MANAGED, "alice": 403, "robot": 403}
CREATED = {**dict.fromkeys(CALLERS, 403), **dict.fromkeys(("bob", "adam", "steward"), OK)}
# What can be done again and again.
REPEATED: list[tuple[str, str, Any, dict[str, Any]]] = [
    ("GET", ROOT, None, dict.fromkeys(CALLERS, OK)),
    ("POST", ROOT, {"slug": "new-{}", "name": "New"}, CREATED),
    ("GET", BIO, None, SEEN),
    ("PATCH", BIO, {"description": "Cells."}, MANAGED),
    ("PATCH", BIO, {"status": "active"}, MANAGED),
    ("GET", f"{BIO}/members", None, LISTED),
    ("GET", f"{BIO}/members/u_carl", None, LISTED),
    ("PUT", f"{BIO}/members/u_erin", {"role": "admin"}, MANAGED),
    ("GET", f"{BIO}/invitations", None, MANAGED),
    ("POST", f"{BIO}/invitations", {"email": "carol@example.org", "role": "admin"}, MANAGED),
    ("POST", f"{BIO}/invitations", {}, MANAGED),
    ("GET", f"{BIO}/join-requests", None, MANAGED),
    ("GET", f"{BIO}/service-grants", None, MANAGED),
    ("PUT", f"{BIO}/service-grants/robot", {"role": "viewer"}, MANAGED),
    ("GET", f"{BIO}/applications", None, MANAGED),
    ("PUT", f"{BIO}/applications/other", None, MANAGED),
]
# What can be done once.
ONCE: list[tuple[str, str, Any, dict[str, Any], str]] = [
    ("DELETE", f"{BIO}/members/u_erin", None, MANAGED, "alice"),
    ("DELETE", f"{BIO}/invitations/{{}}", None, MANAGED, "robot"),
    ("POST", f"{BIO}/join-requests/u_fred", {"role": "viewer"}, MANAGED, "alice"),
    ("DELETE", f"{BIO}/service-grants/robot", None, MANAGED, "robot"),
    ("DELETE", f"{BIO}/applications/other", None, MANAGED, "alice"),
    ("DELETE", BIO, None, OF_INSTALLATION, "steward"),
]


async def test_everybody_may_do_exactly_what_their_role_lets_them(api: LabsApi) -> None:
    tokens = {caller: await api.token(caller) for caller in CALLERS}
    for method, path, body, expected in REPEATED:
        for number, (caller, outcome) in enumerate(expected.items()):
            own = {"slug": f"new-{number}", "email": f"{number}@example.org"}
            sent = body and {name: own.get(name, value) for name, value in body.items()}
            response = await api.send(method, path, tokens[caller], sent)
            assert (OK if response.is_success else response.status_code) == outcome, (method, path, caller)
    invitation = (await api.send("POST", f"{BIO}/invitations", tokens["alice"], {})).json()["id"]
    for method, path, body, expected, last in ONCE:
        for caller, outcome in [*((each, said) for each, said in expected.items() if said != OK), (last, OK)]:
            response = await api.send(method, path.format(invitation), tokens[caller], body)
            assert (OK if response.is_success else response.status_code) == outcome, (method, path, caller)
            if response.status_code == 403:
                # The token is as good as any: what is missing is a role (RFC 6750 §3.1).
                assert response.json()["type"].endswith("/forbidden")
                assert "www-authenticate" not in response.headers


async def test_a_lab_that_is_not_to_be_seen_looks_like_one_that_is_not_there(api: LabsApi) -> None:
    for caller in ("dora", "idle", "alice by chemist"):
        token = await api.token(caller)
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "Mine"}),
            ("DELETE", "", None),
            ("GET", "/members", None),
            ("PUT", "/members/u_dora", {"role": "admin"}),
            ("POST", "/invitations", {}),
        ):
            there, nowhere = [
                await api.send(method, f"{ROOT}/{slug}{path}", token, body) for slug in ("bio", "none-such")
            ]
            assert (there.status_code, there.content) == (nowhere.status_code, nowhere.content)
        assert [lab["slug"] for lab in (await api.send("GET", ROOT, token)).json()["items"]] == (
            ["chem"] if caller == "alice by chemist" else []
        )


async def test_what_belongs_to_one_lab_cannot_be_reached_through_another(api: LabsApi) -> None:
    bob = await api.token("bob")
    invitation = (await api.send("POST", f"{BIO}/invitations", bob, {})).json()["id"]
    await api.send("PUT", f"{BIO}/service-grants/robot", bob, {"role": "viewer"})
    await api.send("PUT", f"{BIO}/applications/hybrid", bob)
    for method, path, body in (
        ("DELETE", f"invitations/{invitation}", None),
        ("GET", "members/u_carl", None),
        ("DELETE", "members/u_carl", None),
        ("POST", "join-requests/u_fred", {"role": "admin"}),
        ("DELETE", "service-grants/robot", None),
        ("DELETE", "applications/trusted", None),
    ):
        assert (await api.send(method, f"{ROOT}/chem/{path}", bob, body)).status_code == 404, path
    assert (await api.send("GET", f"{BIO}/invitations", bob)).json()["items"][0]["status"] == "open"
    assert (await api.send("GET", f"{BIO}/members/u_carl", bob)).status_code == 200
    assert len((await api.send("GET", f"{BIO}/service-grants", bob)).json()["items"]) == 2


async def test_nobody_rises_by_what_they_send(api: LabsApi) -> None:
    carl, alice = await api.token("carl"), await api.token("alice")
    for method, path, body in (
        ("PUT", f"{BIO}/members/u_carl", {"role": "admin"}),
        ("POST", f"{BIO}/invitations", {"email": "carl@example.org", "role": "admin"}),
        ("POST", f"{BIO}/join-requests/u_fred", {"role": "admin"}),
        ("PUT", f"{BIO}/service-grants/robot", {"role": "admin"}),
        ("PATCH", BIO, {"accepts_join_requests": True}),
    ):
        assert (await api.send(method, path, carl, body)).status_code == 403, path
    for method, path, body in (
        # What follows from the path is nobody's to say.
        ("PUT", f"{BIO}/members/u_carl", {"role": "viewer", "lab": "chem"}),
        ("PUT", f"{BIO}/members/u_carl", {"role": "viewer", "user": ALICE_ID}),
        ("PUT", f"{BIO}/members/u_carl", {"role": "super_admin"}),
        ("PUT", f"{BIO}/members/u_carl", {"role": "viewer", "granted_by": "u_bob"}),
        ("POST", f"{BIO}/invitations", {"lab": "chem"}),
        ("POST", f"{BIO}/invitations", {"role": "admin"}),  # a link, which whoever gets it can use
        ("PUT", f"{BIO}/service-grants/robot", {"client_id": "lab-idle"}),
        ("PATCH", BIO, {"slug": "chem"}),
        ("PATCH", BIO, {"id": "lab_chem"}),
    ):
        response = await api.send(method, path, alice, body)
        assert response.status_code == 422, (path, body, response.text)
        assert response.json()["errors"]
    assert (await api.send("GET", f"{BIO}/members/u_carl", alice)).json()["role"] == "member"
    # The last admin stays one.
    for method, body in (("PUT", {"role": "member"}), ("DELETE", None)):
        assert (await api.send(method, f"{BIO}/members/{ALICE_ID}", alice, body)).status_code == 403


async def test_an_account_is_named_by_its_id_and_nothing_is_told_of_addresses(api: LabsApi) -> None:
    alice = await api.token("alice")
    for name in (
        "dora@example.org",
        "nobody@example.org",
        "dora",
        "U_dora",
        "u_nobody",
        # Of no lab that she looks after.
        "u_dora",
        "u_\0",
        "%2e%2e",
        "u_" + "x" * 3000,
    ):
        for method, body in (("GET", None), ("PUT", {"role": "viewer"}), ("DELETE", None)):
            response = await api.send(method, f"{BIO}/members/{name}".replace("\0", "%00"), alice, body)
            assert response.status_code == 404, name
            assert "u_" not in response.text
            assert "dora" not in response.text


async def test_a_lab_is_made_changed_archived_and_deleted(api: LabsApi) -> None:
    bob = await api.token("bob")

    made = await api.send(
        "POST", ROOT, bob, {"slug": "physics", "name": "Physics", "contact": "office", "description": "A\nB"}
    )

    assert (made.status_code, made.headers["location"]) == (201, f"{ISSUER}{ROOT}/physics")
    lab = made.json()
    assert lab == {
        "id": lab["id"],
        "slug": "physics",
        "name": "Physics",
        "description": "A\nB",
        "homepage": None,
        "contact": "office",
        "logo_uri": None,
        "admin_acr": None,
        "accepts_join_requests": False,
        "status": "active",
        "created_at": "2026-01-05T12:00:00Z",
    }
    path = f"{ROOT}/physics"
    changed = await api.send("PATCH", path, bob, {"contact": None, "accepts_join_requests": True, "status": "archived"})
    # What is absent stays, null clears (RFC 7396).
    after = {**lab, "contact": None, "accepts_join_requests": True, "status": "archived"}
    assert (changed.status_code, changed.json()) == (200, after)
    assert (await api.send("GET", path, bob)).json() == after
    assert (await api.send("PATCH", path, bob, {})).json() == after
    deleted = await api.send("DELETE", path, bob)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await api.send("GET", path, bob)).status_code == 404
    taken = await api.send("POST", ROOT, bob, {"slug": "physics", "name": "Physics"})
    assert (taken.status_code, kind_of(taken), taken.json()["errors"].keys()) == (409, "conflict", {"slug"})
    taken = await api.send("POST", ROOT, bob, {"slug": "bio", "name": "Biology"})
    assert (taken.status_code, taken.json()["errors"]) == (409, {"slug": "There is a lab with this slug already."})


async def test_a_membership_is_written_anew_and_ended(api: LabsApi) -> None:
    bob, path = await api.token("bob"), f"{BIO}/members/u_dora"

    made = await api.send("PUT", path, bob, {"role": "member", "not_before": "2026-02-01", "expires_at": "2027-06-30"})

    assert made.status_code == 201
    assert made.json() == {
        "user": {"id": "u_dora", "email": "dora@example.org", "username": "dora", "name": "Dora"},
        "role": "member",
        "not_before": "2026-02-01T00:00:00Z",
        "expires_at": "2027-06-30T23:59:59Z",
        "granted_by": BOB_ID,
        "created_at": "2026-01-05T12:00:00Z",
    }
    # All of it: what is absent is no longer limited.
    changed = await api.send("PUT", path, bob, {"role": "viewer"})
    assert (changed.status_code, changed.json()) == (
        200,
        {**made.json(), "role": "viewer", "not_before": None, "expires_at": None},
    )
    assert (await api.send("GET", path, bob)).json() == changed.json()
    assert (await api.send("DELETE", path, bob)).status_code == 204
    assert (await api.send("DELETE", path, bob)).status_code == 404
    async with api.app.store.read() as tx:
        actions = [(event.action, event.actor) for event in await tx.audit_events.all() if event.target == "u_dora"]
    assert sorted(actions) == [
        (AuditAction.MEMBERSHIP_CREATED, BOB_ID),
        (AuditAction.MEMBERSHIP_DELETED, BOB_ID),
        (AuditAction.MEMBERSHIP_UPDATED, BOB_ID),
    ]


async def test_people_are_invited_and_asked_in(api: LabsApi) -> None:
    alice = await api.token("alice")

    invited = await api.send(
        "POST", f"{BIO}/invitations", alice, {"email": "Carol@example.org", "ends_at": "2026-06-30"}
    )

    assert invited.status_code == 201
    invitation = invited.json()
    assert re.fullmatch(rf"{ISSUER}/invitations/[\w-]{{20,}}", invitation.pop("url"))
    assert invitation == {
        "id": invitation["id"],
        "email": "carol@example.org",
        "role": "member",
        "status": "open",
        "invited_by": ALICE_ID,
        "created_at": "2026-01-05T12:00:00Z",
        "expires_at": "2026-01-19T12:00:00Z",
        "ends_at": "2026-06-30T23:59:59Z",
    }
    assert (await api.send("GET", f"{BIO}/invitations", alice)).json() == {"items": [invitation], "next": None}
    link = (await api.send("POST", f"{BIO}/invitations", alice, {})).json()["id"]
    first = await api.send("GET", f"{BIO}/invitations?limit=1", alice)
    rest = await api.send("GET", f"{BIO}/invitations?limit=1&after={first.json()['next']}", alice)
    assert first.links["next"]["url"].endswith(f"after={first.json()['next']}")
    assert {each["id"] for part in (first, rest) for each in part.json()["items"]} == {invitation["id"], link}
    assert (rest.json()["next"], rest.links) == (None, {})
    assert (await api.send("DELETE", f"{BIO}/invitations/{link}", alice)).status_code == 204
    assert (await api.send("DELETE", f"{BIO}/invitations/{invitation['id']}", alice)).status_code == 204
    revoked = (await api.send("GET", f"{BIO}/invitations", alice)).json()["items"]
    assert {**invitation, "status": "revoked"} in revoked
    asked = (await api.send("GET", f"{BIO}/join-requests?limit=1", alice)).json()["items"]
    assert [(each["user"]["id"], each["message"]) for each in asked] == [("u_fred", "Let me in.")]
    decided = await api.send("POST", f"{BIO}/join-requests/u_fred", alice, {"role": "viewer"})
    assert decided.status_code == 204
    assert (await api.send("POST", f"{BIO}/join-requests/u_fred", alice, {"role": None})).status_code == 404
    assert (await api.send("GET", f"{BIO}/members/u_fred", alice)).json()["role"] == "viewer"


async def test_services_and_applications_are_let_in_and_out(api: LabsApi) -> None:
    alice = await api.token("alice")

    given = await api.send("PUT", f"{BIO}/service-grants/robot", alice, {"role": "viewer", "expires_at": "2026-06-30"})

    assert given.status_code == 201
    first, second = (await api.send("GET", f"{BIO}/service-grants", alice)).json()["items"]
    assert {first["client_id"], second["client_id"]} == {"robot", "lab-robot"}
    robot = first if first["client_id"] == "robot" else second
    assert robot == {
        "client_id": "robot",
        "client_name": "Robot",
        "role": "viewer",
        "expires_at": "2026-06-30T23:59:59Z",
        "granted_by": ALICE_ID,
        "created_at": "2026-01-05T12:00:00Z",
    }
    assert given.json() == robot
    lower = await api.send("PUT", f"{BIO}/service-grants/robot", alice, {"role": "member"})
    assert (lower.status_code, lower.json()) == (200, {**robot, "role": "member"})
    assert (await api.send("PUT", f"{BIO}/service-grants/portal-of-nobody", alice, {})).status_code == 422
    assert (await api.send("DELETE", f"{BIO}/service-grants/robot", alice)).status_code == 204
    assert (await api.send("DELETE", f"{BIO}/service-grants/robot", alice)).status_code == 404
    assert (await api.send("PUT", f"{BIO}/applications/other", alice)).status_code == 204
    seen = {
        each["client_id"]: each["named"]
        for each in (await api.send("GET", f"{BIO}/applications", alice)).json()["items"]
    }
    assert (seen["other"], seen["portal"]) == (True, False)
    assert (await api.send("DELETE", f"{BIO}/applications/other", alice)).status_code == 204
    assert (await api.send("DELETE", f"{BIO}/applications/portal", alice)).status_code == 403


async def test_lists_go_on_where_they_ended(api: LabsApi) -> None:
    people = [make_user(id=f"u_n{number}", email=f"n{number}@example.org") for number in range(7)]
    await add_all(api.app.store, [*people, *(make_membership(user_id=each.id, role=LabRole.VIEWER) for each in people)])
    alice = await api.token("alice")

    async def walk(query: str) -> list[list[str]]:
        pages, address = [], f"{BIO}/members?{query}"
        while True:
            response = await api.send("GET", address, alice)
            assert response.status_code == 200, response.text
            pages.append([each["user"]["id"] for each in response.json()["items"]])
            if response.json()["next"] is None:
                assert "link" not in response.headers
                return pages
            (address,) = re.findall(rf"^<{ISSUER}(\S+)>; rel=\"next\"$", response.headers["link"])

    every = [each for page in await walk("limit=200") for each in page]
    assert len(every) == 10
    pages = await walk("limit=3")
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [each for page in pages for each in page] == every
    # What was asked for goes along with the link.
    narrowed = await walk("limit=2&role=viewer&search=n")
    assert [each for page in narrowed for each in page] == [each.id for each in people]
    assert await walk("search=nobody%20at%20all") == [[]]
    bob = await api.token("bob")
    first = await api.send("GET", f"{ROOT}?limit=1", bob)
    assert [lab["slug"] for lab in first.json()["items"]] == ["bio"]
    rest = await api.send("GET", f"{ROOT}?after={first.json()['next']}", bob)
    assert [lab["slug"] for lab in rest.json()["items"]] == ["chem", "old"]


async def test_a_token_counts_only_as_long_as_what_it_came_from(api: LabsApi) -> None:
    token, app = await api.token("alice"), api.app

    async def status(sent: str | None = token, *, path: str = BIO) -> tuple[int, str]:
        response = await api.send("GET", path, sent)
        return response.status_code, response.headers.get("www-authenticate", "")

    assert await status() == (200, "")
    assert await status(None) == (401, 'Bearer realm="lab-id"')
    for sent in (
        "x",
        await api.token("alice", audience="https://data.example.org"),
        await api.token("alice", revoked_at=START),
    ):
        code, challenge = await status(sent)
        assert (code, challenge.startswith('Bearer realm="lab-id", error="invalid_token", ')) == (401, True)
    code, challenge = await status(await api.token("alice", scope="openid labs"))
    assert code == 403
    assert re.fullmatch(
        r'Bearer realm="lab-id", error="insufficient_scope", error_description="[ -~]+", scope="labs:read"', challenge
    )
    for repository, key, changes in (
        ("users", [ALICE_ID], {"status": UserStatus.DISABLED}),
        ("clients", ["manager"], {"status": ClientStatus.DISABLED}),
        ("clients", ["manager"], {"scope": "labs:write"}),
        ("clients", ["manager"], {"allowed_labs": ()}),
        ("memberships", ["lab_bio", ALICE_ID], {"expires_at": START}),
    ):
        async with app.store.read() as tx:
            before = await getattr(tx, repository).get(*key)
        await app.change(repository, key, **changes)
        assert (await status())[0] in {401, 403, 404}, changes
        await app.change(repository, key, **{name: getattr(before, name) for name in changes})
        assert await status() == (200, "")
    app.clock.advance(timedelta(hours=12))
    assert (await status())[0] == 401


@ONE_DATABASE
async def test_to_write_is_not_to_read_nor_the_reverse(api: LabsApi) -> None:
    read, write = await api.token("alice", scope="labs:read"), await api.token("alice", scope="labs:write")
    for token, method, body, expected in (
        (read, "GET", None, 200),
        (read, "HEAD", None, 200),
        (write, "GET", None, 403),
        (write, "HEAD", None, 403),
        (read, "PATCH", {"name": "Bio"}, 403),
        (write, "PATCH", {"name": "Bio"}, 200),
        (read, "DELETE", None, 403),
    ):
        assert (await api.send(method, BIO, token, body)).status_code == expected, (method, expected)


async def test_an_admin_who_signed_in_too_weakly_for_the_lab_is_a_member(api: LabsApi) -> None:
    await api.app.change("labs", ["lab_bio"], admin_acr="2")
    alice = await api.token("alice")
    assert (await api.send("GET", BIO, alice)).status_code == 200
    assert (await api.send("PATCH", BIO, alice, {"admin_acr": None})).status_code == 403


@ONE_DATABASE
async def test_the_scopes_are_consented_to_in_words_and_work_from_then_on(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], scope=f"openid {BOTH}")
    page = await browser.sign_in(await browser.request(scope=f"openid {BOTH}"))
    assert "See the members of your labs" in page.text
    assert "Manage your labs for you" in page.text
    answer = await browser.finish(page)
    tokens = (await app.redeem(answer)).json()

    labs = await app.http().get(ROOT, headers=bearer(tokens["access_token"]))

    assert [lab["slug"] for lab in labs.json()["items"]] == ["bio", "chem"]
    # No claim comes of them.
    assert set((await app.userinfo(tokens["access_token"])).json()) == {"sub"}
    assert (await app.http().get(ROOT, headers=bearer(tokens["id_token"]))).status_code == 401


@ONE_DATABASE
async def test_a_service_calls_for_itself(app: App) -> None:
    await app.change("clients", ["robot"], scope="labs:read")
    response = await app.post("/token", "robot", grant_type="client_credentials", scope=BOTH)
    assert response.json()["scope"] == "labs:read"

    labs = await app.http().get(ROOT, headers=bearer(response.json()["access_token"]))

    assert (labs.status_code, labs.json()) == (200, {"items": [], "next": None})


@ONE_DATABASE
async def test_an_application_that_registered_itself_never_has_the_scopes(start: Any) -> None:
    app = await start(dynamic_registration="open")
    metadata = {"redirect_uris": ["https://self.example.org/cb"], "scope": f"openid {BOTH}"}
    assert (await app.http().post("/clients", json=metadata)).json()["scope"] == "openid"
    assert set(BOTH.split()) <= set(
        (await app.http().get("/.well-known/openid-configuration")).json()["scopes_supported"]
    )


# ── What is sent wrongly ────────────────────────────────────────────────────────────────────────────────────────────
def raw(content: bytes, kind: str = "application/json") -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": kind}}


UNREADABLE: list[tuple[dict[str, Any], int]] = [
    (raw(b'{"name": "x"}', "text/plain"), 415),
    (raw(b'{"name": "x"}', "application/jsonx"), 415),
    ({"content": b'{"name": "x"}'}, 415),
    ({"data": {"name": "x"}}, 415),
    (raw(b'{"name": "x"'), 400),
    (raw(b'{"name": "x", "name": "y"}'), 400),
    (raw(b'{"name": NaN}'), 400),
    (raw(b'{"name": "\xff"}'), 400),
    (raw(b'{"name": "x"}'.decode().encode("utf-16")), 400),
    (raw(b"[" * 5000), 400),
    (raw(b""), 400),
    ({"json": ["name"]}, 400),
    ({"json": {"name": "x" * 70_000}}, 413),
    ({"json": {"name": 1}}, 422),
    ({"json": {"name": ["x"]}}, 422),
    ({"json": {"name": None}}, 422),
    ({"json": {"name": ""}}, 422),
    ({"json": {"name": "\u202e"}}, 422),
    ({"json": {"name": "\0"}}, 422),
    (raw(rb'{"name": "\ud800"}'), 422),
    ({"json": {"accepts_join_requests": "true"}}, 422),
    ({"json": {"accepts_join_requests": 1}}, 422),
    ({"json": {"homepage": "javascript:alert(1)"}}, 422),
    ({"json": {"logo_uri": "file:///etc/passwd"}}, 422),
    ({"json": {"admin_acr": "9"}}, 422),
    ({"json": {"status": "gone"}}, 422),
    ({"json": {"nmae": "x"}}, 422),
]


@ONE_DATABASE
async def test_what_cannot_be_read_is_refused_and_nothing_is_half_done(api: LabsApi) -> None:
    bob = await api.token("bob")
    before = (await api.send("GET", BIO, bob)).json()
    for sent, status in UNREADABLE:
        response = await api.send("PATCH", BIO, bob, **sent)
        assert response.status_code == status, (sent, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"
        problem = response.json()
        assert problem["status"] == status
        assert problem["type"].startswith(f"{ISSUER}/api/v1/openapi.json#/components/examples/")
        assert (status == 422) == bool(problem.get("errors"))
        assert (await api.send("GET", BIO, bob)).json() == before
    misspelt = (await api.send("PATCH", BIO, bob, {"nmae": "x"})).json()["errors"]
    assert misspelt == {"body": "One of its members is not known here; did you mean name?"}
    strange = (await api.send("GET", f"{ROOT}?zzz=1", bob)).json()["errors"]
    assert strange == {"query": "One of its parameters is not known here."}


@ONE_DATABASE
async def test_times_are_texts_with_a_zone_in_an_order(api: LabsApi) -> None:
    alice = await api.token("alice")
    for times in (
        {"expires_at": 20270630},
        {"expires_at": 1.5},
        {"expires_at": True},
        {"expires_at": "20270630"},
        {"expires_at": "2027-06-30T12:00:00"},
        {"expires_at": "2027-02-30"},
        {"expires_at": "soon"},
        {"expires_at": ""},
        {"expires_at": "9999-12-31T23:59:59-23:59"},
        {"not_before": "2027-07-01", "expires_at": "2027-06-30"},
    ):
        response = await api.send("PUT", f"{BIO}/members/u_carl", alice, {"role": "member", **times})
        assert (response.status_code, set(response.json()["errors"])) == (422, {"expires_at"}), times
    assert (await api.send("GET", f"{BIO}/members/u_carl", alice)).json()["expires_at"] is None


async def test_a_query_is_taken_as_strictly_as_a_body(api: LabsApi) -> None:
    alice = await api.token("alice")
    for query, status in (
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=many", 422),
        ("limit=1.5", 422),
        ("role=owner", 422),
        ("roles=admin", 422),
        ("after=nonsense", 422),
        ("after=%F0%9F%94%91", 422),
        ("search=%E2%80%AE", 200),
        ("search=" + "x" * 400, 422),
        ("limit=1&limit=2", 400),
        ("search=%FF", 400),
        ("search=%00", 400),
        ("search=%25_%27%22", 200),
        ("search=&limit=", 200),
    ):
        response = await api.send("GET", f"{BIO}/members?{query}", alice)
        assert response.status_code == status, (query, response.text)


@ONE_DATABASE
async def test_nothing_that_was_sent_comes_back_in_a_refusal(api: LabsApi) -> None:
    alice, marker = await api.token("alice"), "Xyzzy"
    for method, path, options in (
        ("GET", f"{ROOT}/{marker}", {}),
        ("GET", f"{BIO}/members/{marker}", {}),
        ("GET", f"{BIO}/members?{marker}=1", {}),
        ("GET", f"{BIO}/members?role={marker}&limit={marker}&after={marker}", {}),
        ("PATCH", BIO, {"json": {marker: "x"}}),
        ("PATCH", BIO, {"json": {"name": f"\0{marker}", "homepage": marker, "status": marker}}),
        ("PATCH", BIO, {"content": marker.encode(), "headers": {"Content-Type": "application/json"}}),
        ("PATCH", BIO, {"content": b"{}", "headers": {"Content-Type": f"text/{marker}"}}),
        ("PUT", f"{BIO}/members/u_{marker}", {"json": {"role": marker}}),
        ("PUT", f"{BIO}/service-grants/{marker}", {"json": {}}),
        ("DELETE", f"{BIO}/invitations/{marker}", {}),
        ("POST", f"{ROOT}/{marker}", {}),
        ("GET", f"/api/{marker}", {}),
    ):
        response = await api.send(method, path, alice, **options)
        assert response.status_code in {400, 404, 405, 415, 422}, (path, response.status_code)
        assert marker.lower() not in f"{response.headers} {response.text}".lower(), (method, path)
        assert response.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status"} <= response.json().keys()
    refused = await api.send("GET", BIO, f"token-{marker}")
    assert marker not in f"{refused.headers} {refused.text}"


# ── Browsers ────────────────────────────────────────────────────────────────────────────────────────────────────────
@ONE_DATABASE
async def test_browser_applications_read_answers_for_their_own_origin(api: LabsApi) -> None:
    own, other = "https://portal.example.org", "https://evil.example"
    alice = await api.token("alice")
    asking = {"Origin": own, "Access-Control-Request-Method": "PATCH"}
    preflight = await api.send("OPTIONS", BIO, None, headers=asking)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, own)
    assert preflight.headers["access-control-allow-methods"] == "GET, PATCH, DELETE"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    for token, path in ((alice, BIO), (alice, f"{ROOT}/none"), (alice, f"{BIO}/members?limit=0"), ("x", BIO)):
        for origin in (own, other):
            response = await api.send("GET", path, token, headers={"Origin": origin})
            assert response.headers.get("access-control-allow-origin") == (own if origin == own else None)
            assert response.headers["vary"] == "Origin"
    readable = await api.send("GET", BIO, alice, headers={"Origin": own})
    assert {"Link", "Location", "WWW-Authenticate"} <= set(
        readable.headers["access-control-expose-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in readable.headers


@ONE_DATABASE
async def test_a_session_cookie_opens_nothing(api: LabsApi) -> None:
    browser = api.app.browser()
    await browser.sign_in()
    assert (await browser.http.get(ROOT)).status_code == 401
    assert (await browser.http.patch(BIO, json={"name": "Mine"})).status_code == 401


@ONE_DATABASE
async def test_an_address_or_method_that_is_not_there_is_a_problem_too(api: LabsApi) -> None:
    for method, path, status in (
        ("GET", "/api/v1/nothing", 404),
        ("PUT", BIO, 405),
        ("POST", "/api/v1/openapi.json", 405),
    ):
        response = await api.send(method, path, None, headers={"Accept": "text/html"})
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    allowed = (await api.send("PUT", BIO, None)).headers["allow"]
    assert set(allowed.split(", ")) == {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}


@ONE_DATABASE
async def test_metrics_know_the_operations_and_not_the_labs(api: LabsApi) -> None:
    alice = await api.token("alice")
    await api.send("GET", f"{ROOT}/a-lab-of-no-one", alice)
    await api.send("DELETE", f"{BIO}/applications/https://of.no.one/x", alice)
    metrics = (await api.app.http().get("/metrics")).text
    assert 'route="/api/v1/labs/{slug}"' in metrics
    assert 'route="/api/v1/labs/{slug}/applications/{client_id:path}"' in metrics
    assert "no-one" not in metrics
    assert "of.no.one" not in metrics
