"""Tokens for registered APIs (RFC 8707), from the authorization request to the API that asks about them."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from idp.domain.resource import Resource
from tests.support.app import ISSUER, App, Browser, answer_of, decoded
from tests.support.factories import make_resource

DATA = make_resource(client_id="robot")
JOBS = make_resource(audience="urn:example:jobs", name="Jobs", scopes=("jobs:run",))
OTHERS = make_resource(audience="https://others.example.org", name="Others", scopes=("others:read",))
SCOPE = "openid profile labs data:read data:write jobs:run offline_access"


@pytest.fixture(autouse=True)
async def apis(app: App) -> None:
    """Two APIs of which the portal has scopes, and one of which it has none."""
    await app.store.commit.append(DATA, JOBS, OTHERS)
    await app.change("clients", ["portal"], scope=SCOPE)


async def remove(app: App, resource: Resource) -> None:
    async with app.store.write() as tx:
        await tx.resources.delete(resource.audience)
    app.clock.advance(seconds=5)


async def ask(browser: Browser, *resources: str, **changes: str) -> httpx2.Response:
    """Arrive with a request that names these resources."""
    params = [*browser.app.authorization_request(**{"scope": SCOPE, **changes}).items()]
    query = httpx2.QueryParams([*params, *(("resource", uri) for uri in resources)])
    return await browser.follow(await browser.http.get("/authorize", params=query))


async def granted(browser: Browser, *resources: str, **form: str) -> dict[str, Any]:
    answer = await browser.finish(await ask(browser, *resources))
    response = await browser.app.redeem(answer, **form)
    assert response.status_code == 200, response.text
    return dict(response.json())


def of(tokens: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Return audience and scope of an access token, which the response repeats."""
    claims = decoded(tokens["access_token"])[1]
    assert claims.get("scope") == tokens.get("scope")
    return claims["aud"], claims.get("scope")


def told(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


# ── At the authorization endpoint ───────────────────────────────────────────────────────────────────────────────────
async def test_without_a_resource_the_token_is_for_this_server_rfc8707_s2(app: App, browser: Browser) -> None:
    tokens = await granted(browser)
    assert of(tokens) == (ISSUER, SCOPE)
    assert (await app.userinfo(tokens["access_token"])).status_code == 200


async def test_a_token_for_an_api_has_its_scopes_and_the_labs_only_rfc8707_s2_2(app: App, browser: Browser) -> None:
    tokens = await granted(browser, DATA.audience)

    assert of(tokens) == (DATA.audience, "labs data:read data:write")
    assert "labs" in decoded(tokens["access_token"])[1]
    # The ID token is for the client as ever.
    assert decoded(tokens["id_token"])[1]["aud"] == "portal"


async def test_several_resources_stand_in_one_list_rfc8707_s2(browser: Browser) -> None:
    tokens = await granted(browser, JOBS.audience, DATA.audience)
    assert of(tokens) == ([JOBS.audience, DATA.audience], "labs data:read data:write jobs:run")
    again = await granted(browser, DATA.audience, DATA.audience)
    assert of(again)[0] == DATA.audience


async def test_this_server_beside_an_api_keeps_the_whole_scope_and_userinfo_rfc8707_s2(
    app: App, browser: Browser
) -> None:
    tokens = await granted(browser, DATA.audience, ISSUER)
    assert of(tokens) == ([DATA.audience, ISSUER], SCOPE)
    assert (await app.userinfo(tokens["access_token"])).status_code == 200


async def test_userinfo_refuses_a_token_for_another_audience_rfc6750_s3_1(app: App, browser: Browser) -> None:
    token = (await granted(browser, DATA.audience))["access_token"]
    refused = await app.userinfo(token)
    assert told(refused) == (401, "invalid_token")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    "uri",
    [
        *("https://unknown.example", f"{DATA.audience}/", DATA.audience.upper(), f"{DATA.audience}#x", "data", "%00"),
        *(f"{ISSUER}/", OTHERS.audience, " ".join(["https://a.example"] * 11)),
    ],
)
async def test_a_resource_that_is_not_registered_for_the_client_is_an_invalid_target_rfc8707_s2(
    app: App, browser: Browser, uri: str
) -> None:
    for resources in ((uri,), (DATA.audience, uri)):
        answer = answer_of(await ask(browser, *resources))
        assert (answer.error, answer.params["state"], answer.params["iss"]) == ("invalid_target", "state-1", ISSUER)
    posted = await browser.http.post("/authorize", data=app.authorization_request(resource=uri))
    assert answer_of(posted).error == "invalid_target"
    service = await app.post("/token", "robot", grant_type="client_credentials", resource=uri)
    assert told(service) == (400, "invalid_target")


