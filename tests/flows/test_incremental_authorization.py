"""Incremental authorization: include_granted_scopes=true adds what the user gave to the same client before."""

import json
import re
from typing import Any

import httpx2
import pytest

from idp.domain.client import GrantType
from tests.support.app import ALICE_ID, BOB, EVERY_SCOPE, App, Browser, answer_of, decoded

INCLUDE = {"include_granted_scopes": "true"}


async def scope_of(browser: Browser, client_id: str = "portal", **changes: str | None) -> set[str]:
    """Return the scope of a request that shows no page."""
    answer = answer_of(await browser.request(client_id, **changes))
    assert answer.error is None, answer.params
    return set((await browser.app.redeem(answer, client_id)).json()["scope"].split())


def rows(page: httpx2.Response) -> dict[str, bool]:
    """Return what a consent page asks for by its technical name, and whether it says that it was allowed before."""
    assert page.url.path == "/consent"
    items = re.findall(r"<li>(.*?)</li>", page.text, re.S)
    return {re.findall(r'class="chip[^"]*">([^<]+)<', item)[0]: "allowed before" in item for item in items}


async def test_earlier_scopes_are_added_where_the_client_asks_for_that(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid email")
    await browser.authorize(scope="openid profile")

    assert await scope_of(browser, scope="openid") == {"openid"}
    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid", "email", "profile"}
    for off in ("false", "1", "TRUE", " true"):
        assert await scope_of(browser, scope="openid", include_granted_scopes=off) == {"openid"}
    tokens = (await app.redeem(answer_of(await browser.request(scope="openid", **INCLUDE)))).json()
    assert {"email", "name"} <= (await app.userinfo(tokens["access_token"])).json().keys()
    narrowed = (await app.refresh(tokens["refresh_token"], scope="openid email")).json()
    assert narrowed["scope"] == "openid email"


async def test_the_page_shows_what_is_new_beside_what_was_allowed_before(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid email")

    page = await browser.request(scope="openid groups phone", **INCLUDE)

    # Labs have boxes of their own.
    assert rows(page) == {"openid": True, "phone": False, "email": True}
    tokens = (await app.redeem(await browser.finish(page))).json()
    assert set(tokens["scope"].split()) == {"openid", "email", "groups", "phone"}
    assert set(decoded(tokens["access_token"])[1]["scope"].split()) == {"openid", "email", "groups", "phone"}


async def test_only_what_is_new_asks_again(browser: Browser) -> None:
    await browser.authorize(scope="openid email")
    assert answer_of(await browser.request(scope="openid", prompt="none", **INCLUDE)).error is None
    refused = answer_of(await browser.request(scope="openid phone", prompt="none", **INCLUDE))
    assert refused.error == "consent_required"


async def test_a_denial_leaves_what_was_given_before(browser: Browser) -> None:
    await browser.authorize(scope="openid email")
    assert (await browser.authorize(scope="openid phone", decision="deny", **INCLUDE)).error == "access_denied"
    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid", "email"}


async def test_nobody_elses_consent_and_no_other_clients_is_added(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid email")
    await browser.authorize("other", scope="openid profile")
    bobs = app.browser()
    await bobs.authorize(scope="openid phone", user=BOB)

    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid", "email"}
    assert await scope_of(browser, "other", scope="openid", **INCLUDE) == {"openid", "profile"}
    assert await scope_of(bobs, scope="openid", **INCLUDE) == {"openid", "phone"}


async def test_a_public_client_gets_what_it_asks_for_since_anybody_could_pose_as_it_rfc8252_s8_6(
    browser: Browser,
) -> None:
    await browser.authorize("spa", scope="openid profile")
    assert await scope_of(browser, "spa", scope="openid", **INCLUDE) == {"openid"}


async def test_withdrawn_consent_is_gone(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid email")
    page = await browser.request(scope="openid phone", **INCLUDE)
    assert "email" in rows(page)

    await app.services["applications"].withdraw(ALICE_ID, "portal")

    # Not even the page that was opened before brings it back; it is shown anew first.
    changed = await browser.submit(page, decision="allow")
    assert (changed.status_code, "email" in rows(changed)) == (409, False)
    tokens = (await app.redeem(answer_of(await browser.submit(changed, decision="allow")))).json()
    assert set(tokens["scope"].split()) == {"openid", "phone"}
    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid", "phone"}


async def test_what_the_client_no_longer_registers_is_not_added_rfc6749_s3_3(app: App, browser: Browser) -> None:
    await browser.authorize(scope=EVERY_SCOPE)
    await app.change("clients", ["portal"], scope="openid email")
    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid", "email"}


async def test_offline_access_is_added_only_where_it_could_be_asked_for_oidc_core_s11(
    app: App, browser: Browser
) -> None:
    await browser.authorize("hybrid", scope="openid offline_access")
    assert await scope_of(browser, "hybrid", scope="openid", **INCLUDE) == {"openid", "offline_access"}
    implicit = answer_of(await browser.request("hybrid", response_type="id_token token", scope="openid", **INCLUDE))
    assert implicit.params["scope"] == "openid"

    await app.change("clients", ["hybrid"], grant_types=(GrantType.AUTHORIZATION_CODE,), response_types=("code",))
    assert await scope_of(browser, "hybrid", scope="openid", **INCLUDE) == {"openid"}


async def test_single_claims_that_were_given_are_no_scopes_oidc_core_s5_5(app: App, browser: Browser) -> None:
    asked = json.dumps({"userinfo": {"email": None}})
    await browser.authorize(scope="openid", claims=asked)
    assert await scope_of(browser, scope="openid", **INCLUDE) == {"openid"}
    tokens: dict[str, Any] = (await app.redeem(answer_of(await browser.request(scope="openid", **INCLUDE)))).json()
    assert (await app.userinfo(tokens["access_token"])).json().keys() == {"sub"}


@pytest.mark.parametrize("prompt", ["consent", "login consent"])
async def test_who_is_asked_anew_sees_everything_that_will_be_given(browser: Browser, prompt: str) -> None:
    await browser.authorize(scope="openid email")
    page = await browser.request(scope="openid", prompt=prompt, **INCLUDE)
    page = await browser.sign_in(page) if page.url.path == "/login" else page
    assert rows(page) == {"openid": True, "email": True}
