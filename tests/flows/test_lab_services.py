"""Services that belong to labs: what labs gave to a client, told of it when it acts for itself (RFC 6749 §4.4)."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from idp.domain.client import AccessTokenFormat
from idp.domain.lab import LabRole, LabStatus
from idp.domain.lab_grant import LabGrant
from tests.support.app import App, add_all, decoded
from tests.support.clock import START
from tests.support.factories import make_lab, make_resource

YEAR = timedelta(days=365)


@pytest.fixture
async def app(app: App) -> App:
    """Robot is a member of Biology for a year, admin of Geology for an hour, and once was in Art."""
    given = {
        "lab_bio": (LabRole.MEMBER, START + YEAR),
        "lab_geo": (LabRole.ADMIN, START + timedelta(hours=1)),
        "lab_art": (LabRole.MEMBER, START),
    }
    await add_all(
        app.store,
        [
            make_lab(id="lab_geo", slug="geo", name="Geology", admin_acr="2"),
            make_lab(id="lab_art", slug="art", name="Art"),
            *(
                LabGrant(
                    client_id="robot",
                    lab_id=lab_id,
                    role=role,
                    granted_by="u_bob",
                    created_at=START - YEAR,
                    expires_at=end,
                )
                for lab_id, (role, end) in given.items()
            ),
        ],
    )
    return app


async def ask(app: App, scope: str | None, **changes: str) -> httpx2.Response:
    return await app.post("/token", "robot", grant_type="client_credentials", scope=scope, **changes)


async def get(app: App, scope: str | None, **changes: str) -> dict[str, Any]:
    response = await ask(app, scope, **changes)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_service_tells_of_the_labs_that_it_asks_for_as_itself_and_gets_no_refresh_token(app: App) -> None:
    bio = {"id": "lab_bio", "slug": "bio", "name": "Biology", "role": "member", "exp": int((START + YEAR).timestamp())}
    geo_ends = int((START + timedelta(hours=1)).timestamp())
    geo = {"id": "lab_geo", "slug": "geo", "name": "Geology", "role": "admin", "exp": geo_ends}
    for scope, labs, groups in (
        ("lab:bio", [bio], ["bio:member", "bio:viewer"]),
        ("lab:bio:viewer", [{**bio, "role": "viewer"}], ["bio:viewer"]),
        ("data:read lab:geo lab:bio:member", [geo, bio], ["geo:admin", "geo:member", "geo:viewer", *_BIO]),
        ("labs", [bio, geo], None),
        ("data:read", None, None),
        (None, None, None),
    ):
        tokens = await get(app, scope)
        assert tokens.keys() == {"access_token", "token_type", "expires_in"} | ({"scope"} if scope else set())
        claims = decoded(tokens["access_token"])[1]
        introspected = await app.introspect(tokens["access_token"], "robot")
        for told in (claims, introspected):
            assert (told["sub"], told["client_id"]) == ("robot", "robot")
            assert (told.get("scope"), told.get("labs"), told.get("groups")) == (scope, labs, groups), scope
        # A token that says that somebody is an admin is believed for a shorter time.
        assert tokens["expires_in"] == (300 if labs and geo in labs else 600)
        async with app.store.read() as tx:
            (row,) = [row for row in await tx.access_tokens.all() if row.jti == claims["jti"]]
        assert row.claims == {name: value for name, value in (("labs", labs), ("groups", groups)) if value is not None}


_BIO = ["bio:member", "bio:viewer"]


async def test_a_lab_that_gave_nothing_or_less_is_always_an_invalid_scope_and_always_the_same(app: App) -> None:
    answers = set()
    for scope in (
        "lab:bio:admin",  # a higher role
        "lab:chem",  # gave nothing
        "lab:dust",  # does not exist
        "lab:art",  # not any more
        "lab:bio lab:chem",
        "labs lab:dust",
        "data:read lab:art:viewer",
    ):
        refused = await ask(app, scope)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope"), scope
        answers.add((refused.json()["error_description"], tuple(refused.headers.keys())))
    assert len(answers) == 1
    for malformed in ("lab:", "lab:Bio", "lab:bio:owner", "lab:admin", "wlcg.groups:bio"):
        assert (await ask(app, malformed)).json()["error"] == "invalid_scope", malformed
    twenty_one = " ".join(["lab:bio", *(f"lab:lab-{number}" for number in range(20))])
    assert (await ask(app, twenty_one)).json()["error"] == "invalid_scope"
    # What users gave is nothing that a service has: the scope `groups` is not registered for it.
    assert (await ask(app, "groups")).json()["error"] == "invalid_scope"


async def test_what_was_given_is_judged_at_each_call(app: App) -> None:
    tokens = await get(app, "lab:bio lab:geo")
    app.clock.advance(timedelta(minutes=3))
    async with app.store.write() as tx:
        await tx.lab_grants.delete("robot", "lab_bio")
    answer = await app.introspect(tokens["access_token"], "robot")
    assert (answer["scope"], [lab["slug"] for lab in answer["labs"]]) == ("lab:geo", ["geo"])
    assert (await ask(app, "lab:bio")).json()["error"] == "invalid_scope"

    # A token ends with what was given.
    app.clock.advance(timedelta(minutes=53))
    assert (await get(app, "lab:geo"))["expires_in"] == 240
    app.clock.advance(timedelta(minutes=4))
    assert (await ask(app, "lab:geo")).json()["error"] == "invalid_scope"


@pytest.mark.parametrize("what", ["archived", "ending"])
async def test_a_service_of_which_no_lab_can_be_told_gets_no_token_for_it(app: App, what: str) -> None:
    if what == "archived":
        await app.change("labs", ["lab_bio"], status=LabStatus.ARCHIVED)
    else:
        await app.change("lab_grants", ["robot", "lab_bio"], expires_at=START + timedelta(seconds=30))

    assert (await ask(app, "lab:bio")).json().get("error") == "invalid_scope"


async def test_an_api_reads_of_a_services_token_what_the_api_may_see(app: App) -> None:
    await app.store.commit.append(make_resource(client_id="other", scopes=("data:read",)))
    await app.change("clients", ["other"], allowed_labs=("geo",))
    await app.change("clients", ["robot"], access_token_format=AccessTokenFormat.OPAQUE)
    tokens = await get(app, "data:read lab:bio lab:geo:member", resource="https://data.example.org")

    answer = await app.introspect(tokens["access_token"], "other")

    assert (answer["sub"], answer["scope"], answer["groups"]) == (
        "robot",
        "data:read lab:geo:member",
        ["geo:member", "geo:viewer"],
    )
    own = await app.introspect(tokens["access_token"], "robot")
    assert own["scope"] == "data:read lab:bio lab:geo:member"