async def test_absurdly_many_resources_are_an_invalid_target(browser: Browser) -> None:
    many = [f"https://api-{number}.example.org" for number in range(11)]
    assert answer_of(await ask(browser, *many)).error == "invalid_target"


async def test_the_token_of_an_implicit_answer_is_for_the_resource_too_rfc8707_s2(app: App, browser: Browser) -> None:
    changes = {"response_type": "code id_token token", "scope": "openid data:read profile", "resource": DATA.audience}
    answer = await browser.authorize("hybrid", **changes)

    assert of(answer.params) == (DATA.audience, "data:read")
    assert of((await app.redeem(answer, "hybrid")).json()) == (DATA.audience, "data:read")


async def test_an_api_that_is_removed_while_the_user_signs_in_is_an_invalid_target(app: App, browser: Browser) -> None:
    page = await ask(browser, DATA.audience)
    await remove(app, DATA)
    assert answer_of(await browser.sign_in(page)).error == "invalid_target"


# ── At the token endpoint ───────────────────────────────────────────────────────────────────────────────────────────
async def test_a_code_gives_a_token_for_a_part_of_what_was_granted_rfc8707_s2_2(app: App, browser: Browser) -> None:
    tokens = await granted(browser, DATA.audience, JOBS.audience, resource=JOBS.audience)
    assert of(tokens) == (JOBS.audience, "labs jobs:run")

    # The rest is still to be had, each for itself, and this server, too.
    for uri, scope in ((DATA.audience, "labs data:read data:write"), (JOBS.audience, "labs jobs:run"), (ISSUER, SCOPE)):
        tokens = (await app.refresh(tokens["refresh_token"], resource=uri)).json()
        assert of(tokens) == (uri, scope)
    both = (await app.refresh(tokens["refresh_token"])).json()
    assert of(both)[0] == [DATA.audience, JOBS.audience]


async def test_what_was_not_granted_is_an_invalid_target_and_costs_neither_code_nor_refresh_token_rfc8707_s2_2(
    app: App, browser: Browser
) -> None:
    answer = await browser.finish(await ask(browser, DATA.audience))
    for uri in (JOBS.audience, OTHERS.audience, "https://unknown.example"):
        assert told(await app.redeem(answer, resource=uri)) == (400, "invalid_target")
    tokens = (await app.redeem(answer)).json()
    assert of(tokens)[0] == DATA.audience

    for uri in (JOBS.audience, "https://unknown.example"):
        assert told(await app.refresh(tokens["refresh_token"], resource=uri)) == (400, "invalid_target")
    assert of((await app.refresh(tokens["refresh_token"])).json())[0] == DATA.audience


async def test_a_grant_without_resources_is_for_this_server_alone_rfc8707_s2_2(app: App, browser: Browser) -> None:
    answer = await browser.finish(await ask(browser))
    assert told(await app.redeem(answer, resource=DATA.audience)) == (400, "invalid_target")
    assert of((await app.redeem(answer, resource=ISSUER)).json()) == (ISSUER, SCOPE)


async def test_a_refresh_narrows_scope_and_audience_at_once_rfc8707_s2_2(app: App, browser: Browser) -> None:
    tokens = await granted(browser, DATA.audience, JOBS.audience)
    narrow = await app.refresh(tokens["refresh_token"], scope="data:read jobs:run", resource=DATA.audience)
    assert of(narrow.json()) == (DATA.audience, "data:read")


