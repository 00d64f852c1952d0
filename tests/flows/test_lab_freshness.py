"""How soon a change is seen, how long a token is believed, how much it holds, and who is let in at all."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.client import AccessTokenFormat, RequireLab
from idp.domain.lab import LabRole, LabStatus
from tests.support.app import ALICE_ID, BOB, App, Browser, Start, add_all, answer_of, decoded
from tests.support.clock import START
from tests.support.factories import make_lab, make_membership, make_resource

ALL = "openid labs groups"
BIO = ["bio:admin", "bio:member", "bio:viewer"]


async def join_many(app: App, number: int) -> None:
    labs = [make_lab(id=f"lab_{each:03}", slug=f"lab-{each:03}", name=f"Lab {each}") for each in range(number)]
    await add_all(app.store, [*labs, *(make_membership(lab_id=lab.id, user_id=ALICE_ID) for lab in labs)])


def groups_in(token: str) -> Any:
    return decoded(token)[1].get("groups")


# ── The next call ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_changes_on_one_node_is_seen_on_the_other_by_the_next_call(start: Start) -> None:
    here, there = await start(), await start()
    browser = here.browser()
    tokens = await browser.tokens(scope=f"{ALL} lab:bio:member lab:chem")
    token = tokens["access_token"]
    assert (await there.userinfo(token)).json()["groups"] == ["bio:member", "bio:viewer", "chem:viewer"]
    code = await browser.finish(await browser.request(scope=ALL))

    async with here.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)

    assert (await there.userinfo(token)).json()["groups"] == ["chem:viewer"]
    answer = await there.introspect(token)
    assert (answer["groups"], answer["scope"]) == (["chem:viewer"], f"{ALL} lab:chem")
    assert (await there.introspect(tokens["refresh_token"]))["scope"] == f"{ALL} lab:chem"
    refreshed = (await there.refresh(tokens["refresh_token"])).json()
    assert (refreshed["scope"], groups_in(refreshed["access_token"])) == (f"{ALL} lab:chem", ["chem:viewer"])
    assert groups_in((await there.redeem(code)).json()["access_token"]) == ["chem:viewer"]

    # Archived and brought back, it is told again; so is the scope.
    await here.change("labs", ["lab_chem"], status=LabStatus.ARCHIVED)
    assert (await there.userinfo(token)).json()["labs"] == []
    await here.change("labs", ["lab_chem"], status=LabStatus.ACTIVE)
    await add_all(here.store, [make_membership(user_id=ALICE_ID, role=LabRole.MEMBER)])
    again = (await there.refresh(refreshed["refresh_token"])).json()
    assert again["scope"] == f"{ALL} lab:bio:member lab:chem"


async def test_a_membership_begins_and_ends_by_the_clock_alone(app: App, browser: Browser) -> None:
    begins, ends = START + timedelta(minutes=2), START + timedelta(minutes=4)
    await app.change("memberships", ["lab_chem", ALICE_ID], not_before=begins, expires_at=ends)
    await app.change("memberships", ["lab_bio", ALICE_ID], role=LabRole.MEMBER)
    page = await browser.sign_in(await browser.request(scope=ALL))
    tokens = (await app.redeem(answer_of(await browser.submit(page, decision="allow", later_labs="yes")))).json()
    token, seen = tokens["access_token"], []

    for moment in (START + timedelta(seconds=10), begins, ends - timedelta(seconds=1), ends):
        app.clock.advance(moment - app.clock())
        seen.append("chem:viewer" in (await app.userinfo(token)).json()["groups"])
        assert ("chem:viewer" in (await app.introspect(token))["groups"]) is seen[-1]

    assert seen == [False, True, True, False]


# ── How long a JWT is believed ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("scope", "ends_in", "lives"),
    [
        ("openid lab:bio:member", None, 600),
        ("openid lab:bio", None, 300),
        ("openid", 90, 600),
        ("openid lab:chem", 3600, 600),
        ("openid lab:chem", 90, 90),
        ("openid labs", 90, 90),
        ("openid lab:chem", 61, 61),
        ("openid lab:chem lab:bio:viewer", 60, 600),
    ],
)
async def test_a_token_ends_with_the_first_lab_and_sooner_with_an_admins_role(
    app: App, browser: Browser, scope: str, ends_in: int | None, lives: int
) -> None:
    await app.change("clients", ["portal"], id_token_lab_claims=True)
    answer = await browser.authorize(scope=scope)
    if ends_in is not None:
        ends_at = app.clock() + timedelta(seconds=ends_in)
        await app.change("memberships", ["lab_chem", ALICE_ID], expires_at=ends_at)

    tokens = (await app.redeem(answer)).json()

    claims = decoded(tokens["access_token"])[1]
    assert (tokens["expires_in"], claims["exp"] - claims["iat"]) == (lives, lives)
    id_token = decoded(tokens["id_token"])[1]
    assert id_token.get("groups") == claims.get("groups")
    if claims.get("groups"):
        assert id_token["exp"] <= claims["exp"] or lives == 600
    async with app.store.read() as tx:
        (row,) = await tx.access_tokens.all()
    assert int(row.expires_at.timestamp()) == claims["exp"]


async def test_a_lab_that_ends_within_a_minute_is_in_no_jwt_but_at_userinfo(app: App, browser: Browser) -> None:
    answer = await browser.authorize(scope=f"{ALL} lab:chem")
    await app.change("memberships", ["lab_chem", ALICE_ID], expires_at=app.clock() + timedelta(seconds=60))

    tokens = (await app.redeem(answer)).json()

    token = tokens["access_token"]
    assert (groups_in(token), tokens["scope"]) == (BIO, ALL)
    for told in ((await app.userinfo(token)).json(), await app.introspect(token)):
        assert set(told["groups"]) == {*BIO, "chem:viewer"}


# ── How much a token holds ──────────────────────────────────────────────────────────────────────────────────────────
async def test_what_is_too_large_is_left_out_whole_and_told_by_who_has_room(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], id_token_lab_claims=True)
    await join_many(app, 40)
    tokens = await browser.tokens(scope=ALL)
    for token in (tokens["access_token"], tokens["id_token"]):
        claims = decoded(token)[1]
        assert claims["labs_overflow"] is True
        assert not {"labs", "groups"} & claims.keys()
    userinfo = (await app.userinfo(tokens["access_token"])).json()
    assert (len(userinfo["labs"]), "labs_overflow" in userinfo) == (42, False)
    # One lab fits, of however many.
    narrow = (await app.refresh(tokens["refresh_token"], scope="openid lab:lab-017")).json()
    assert groups_in(narrow["access_token"]) == ["lab-017:member", "lab-017:viewer"]

    more = [make_lab(id=f"lab_more{each}", slug=f"more-{each}", name="N" * 200) for each in range(40)]
    await add_all(app.store, [*more, *(make_membership(lab_id=lab.id, user_id=ALICE_ID) for lab in more)])
    page = await browser.request(scope=ALL, prompt="consent")
    everything = {f"lab.{lab.slug}": "yes" for lab in more}
    token = (await app.redeem(answer_of(await browser.submit(page, decision="allow", **everything)))).json()[
        "access_token"
    ]
    assert (await app.userinfo(token)).json() == {"sub": ALICE_ID, "labs_overflow": True}
    # Introspection has room for all of them.
    assert len((await app.introspect(token))["labs"]) == 82
    async with app.store.read() as tx:
        rows = await tx.access_tokens.all()
    assert {"labs_overflow": True} in [row.claims for row in rows]


async def test_an_id_token_tells_of_labs_only_where_the_client_registered_for_it(app: App, browser: Browser) -> None:
    assert not {"labs", "groups"} & decoded((await browser.tokens(scope=ALL))["id_token"])[1].keys()

    await app.change("clients", ["portal"], id_token_lab_claims=True)

    tokens = await browser.tokens(scope=f"{ALL} lab:bio:member")
    claims = decoded(tokens["id_token"])[1]
    assert claims["groups"] == ["bio:member", "bio:viewer", "chem:viewer"]
    assert [lab["slug"] for lab in claims["labs"]] == ["bio", "chem"]
    # A refresh for less tells less there, too.
    narrow = (await app.refresh(tokens["refresh_token"], scope="openid lab:chem")).json()
    assert groups_in(narrow["access_token"]) == groups_in(narrow["id_token"]) == ["chem:viewer"]
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)
    later = (await app.refresh(narrow["refresh_token"])).json()
    assert groups_in(later["id_token"]) == ["chem:viewer"]


# ── Who is let in ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_client_may_insist_on_a_lab_and_says_the_same_whichever_it_is(app: App, browser: Browser) -> None:
    async def answers(allowed: Any, require: RequireLab, scope: str, **changes: str) -> tuple[str | None, str | None]:
        await app.change("clients", ["portal"], allowed_labs=allowed, require_lab=require)
        answer = await browser.finish(await browser.request(scope=scope, **changes))
        return answer.error, answer.params.get("error_description")

    anyone, everyone = RequireLab.ANY, RequireLab.ALL
    await browser.authorize(scope=ALL)
    met = [
        (("bio", "chem", "dust"), anyone, ALL),
        ("*", anyone, "openid"),
        (("bio", "chem"), everyone, ALL),
        (("bio", "chem"), everyone, "openid"),
        (("bio", "chem"), everyone, "openid lab:bio"),
        ("*", everyone, "openid labs lab:bio:member"),
    ]
    for case in met:
        assert (await answers(*case, prompt="none"))[0] is None, case
        assert (await answers(*case))[0] is None, case
    refused = set()
    for case in [
        (("dust",), anyone, ALL),
        (("dust",), anyone, "openid"),
        ("*", anyone, "openid lab:dust"),
        ("*", anyone, "openid lab:chem:admin"),
        (("bio", "dust"), everyone, ALL),
        (("bio", "dust"), everyone, "openid"),
        (("bio", "dust"), everyone, "openid lab:bio"),
        ("*", everyone, "openid labs lab:chem:member"),
        ("*", everyone, "openid lab:bio lab:dust"),
    ]:
        for prompt in ({"prompt": "none"}, {}):
            error, description = await answers(*case, **prompt)
            assert error == "access_denied", (case, prompt)
            refused.add(description)
    assert len(refused) == 1


async def test_who_leaves_the_lab_that_a_client_insists_on_gets_no_further_token(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], allowed_labs=("bio", "chem"), require_lab=RequireLab.ANY)
    tokens = await browser.tokens(scope=ALL)
    silent = await browser.tokens(scope="openid")
    code = answer_of(await browser.request(scope="openid"))
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)
    kept = (await app.refresh(tokens["refresh_token"])).json()
    assert groups_in(kept["access_token"]) == ["chem:viewer"]
    await app.change("memberships", ["lab_chem", ALICE_ID], expires_at=app.clock())

    refused = [
        await app.refresh(kept["refresh_token"]),
        await app.refresh(silent["refresh_token"]),
        await app.redeem(code),
    ]

    assert {(answer.status_code, answer.json()["error"]) for answer in refused} == {(400, "invalid_grant")}
    assert len({answer.json()["error_description"] for answer in refused}) == 1
    assert answer_of(await browser.request(scope="openid")).error == "access_denied"


async def test_who_keeps_the_lab_back_that_a_client_insists_on_is_not_let_in(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], require_lab=RequireLab.ANY)
    page = await browser.sign_in(await browser.request(scope=ALL))

    answer = answer_of(await browser.submit(page, decision="allow", **{"lab.bio": None, "lab.chem": None}))

    assert answer.error == "access_denied"


async def test_a_lab_may_count_those_who_signed_in_too_weakly_as_members(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope=ALL)
    assert tokens["expires_in"] == 300

    await app.change("labs", ["lab_bio"], admin_acr="2")

    expected = ["bio:member", "bio:viewer", "chem:viewer"]
    token = tokens["access_token"]
    assert (await app.userinfo(token)).json()["groups"] == (await app.introspect(token))["groups"] == expected
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert (refreshed["expires_in"], groups_in(refreshed["access_token"])) == (600, expected)
    page = await browser.request(scope=ALL, prompt="consent")
    assert "you are admin" not in page.text
    dropped = await browser.tokens(scope="openid lab:bio:admin lab:bio:member")
    assert dropped["scope"] == "openid lab:bio:member"
    # Others are not concerned: the demand is of admins.
    bobs = app.browser()
    assert groups_in((await bobs.tokens(scope=ALL, user=BOB))["access_token"]) == ["bio:member", "bio:viewer"]


# ── Who reads ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("format_", AccessTokenFormat)
async def test_an_api_is_told_of_the_labs_that_it_may_see_and_the_scope_says_so(
    app: App, browser: Browser, format_: AccessTokenFormat
) -> None:
    await app.store.commit.append(make_resource(client_id="other"))
    await app.change("clients", ["portal"], scope=f"{ALL} data:read", access_token_format=format_)
    tokens = await browser.tokens(scope="openid data:read lab:bio:member lab:chem", resource="https://data.example.org")
    token = tokens["access_token"]
    assert ("." in token) is (format_ is AccessTokenFormat.JWT)
    assert tokens["scope"] == "data:read lab:bio:member lab:chem"

    for allowed, scope, groups in (
        (("chem",), "data:read lab:chem", ["chem:viewer"]),
        ("*", "data:read lab:bio:member lab:chem", ["bio:member", "bio:viewer", "chem:viewer"]),
        ((), "data:read", []),
    ):
        await app.change("clients", ["other"], allowed_labs=allowed)
        answer = await app.introspect(token, "other")
        assert (answer["active"], answer["scope"], answer["groups"]) == (True, scope, groups)
        assert [lab["slug"] for lab in answer["labs"]] == list(dict.fromkeys(each.split(":")[0] for each in groups))
    # Whom it was issued to sees what it may see itself.
    own = await app.introspect(token)
    assert (own["scope"], own["groups"]) == (tokens["scope"], ["bio:member", "bio:viewer", "chem:viewer"])
    await app.change("clients", ["portal"], allowed_labs=("chem",))
    assert (await app.introspect(token))["scope"] == "data:read lab:chem"


async def test_the_row_of_a_token_holds_what_it_released_when_it_was_issued(app: App, browser: Browser) -> None:
    for format_ in AccessTokenFormat:
        await app.change("clients", ["portal"], access_token_format=format_)
        await browser.tokens(scope="openid profile lab:bio:viewer")
    await app.change("labs", ["lab_bio"], name="Renamed")

    async with app.store.read() as tx:
        rows = await tx.access_tokens.all()

    lab = {"id": "lab_bio", "slug": "bio", "name": "Biology", "role": "viewer"}
    assert [row.claims for row in rows] == [{"labs": [lab], "groups": ["bio:viewer"]}] * 2
    assert {row.scope for row in rows} == {"openid profile lab:bio:viewer"}
