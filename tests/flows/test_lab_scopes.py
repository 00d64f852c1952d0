"""Scopes about labs: what they give, and that no answer tells which labs there are."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, event

from idp.domain.client import GroupFormat, Profile
from idp.domain.lab import LabRole, LabStatus
from idp.store.postgres_lane import _PostgresTransaction
from tests.support.app import ALICE_ID, App, Browser, Start, add_all, answer_of, decoded
from tests.support.clock import START
from tests.support.factories import make_lab, make_membership

# Of the same length: one that does not exist, one that Alice is not in, and one in which her role is too low.
UNKNOWN, FOREIGN, TOO_LOW = "lab:dust:admin", "lab:phys:admin", "lab:chem:admin"
ALIKE = (UNKNOWN, FOREIGN, TOO_LOW)
_noted: ContextVar[list[str] | None] = ContextVar("_noted", default=None)


@pytest.fixture
async def app(app: App) -> App:
    await app.store.commit.append(make_lab(id="lab_phys", slug="phys", name="Physics"))
    return app


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note which statements the database gets for what is done meanwhile, and none of the background jobs'."""

    def note(statement: str) -> None:
        noted = _noted.get()
        if noted is not None:
            noted.append(statement)

    def sent(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        note(statement)

    fetch, execute = _PostgresTransaction.fetch, _PostgresTransaction.execute_many

    async def fetching(self: Any, statement: Any, values: Any) -> Any:
        note(statement.sql)
        return await fetch(self, statement, values)

    async def executing(self: Any, statement: Any, rows: Any) -> Any:
        note(statement.sql)
        return await execute(self, statement, rows)

    event.listen(Engine, "before_cursor_execute", sent)
    noted: list[str] = []
    token = _noted.set(noted)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(_PostgresTransaction, "fetch", fetching)
            patch.setattr(_PostgresTransaction, "execute_many", executing)
            yield noted
    finally:
        _noted.reset(token)
        event.remove(Engine, "before_cursor_execute", sent)


def without_random(text: str, slug: str) -> str:
    """Return an answer without what is random in each, the lab's name, and when it was given."""
    text = re.sub(
        r'(code=|"csrf" value="|"mark" value="|interaction=|session_state=|explain(?:/|%2F))[\w%.-]+', r"\1?", text
    )
    return re.sub(rf"\b{slug}\b", "????", text)


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, its times as seconds since it was issued."""
    claims = decoded(token)[1]
    times = {name: claims[name] - claims["iat"] for name in ("exp", "nbf") if name in claims}
    return {**claims, **times, "iat": 0, "jti": "", "at_hash": "", "auth_time": 0}


async def seen(app: App, answer: httpx2.Response, slug: str) -> list[object]:
    """Return all that an application sees after an authorization request, without what is random."""
    told: list[object] = [answer.status_code, without_random(answer.headers["location"], slug)]
    if "code=" not in answer.headers["location"]:
        return told
    tokens = (await app.redeem(answer_of(answer))).json()
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    for response in (tokens, refreshed):
        token = response["access_token"]
        told += [
            {**response, "access_token": len(token), "id_token": "", "refresh_token": ""},
            claims_of(token),
            claims_of(response["id_token"]),
            (await app.userinfo(token)).json(),
            {**await app.introspect(token), "iat": 0, "exp": 0, "jti": ""},
        ]
    narrowed = await app.refresh(refreshed["refresh_token"], scope=f"openid lab:{slug}")
    return [*told, narrowed.status_code, without_random(narrowed.text, slug)]


async def settled(browser: Browser) -> None:
    """Do all that is done only now and then, such as to note who was seen, and end what was granted before."""
    app = browser.app
    app.clock.advance(seconds=3600)
    await browser.request(scope="openid", prompt="none")
    async with app.store.write() as tx:
        for grant in await tx.grants.all():
            await tx.grants.revoke(grant.id, now=app.clock())


# ── Refused before anybody signs in ─────────────────────────────────────────────────────────────────────────────────
async def test_a_malformed_lab_scope_is_invalid_before_anybody_signs_in(app: App, browser: Browser) -> None:
    twenty = " ".join(f"lab:lab-{number}" for number in range(20))
    for scope in (
        "lab:",
        "lab:Bio",
        "lab:bio:",
        "lab:bio:owner",
        "lab:bio:member:viewer",
        "lab:admin",
        "lab:-bio",
        f"lab:{'a' * 40}",
        f"{twenty} lab:one-more",
    ):
        answer = answer_of(await browser.request(scope=f"openid {scope}"))
        assert (answer.error, answer.params["state"]) == ("invalid_scope", "state-1"), scope
        assert answer.params["error_description"]

    # One named twice is one.
    assert (await browser.request(scope=f"openid {twenty} lab:lab-3")).url.path == "/login"


async def test_what_the_client_may_not_see_is_invalid_before_anybody_signs_in_whether_it_exists_or_not(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[object]] = []
    for sign_in in (False, True):
        if sign_in:
            await browser.authorize("other", scope="openid labs lab:chem")
        for slug in ("phys", "dust"):
            await settled(browser)
            with statements(monkeypatch) as noted:
                answer = await browser.request("other", scope=f"openid lab:chem lab:{slug}:viewer")
            assert answer_of(answer).error == "invalid_scope"
            asked.append([without_random(answer.headers["location"], slug), list(noted)])

    assert asked[0] == asked[1]
    assert asked[2] == asked[3]


# ── Told alike: unknown, not a member, role too low ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("others", ["openid profile lab:bio", ""])
async def test_a_lab_that_cannot_be_told_is_dropped_alike_whatever_the_reason(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    await browser.authorize(scope="openid profile lab:bio lab:zero")
    silent, shown = [], []
    for scope in ALIKE:
        slug = scope.split(":")[1]
        await settled(browser)
        with statements(monkeypatch) as noted:
            told = await seen(app, await browser.request(scope=f"{others} {scope}", prompt="none"), slug)
        silent.append([told, list(noted)])
    for scope in ALIKE:
        slug = scope.split(":")[1]
        await settled(browser)
        with statements(monkeypatch) as noted:
            page = await browser.request(scope=f"{others} {scope}")
            assert page.url.path == "/consent"
            told = await seen(app, await browser.submit(page, decision="allow"), slug)
        shown.append([without_random(page.text, slug), told, list(noted)])
        # Remembered, so that it is not asked each time.
        again = answer_of(await browser.request(scope=f"{others} {scope}"))
        assert again.error == (None if others else "invalid_scope")

    # Statements really are noted, and slugs are not looked up.
    assert any("memberships" in statement for statement in silent[0][1])
    assert not any("labs.slug =" in statement for statement in silent[0][1])
    assert silent[1:] == silent[:1] * 2
    assert shown[1:] == shown[:1] * 2
    # And what comes back says what was granted.
    if others:
        assert silent[0][0][2]["scope"] == others == shown[0][1][2]["scope"]
        assert "invalid_scope" in silent[0][0][-1]
    else:
        assert "error=invalid_scope" in silent[0][0][1]


async def test_when_nothing_is_left_it_is_the_same_at_the_code_and_at_the_refresh(app: App, browser: Browser) -> None:
    await add_all(
        app.store,
        [
            make_lab(id="lab_geo", slug="geo", name="Geology"),
            make_lab(id="lab_art", slug="art", name="Art"),
            *(make_membership(lab_id=lab_id, user_id=ALICE_ID) for lab_id in ("lab_geo", "lab_art", "lab_phys")),
        ],
    )
    given = {}
    for scope in ("lab:geo:member", "lab:art:member", "lab:phys:member"):
        codes = [await browser.authorize(scope=scope) for _ in range(2)]
        tokens = (await app.redeem(codes[0])).json()
        assert tokens["scope"] == scope
        given[scope] = codes[1], tokens["refresh_token"]
    async with app.store.write() as tx:
        await tx.labs.delete("lab_geo")
        await tx.memberships.delete("lab_art", ALICE_ID)
    await app.change("memberships", ["lab_phys", ALICE_ID], role=LabRole.VIEWER)

    answers = set()
    for code, refresh_token in given.values():
        for response in (await app.redeem(code), await app.refresh(refresh_token)):
            assert response.json()["error"] == "invalid_scope"
            answers.add(
                (response.status_code, without_random(response.text, "none"), response.headers["cache-control"])
            )
    assert len(answers) == 1
    # A lab that counts again is told again: nothing was used up.
    await app.change("memberships", ["lab_phys", ALICE_ID], role=LabRole.MEMBER)
    code, refresh_token = given["lab:phys:member"]
    assert (await app.refresh(refresh_token)).json()["scope"] == "lab:phys:member"


# ── What is told ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("labs groups", ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]),
        ("labs groups lab:chem", ["chem:viewer", "bio:admin", "bio:member", "bio:viewer"]),
        ("labs lab:chem lab:bio:viewer", ["chem:viewer", "bio:viewer"]),
        ("lab:bio:member", ["bio:member", "bio:viewer"]),
        ("lab:bio:viewer lab:bio:member", ["bio:member", "bio:viewer"]),
        ("lab:bio:viewer lab:bio", ["bio:admin", "bio:member", "bio:viewer"]),
        ("groups lab:chem", ["chem:viewer"]),
        ("groups lab:chem lab:dust", ["chem:viewer"]),
        ("labs groups lab:chem:admin", ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]),
    ],
)
async def test_a_scope_says_which_labs_with_which_role_in_every_claim(
    app: App, browser: Browser, scope: str, groups: list[str]
) -> None:
    tokens = await browser.tokens(scope=f"openid {scope}")

    kept = [token for token in scope.split() if token not in {"lab:dust", "lab:chem:admin"}]
    access_token = tokens["access_token"]
    named = "lab:" in scope
    for told in (
        decoded(access_token)[1],
        {**(await app.userinfo(access_token)).json(), "scope": tokens["scope"]},
        await app.introspect(access_token),
    ):
        assert told["scope"].split() == ["openid", *kept]
        assert told.get("groups") == (groups if named or "groups" in kept else None)
        slugs = list(dict.fromkeys(group.split(":")[0] for group in groups))
        assert [lab["slug"] for lab in told["labs"]] == slugs
        roles = {lab["slug"]: lab["role"] for lab in told["labs"]}
        assert [f"{slug}:{roles[slug]}" for slug in slugs] == [
            next(group for group in groups if group.startswith(f"{slug}:")) for slug in slugs
        ]
    assert not {"labs", "groups"} & decoded(tokens["id_token"])[1].keys()


async def test_a_refresh_may_ask_for_less_and_never_for_more_rfc6749_s6(app: App, browser: Browser) -> None:
    async def refreshed(tokens: Mapping[str, Any], scope: str) -> Any:
        app.clock.advance(seconds=1)
        response = (await app.refresh(tokens["refresh_token"], scope=scope)).json()
        if "error" in response:
            return response["error"]
        app.clock.advance(seconds=1)
        groups = (await app.introspect(response["access_token"])).get("groups")
        userinfo = (await app.userinfo(response["access_token"])).json()
        assert userinfo.get("groups") == groups
        return response["scope"], groups

    for granted, asked, answer in (
        ("labs groups", "lab:bio", ["bio:admin", "bio:member", "bio:viewer"]),
        ("labs groups", "lab:bio:viewer lab:chem", ["bio:viewer", "chem:viewer"]),
        ("lab:bio", "lab:bio:viewer", ["bio:viewer"]),
        ("lab:bio:member", "lab:bio:viewer", ["bio:viewer"]),
        ("labs lab:bio:member", "lab:chem", ["chem:viewer"]),
        ("lab:bio:member", "lab:bio:admin", None),
        ("lab:bio:member", "lab:bio", None),
        ("lab:bio:viewer", "lab:bio:member", None),
        ("lab:bio", "lab:chem", None),
        ("lab:bio", "labs", None),
        ("lab:bio", "groups", None),
        ("groups", "lab:bio", None),
        ("labs lab:bio:member", "lab:bio", None),
        ("labs", "lab:bio:owner", None),
    ):
        tokens = await browser.tokens(scope=f"openid {granted}")
        told = await refreshed(tokens, f"openid {asked}")
        assert told == ("invalid_scope" if answer is None else (f"openid {asked}", answer)), (granted, asked)
    # What a token leaves out for once is not lost.
    tokens = await browser.tokens(scope="openid lab:bio")
    narrow = (await app.refresh(tokens["refresh_token"], scope="openid lab:bio:viewer")).json()
    assert (await app.refresh(narrow["refresh_token"])).json()["scope"] == "openid lab:bio"


async def test_without_the_labs_that_it_named_a_scope_means_no_others_instead(app: App, browser: Browser) -> None:
    # Alice has agreed to show all; what an application asks for is less all the same.
    await browser.authorize(scope="openid labs groups")
    one = await browser.tokens(scope="openid groups lab:bio:viewer")
    assert decoded(one["access_token"])[1]["groups"] == ["bio:viewer"]
    # Neither a lab that cannot be told …
    none = await browser.tokens(scope="openid groups lab:dust")
    assert decoded(none["access_token"])[1].get("groups", []) == []
    assert (await app.userinfo(none["access_token"])).json().get("groups", []) == []
    # … nor a claim that is asked for by name …
    claims = json.dumps({"userinfo": {"groups": None}})
    by_name = await browser.tokens(scope="openid lab:dust", claims=claims)
    assert (await app.userinfo(by_name["access_token"])).json() == {"sub": ALICE_ID, "groups": []}
    # … nor a refresh without it …
    both = await browser.tokens(scope="openid labs groups lab:bio:viewer")
    for tokens in (one, both):
        refused = await app.refresh(tokens["refresh_token"], scope="openid groups")
        assert refused.json()["error"] == "invalid_scope"
    # … nor a lab that the client may not see any more …
    await app.change("clients", ["portal"], allowed_labs=("chem",))
    app.clock.advance(seconds=1)
    later = (await app.refresh(one["refresh_token"])).json()
    for told in (
        (await app.userinfo(one["access_token"])).json(),
        await app.introspect(one["access_token"]),
        decoded(later["access_token"])[1],
        (await app.userinfo(later["access_token"])).json(),
    ):
        assert told.get("groups", []) == []
    await app.change("clients", ["portal"], allowed_labs="*")
    # … nor one that ended lets an application see the others.
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)
    ended = (await app.refresh(later["refresh_token"])).json()
    for told in (
        (await app.userinfo(one["access_token"])).json(),
        decoded(ended["access_token"])[1],
        (await app.userinfo(ended["access_token"])).json(),
    ):
        assert told.get("groups", []) == []


# ── Shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_groups_are_written_as_the_client_wants_them(app: App, browser: Browser) -> None:
    for changes, name, groups in (
        ({"group_format": GroupFormat.PATH}, "groups", ["/bio/admin", "/bio/member", "/bio/viewer", "/chem/viewer"]),
        ({"group_format": GroupFormat.SLUG}, "groups", ["bio"]),
        ({"group_format": GroupFormat.SLUG, "group_min_role": LabRole.VIEWER}, "groups", ["bio", "chem"]),
        ({"group_format": GroupFormat.SLUG, "group_min_role": LabRole.ADMIN}, "groups", ["bio"]),
        ({"claim_aliases": {"groups": "roles"}}, "roles", ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]),
    ):
        async with app.store.read() as tx:
            portal = await tx.clients.get("portal")
        await app.change("clients", ["portal"], **changes)
        token = (await browser.tokens(scope="openid labs groups"))["access_token"]
        for told in (decoded(token)[1], (await app.userinfo(token)).json(), await app.introspect(token)):
            assert told[name] == groups
            assert {"labs", "groups", "roles"} & told.keys() == {"labs", name}
        await app.change("clients", ["portal"], **{field: getattr(portal, field) for field in changes})


async def test_entitlements_are_told_where_there_is_a_namespace_aarc_g069(start: Start, app: App) -> None:
    scope = "openid entitlements"
    expected = [
        "urn:example:idp:group:bio:role=admin#localhost",
        "urn:example:idp:group:bio:role=member#localhost",
        "urn:example:idp:group:bio:role=viewer#localhost",
        "urn:example:idp:group:chem:role=viewer#localhost",
    ]
    node = await start(entitlement_namespace="urn:example:idp")
    await node.change("clients", ["portal"], scope=f"{scope} labs groups")
    token = (await node.browser().tokens(scope=scope))["access_token"]
    for told in (decoded(token)[1], (await node.userinfo(token)).json(), await node.introspect(token)):
        assert told["entitlements"] == expected
        assert not {"labs", "groups"} & told.keys()
    assert "entitlements" in (await node.http().get("/.well-known/openid-configuration")).json()["scopes_supported"]

    # A node without the setting tells of none, nor offers them: the scope is as good as unknown.
    app.services["clients"].forget("portal")
    refused = answer_of(await app.browser().request(scope="entitlements"))
    assert refused.error == "invalid_scope"
    assert (await app.browser().tokens(scope="openid entitlements"))["scope"] == "openid"
    assert "entitlements" not in (await app.userinfo(token)).json()
    assert "entitlements" not in (await app.http().get("/.well-known/openid-configuration")).json()["scopes_supported"]

    await node.change("clients", ["portal"], claim_aliases={"entitlements": "eduperson_entitlement"})
    told = decoded((await node.browser().tokens(scope="openid entitlements lab:chem"))["access_token"])[1]
    assert told["eduperson_entitlement"] == expected[3:]
    assert "entitlements" not in told

    # As AARC-G069 has it, every question about labs is answered with entitlements and nothing else.
    await node.change("clients", ["portal"], claim_aliases={}, profile=Profile.AARC_G069)
    for scope in ("openid labs groups", "openid lab:bio lab:chem"):
        token = (await node.browser().tokens(scope=scope))["access_token"]
        for told in (decoded(token)[1], (await node.userinfo(token)).json(), await node.introspect(token)):
            assert told["entitlements"] == expected
            assert not {"labs", "groups"} & told.keys()


async def test_the_wlcg_profile_orders_groups_and_names_its_version_wlcg_s3(app: App, browser: Browser) -> None:
    await app.change(
        "clients",
        ["portal"],
        scope="openid wlcg.groups",
        profile=Profile.WLCG,
        group_min_role=LabRole.VIEWER,
    )
    for scope, groups in (
        ("openid wlcg.groups", ["/bio", "/chem"]),
        ("openid wlcg.groups:/chem", ["/chem", "/bio"]),
        ("openid wlcg.groups:/bio/admin wlcg.groups:/chem", ["/bio/admin", "/chem", "/bio"]),
        ("openid wlcg.groups wlcg.groups:/bio/member", ["/bio", "/chem", "/bio/member"]),
        ("openid", None),
    ):
        tokens = await browser.tokens(scope=scope)
        token = tokens["access_token"]
        claims = decoded(token)[1]
        assert (claims["wlcg.ver"], claims["nbf"], tokens["scope"]) == ("1.0", claims["iat"], scope)
        id_token = decoded(tokens["id_token"])[1]
        for told in (claims, id_token, (await app.userinfo(token)).json(), await app.introspect(token)):
            assert told.get("wlcg.groups") == groups, scope
            assert not {"labs", "groups"} & told.keys()
        assert id_token["wlcg.ver"] == "1.0"

    dropped = await browser.tokens(scope="openid wlcg.groups:/chem/admin wlcg.groups:/dust wlcg.groups:/bio")
    assert dropped["scope"] == "openid wlcg.groups:/bio"
    for malformed in ("wlcg.groups:bio", "wlcg.groups:/bio/", "wlcg.groups:/bio/owner", "wlcg.groups:"):
        assert answer_of(await browser.request(scope=f"openid {malformed}")).error == "invalid_scope"
    # Selecting is the profile's; other clients that ask for it get what else they asked for.
    await app.change("clients", ["portal"], profile=Profile.PLAIN)
    plain = await browser.tokens(scope="openid wlcg.groups wlcg.groups:/bio")
    assert (plain["scope"], decoded(plain["access_token"])[1].get("wlcg.groups")) == ("openid wlcg.groups", None)


async def test_an_archived_lab_is_told_to_nobody(app: App, browser: Browser) -> None:
    async with app.store.read() as tx:
        bio = await tx.labs.get("lab_bio")
    async with app.store.write() as tx:
        await tx.labs.save(replace(bio, status=LabStatus.ARCHIVED))

    tokens = await browser.tokens(scope="openid labs groups lab:bio")

    assert tokens["scope"] == "openid labs groups"
    assert [lab["slug"] for lab in (await app.userinfo(tokens["access_token"])).json()["labs"]] == ["chem"]
    assert app.clock() > START