async def test_an_api_that_was_removed_is_no_target_any_more_and_this_server_does_not_take_its_place_rfc8707_s2(
    app: App, browser: Browser
) -> None:
    both, one = await granted(browser, DATA.audience, JOBS.audience), await granted(browser, DATA.audience)
    answer = await browser.finish(await ask(browser, DATA.audience))
    await remove(app, DATA)

    assert told(await app.redeem(answer)) == (400, "invalid_target")
    assert told(await app.refresh(one["refresh_token"])) == (400, "invalid_target")
    assert told(await app.refresh(both["refresh_token"], resource=DATA.audience)) == (400, "invalid_target")
    left = (await app.refresh(both["refresh_token"])).json()
    assert of(left) == (JOBS.audience, "labs jobs:run")

    # It comes back, and so do its tokens: nothing was used up.
    await app.store.commit.append(DATA)
    app.clock.advance(seconds=5)
    assert of((await app.refresh(one["refresh_token"])).json())[0] == DATA.audience
    assert of((await app.redeem(answer)).json())[0] == DATA.audience


async def test_who_lost_the_scopes_of_an_api_gets_no_more_tokens_for_it(app: App, browser: Browser) -> None:
    tokens = await granted(browser, DATA.audience)
    await app.change("clients", ["portal"], scope="openid jobs:run")
    assert told(await app.refresh(tokens["refresh_token"])) == (400, "invalid_target")


async def test_a_service_gets_a_token_for_an_api_with_its_scopes_rfc8707_s2_2(app: App) -> None:
    async def asked(**form: str) -> dict[str, Any]:
        response = await app.post("/token", "robot", grant_type="client_credentials", **form)
        assert response.status_code == 200, response.text
        return dict(response.json())

    both = await asked(scope="data:read data:write labs", resource=DATA.audience)
    assert of(both) == (DATA.audience, "data:read data:write labs")
    assert of(await asked(scope="data:read", resource=ISSUER)) == (ISSUER, "data:read")
    assert of(await asked(resource=DATA.audience)) == (DATA.audience, None)
    refused = await app.post("/token", "robot", grant_type="client_credentials", resource=JOBS.audience)
    assert told(refused) == (400, "invalid_target")


# ── What the API asks ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_api_asks_about_the_tokens_that_are_meant_for_it_and_no_others_rfc7662_s4(
    app: App, browser: Browser
) -> None:
    mine, several = await granted(browser, DATA.audience), await granted(browser, DATA.audience, JOBS.audience)
    for tokens in (mine, several):
        answer = await app.introspect(tokens["access_token"], "robot")
        expected = {**decoded(tokens["access_token"])[1], "active": True}
        assert answer.items() >= {name: expected[name] for name in ("active", "aud", "scope", "sub")}.items()
        assert answer["client_id"] == "portal"
        assert not await app.is_alive(tokens["access_token"], "other")
        assert not await app.is_alive(tokens["refresh_token"], "robot")
        assert await app.is_alive(tokens["access_token"])

    for tokens in (await granted(browser), await granted(browser, JOBS.audience)):
        assert await app.introspect(tokens["access_token"], "robot") == {"active": False}


async def test_an_api_sees_the_labs_that_it_may_see_itself(app: App, browser: Browser) -> None:
    token = (await granted(browser, DATA.audience))["access_token"]
    assert (await app.introspect(token, "robot"))["labs"] == []
    await app.change("clients", ["robot"], allowed_labs=("chem",))
    assert [lab["slug"] for lab in (await app.introspect(token, "robot"))["labs"]] == ["chem"]


async def test_an_api_that_was_removed_or_given_to_another_client_asks_no_more(app: App, browser: Browser) -> None:
    token = (await granted(browser, DATA.audience))["access_token"]
    await app.change("resources", [DATA.audience], client_id="other")
    app.clock.advance(seconds=5)
    assert (await app.is_alive(token, "other"), await app.is_alive(token, "robot")) == (True, False)

    await remove(app, DATA)
    assert not await app.is_alive(token, "other")


async def test_an_api_revokes_nothing_rfc7009_s2_1(app: App, browser: Browser) -> None:
    token = (await granted(browser, DATA.audience))["access_token"]
    assert (await app.post("/revoke", "robot", token=token)).status_code == 200
    assert await app.is_alive(token, "robot")
