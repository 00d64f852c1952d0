"""What an application may do with labs for a person: what they let it see on the consent page, and no more."""

from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.client import GrantType
from idp.domain.lab import LabRole
from idp.domain.user import AdminRole
from tests.support.app import ALICE_ID, ISSUER, App, Browser, add_all, answer_of, bearer
from tests.support.factories import make_lab, make_membership, make_resource

API = "/api/v1/labs"
SCOPE = "openid labs:read labs:write"


@pytest.fixture
async def portal(app: App) -> App:
    """The portal may use the API, and Alice is an admin of Physics too."""
    await app.change("clients", ["portal"], scope=f"{SCOPE} labs groups data:read")
    physics = make_lab(id="lab_physics", slug="physics", name="Physics")
    membership = make_membership(lab_id=physics.id, user_id=ALICE_ID, role=LabRole.ADMIN)
    await add_all(app.store, [physics, membership, make_resource()])
    return app


async def token(app: App, browser: Browser, scope: str = SCOPE, *, keep: tuple[str, ...] = (), **more: Any) -> str:
    """Sign in and allow all labs but some."""
    page = await browser.request(scope=scope, **more)
    page = page if page.url.path == "/consent" else await browser.sign_in(page)
    answer = answer_of(await browser.submit(page, decision="allow", **{f"lab.{slug}": None for slug in keep}))
    tokens = (await app.redeem(answer)).json()
    return str(tokens["access_token"])


async def labs(app: App, access_token: str) -> set[str]:
    answer = await app.http().get(API, headers=bearer(access_token))
    return {lab["slug"] for lab in answer.json()["items"]}


async def status(app: App, access_token: str, method: str, path: str, json: Any = None) -> int:
    answer = await app.http().request(method, f"{API}{path}", headers=bearer(access_token), json=json)
    return answer.status_code


async def test_the_page_has_a_box_for_each_lab_and_what_is_not_ticked_does_not_exist_for_the_application(
    portal: App, browser: Browser
) -> None:
    page = await browser.sign_in(await browser.request(scope=SCOPE))
    assert [slug in page.text for slug in ("lab.bio", "lab.chem", "lab.physics")] == [True] * 3
    assert "You help to run" not in page.text

    access_token = await token(portal, browser, keep=("physics",))

    assert await labs(portal, access_token) == {"bio", "chem"}
    assert await status(portal, access_token, "GET", "/physics") == 404
    assert await status(portal, access_token, "GET", "/physics/members") == 404
    assert await status(portal, access_token, "PATCH", "/physics", {"name": "Taken over"}) == 404
    assert await status(portal, access_token, "GET", "/bio/members") == 200
    # A lab that she joins afterwards is none of its business either, unless she says so.
    dust = make_lab(id="lab_dust", slug="dust", name="Dust")
    await add_all(portal.store, [dust, make_membership(lab_id=dust.id, user_id=ALICE_ID, role=LabRole.ADMIN)])
    assert await labs(portal, access_token) == {"bio", "chem"}


async def test_a_lab_and_a_role_that_the_scope_names_are_all_there_is(portal: App, browser: Browser) -> None:
    access_token = await token(portal, browser, f"{SCOPE} lab:bio:viewer")
    assert await labs(portal, access_token) == {"bio"}
    assert await status(portal, access_token, "PATCH", "/bio", {"description": "Cells."}) == 403
    assert await status(portal, access_token, "GET", "/bio/members") == 403
    one = await token(portal, browser, f"{SCOPE} lab:bio", prompt="consent")
    assert await status(portal, one, "PATCH", "/bio", {"description": "Cells."}) == 200
    assert await status(portal, one, "GET", "/physics") == 404


async def test_whoever_runs_the_installation_is_told_what_that_means_and_may_leave_labs_out(
    portal: App, browser: Browser
) -> None:
    await portal.change("users", [ALICE_ID], roles=(AdminRole.ADMIN,))
    await add_all(portal.store, [make_lab(id="lab_dust", slug="dust", name="Dust")])
    page = await browser.sign_in(await browser.request(scope=SCOPE))
    assert "You help to run" in page.text

    access_token = await token(portal, browser, keep=("physics",))

    assert await labs(portal, access_token) == {"bio", "chem", "dust"}
    assert await status(portal, access_token, "PATCH", "/physics", {"name": "Taken over"}) == 404
    assert await status(portal, access_token, "PATCH", "/dust", {"name": "Dust and Stars"}) == 200
    # For single labs it acts as she is in them, and not as somebody who runs the installation.
    one = await token(portal, browser, f"{SCOPE} lab:chem lab:dust", prompt="consent")
    assert await labs(portal, one) == {"chem"}
    assert await status(portal, one, "POST", "", {"slug": "new", "name": "New"}) == 403


