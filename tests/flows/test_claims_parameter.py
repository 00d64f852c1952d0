"""Claims asked for one by one (OpenID Connect Core §5.5)."""

import json
from typing import Any

from tests.support.app import ALICE_ID, BOB, BOB_ID, App, Browser, answer_of, decoded


def claims(**members: Any) -> str:
    return json.dumps(members)


async def released(app: App, tokens: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what userinfo and the ID token say."""
    return (await app.userinfo(tokens["access_token"])).json(), decoded(tokens["id_token"])[1]


async def test_a_claim_asked_for_at_userinfo_is_there_and_not_in_the_id_token_s5_5(app: App, browser: Browser) -> None:
    asked = claims(userinfo={"name": {"essential": True}})
    userinfo, id_token = await released(app, await browser.tokens(scope="openid", claims=asked))

    assert userinfo == {"sub": ALICE_ID, "name": "Alice Liddell"}
    assert "name" not in id_token


async def test_a_claim_asked_for_in_the_id_token_is_there_and_not_at_userinfo_s5_5(app: App, browser: Browser) -> None:
    asked = claims(id_token={"email": None, "auth_time": {"essential": True}})
    tokens = await browser.tokens(scope="openid", claims=asked)
    userinfo, id_token = await released(app, tokens)

    assert userinfo == {"sub": ALICE_ID}
    assert id_token["email"] == "alice@example.org"
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert decoded(refreshed["id_token"])[1]["email"] == "alice@example.org"


async def test_a_claim_is_released_only_with_the_value_asked_for_s5_5_1(app: App, browser: Browser) -> None:
    asked = claims(userinfo={"email": {"value": "bob@example.org"}, "name": {"values": ["Alice Liddell", "Bob"]}})
    userinfo, _ = await released(app, await browser.tokens(scope="openid", claims=asked))
    assert userinfo == {"sub": ALICE_ID, "name": "Alice Liddell"}


async def test_labs_may_be_asked_for_at_userinfo_and_never_reach_the_id_token(app: App, browser: Browser) -> None:
    asked = claims(userinfo={"groups": None}, id_token={"groups": None, "labs": None})
    userinfo, id_token = await released(app, await browser.tokens(scope="openid", claims=asked))
    assert userinfo["groups"] == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    assert not {"groups", "labs"} & id_token.keys()


async def test_a_client_gets_no_claim_of_a_scope_that_it_did_not_register(app: App, browser: Browser) -> None:
    asked = claims(userinfo={"email": {"essential": True}, "name": None}, id_token={"email": None})
    userinfo, id_token = await released(app, await browser.tokens("other", scope="openid", claims=asked))
    assert userinfo == {"sub": ALICE_ID, "name": "Alice Liddell"}
    assert "email" not in id_token


async def test_the_consent_page_shows_each_claim_with_its_value_and_remembers_it_s5_5(browser: Browser) -> None:
    asked = claims(userinfo={"email": None})
    login = await browser.request(scope="openid", claims=asked)
    page = await browser.sign_in(login)
    assert page.url.path == "/consent"
    assert "alice@example.org" in page.text.split("<form")[0]

    assert (await browser.finish(page)).error is None
    assert answer_of(await browser.request(scope="openid", claims=asked, prompt="none")).error is None
    more = claims(userinfo={"email": None, "phone_number": None})
    assert answer_of(await browser.request(scope="openid", claims=more, prompt="none")).error == "consent_required"


async def test_a_demanded_subject_is_answered_for_or_nobody_s5_5_1(browser: Browser) -> None:
    await browser.authorize()
    for value, error in ((ALICE_ID, None), (BOB_ID, "login_required")):
        asked = claims(id_token={"sub": {"value": value}})
        assert answer_of(await browser.request(prompt="none", claims=asked)).error == error

    login = await browser.request(claims=claims(id_token={"sub": {"value": BOB_ID}}))
    assert login.url.path == "/login"
    assert (await browser.finish(login, user=BOB)).error is None


async def test_an_essential_acr_that_cannot_be_reached_is_refused_a_voluntary_one_ignored_s5_5_1_1(
    browser: Browser,
) -> None:
    essential = claims(id_token={"acr": {"essential": True, "values": ["urn:mace:incommon:iap:silver"]}})
    assert (await browser.authorize(claims=essential)).error == "unmet_authentication_requirements"
    assert answer_of(await browser.request(claims=essential, prompt="none")).error == "interaction_required"

    reachable = claims(id_token={"acr": {"essential": True, "values": ["1"]}})
    assert decoded((await browser.tokens(claims=reachable))["id_token"])[1]["acr"] == "1"
    assert decoded((await browser.tokens(acr_values="silver 1"))["id_token"])[1]["acr"] == "1"


async def test_a_malformed_request_is_refused_by_redirect_s5_5(browser: Browser) -> None:
    for malformed in ("{", "[]", '{"userinfo": []}'):
        answer = answer_of(await browser.request(claims=malformed))
        assert (answer.error, answer.params["state"]) == ("invalid_request", "state-1")