@pytest.mark.parametrize("role", [AdminRole.ADMIN, AdminRole.VIEWER])
async def test_whoever_names_labs_acts_in_no_others_however_those_are_dropped(
    portal: App, browser: Browser, role: AdminRole
) -> None:
    await portal.change("users", [ALICE_ID], roles=(role,))
    await add_all(portal.store, [make_lab(id="lab_dust", slug="dust", name="Dust")])

    async def confined(access_token: str) -> None:
        for method, path, body in (("GET", "/dust/members", None), ("PATCH", "/dust", {"name": "Mine"})):
            assert await status(portal, access_token, method, path, body) in {403, 404}
        assert await status(portal, access_token, "POST", "", {"slug": "new", "name": "New"}) == 403

    # A lab that she is not in, one whose box is not ticked, …
    await confined(await token(portal, browser, f"{SCOPE} lab:dust:viewer"))
    await confined(await token(portal, browser, f"{SCOPE} lab:chem:viewer", keep=("chem",), prompt="consent"))
    # … and one that a refresh leaves out.
    page = await browser.request(scope=f"{SCOPE} lab:bio:viewer", prompt="consent")
    tokens = (await portal.redeem(answer_of(await browser.submit(page, decision="allow")))).json()
    refused = await portal.refresh(tokens["refresh_token"], scope="labs:read labs:write")
    assert refused.json()["error"] == "invalid_scope"
    await confined((await portal.refresh(tokens["refresh_token"])).json()["access_token"])


async def test_an_application_gives_nothing_to_itself_and_the_audit_log_names_it(portal: App, browser: Browser) -> None:
    await portal.change("clients", ["portal"], grant_types=tuple(GrantType), allowed_labs=("bio",))
    portal.clock.advance(seconds=6)
    access_token = await token(portal, browser)
    assert await status(portal, access_token, "PUT", "/bio/service-grants/portal", {"role": "admin"}) == 403
    assert await status(portal, access_token, "PUT", "/bio/applications/portal") == 403
    assert await status(portal, access_token, "PUT", "/bio/service-grants/robot", {"role": "viewer"}) in {200, 201, 204}
    async with portal.store.read() as tx:
        (given,) = [e for e in await tx.audit_events.all() if e.action is AuditAction.LAB_GRANT_CREATED]
    assert (given.actor, given.detail["through"]) == (ALICE_ID, "portal")


async def test_a_token_that_another_api_could_use_here_does_not_count_rfc8707_s2(portal: App, browser: Browser) -> None:
    both = await token(portal, browser, f"{SCOPE} data:read", resource=f"{ISSUER} https://data.example.org")
    assert await status(portal, both, "GET", "") == 401


async def test_what_is_taken_back_is_gone_from_the_next_call(portal: App, browser: Browser) -> None:
    access_token = await token(portal, browser)
    page = await browser.get("/account/apps/labs?client_id=portal")
    await browser.submit(page, **{"lab.bio": None})
    assert await labs(portal, access_token) == {"chem", "physics"}
    await portal.change("memberships", ["lab_physics", ALICE_ID], role=LabRole.VIEWER)
    assert await status(portal, access_token, "PATCH", "/physics", {"description": "Stars."}) == 403


async def test_saving_what_is_shared_unchanged_raises_no_role(portal: App, browser: Browser) -> None:
    await token(portal, browser, "openid lab:bio:viewer")
    page = await browser.get("/account/apps/labs?client_id=portal")
    assert "viewer" in page.text
    await browser.submit(page)
    silent = answer_of(await browser.request(scope="openid lab:bio", prompt="none"))
    told = await portal.userinfo((await portal.redeem(silent)).json()["access_token"])
    assert told.json()["groups"] == ["bio:viewer"]
