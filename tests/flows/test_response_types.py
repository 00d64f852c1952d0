"""Implicit and hybrid flows in every response mode (OpenID Connect Core §3.2, §3.3; OAuth 2.0 Form Post)."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest

from idp.domain.client import GrantType
from idp.protocol.response_type import RESPONSE_TYPES
from tests.support.app import ALICE_ID, App, Browser, answer_of, decoded

NO_PKCE = {"code_challenge": None, "code_challenge_method": None}


def left_half(value: str) -> str:
    return urlsafe_b64encode(sha256(value.encode()).digest()[:16]).rstrip(b"=").decode()


async def parameters(browser: Browser, response_type: str, **changes: str | None) -> dict[str, str]:
    answer = await browser.authorize("hybrid", response_type=response_type, **changes)
    assert answer.error is None, answer.params
    return dict(answer.params)


@pytest.mark.parametrize("response_type", RESPONSE_TYPES)
async def test_each_response_type_gives_what_it_names_oauth_multiple_response_types_s5(
    browser: Browser, response_type: str
) -> None:
    params = await parameters(browser, response_type)

    words = set(response_type.split())
    expected = {
        "code": {"code"},
        "id_token": {"id_token"},
        "token": {"access_token", "token_type", "expires_in", "scope"},
    }
    assert params.keys() - {"session_state"} == {"state", "iss"}.union(*(expected[word] for word in words))
    assert (params["state"], params["iss"]) == ("state-1", browser.app.issuer)


@pytest.mark.parametrize("response_type", RESPONSE_TYPES[1:])
async def test_tokens_stand_in_the_fragment_with_nothing_in_the_query_oidc_core_s3_2_2_5(
    browser: Browser, response_type: str
) -> None:
    parts = urlsplit((await browser.authorize("hybrid", response_type=response_type)).location)
    assert parts.query == ""
    assert parts.fragment


@pytest.mark.parametrize("response_type", ["id_token", "id_token token", "code id_token", "code id_token token"])
async def test_an_id_token_from_here_is_bound_to_all_that_goes_with_it_oidc_core_s3_3_2_11(
    browser: Browser, response_type: str
) -> None:
    params = await parameters(browser, response_type)

    header, claims = decoded(params["id_token"])
    assert (header["alg"], claims["nonce"], claims["aud"]) == ("RS256", "nonce-1", "hybrid")
    assert claims["s_hash"] == left_half("state-1")
    assert claims.get("c_hash") == (left_half(params["code"]) if "code" in params else None)
    assert claims.get("at_hash") == (left_half(params["access_token"]) if "access_token" in params else None)


async def test_with_nothing_to_ask_userinfo_with_the_claims_of_the_scopes_are_in_the_id_token_oidc_core_s5_4(
    browser: Browser,
) -> None:
    alone = decoded((await parameters(browser, "id_token", scope="openid profile email"))["id_token"])[1]
    assert (alone["name"], alone["email"]) == ("Alice Liddell", "alice@example.org")

    for response_type in ("id_token token", "code id_token", "code id_token token"):
        params = await parameters(browser, response_type, scope="openid profile email")
        assert not {"name", "email"} & decoded(params["id_token"])[1].keys()


@pytest.mark.parametrize("response_type", ["code id_token", "code token", "code id_token token"])
async def test_the_code_of_a_hybrid_answer_gives_the_same_subject_oidc_core_s3_3_3_6(
    app: App, browser: Browser, response_type: str
) -> None:
    answer = await browser.authorize("hybrid", response_type=response_type)
    tokens = (await app.redeem(answer, "hybrid")).json()

    second = decoded(tokens["id_token"])[1]
    subjects = {second["sub"], (await app.userinfo(tokens["access_token"])).json()["sub"]}
    if "id_token" in answer.params:
        first = decoded(answer.params["id_token"])[1]
        subjects.add(first["sub"])
        assert (first["iss"], first["auth_time"], first["nonce"]) == (
            second["iss"],
            second["auth_time"],
            second["nonce"],
        )
    if "access_token" in answer.params:
        subjects.add((await app.userinfo(answer.params["access_token"])).json()["sub"])
    assert subjects == {ALICE_ID}


async def test_a_code_used_twice_ends_the_token_that_came_with_it_too_rfc6749_s4_1_2(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize("hybrid", response_type="code token")
    assert (await app.redeem(answer, "hybrid")).status_code == 200
    assert (await app.userinfo(answer.params["access_token"])).status_code == 200

    assert (await app.redeem(answer, "hybrid")).json()["error"] == "invalid_grant"

    assert (await app.userinfo(answer.params["access_token"])).status_code == 401


async def test_implicit_needs_no_pkce_and_gives_no_refresh_token_oidc_core_s3_2(browser: Browser) -> None:
    params = await parameters(browser, "id_token token", scope="openid offline_access", **NO_PKCE)
    assert params["scope"] == "openid"


async def test_pkce_counts_for_the_code_of_a_hybrid_answer_rfc7636_s4_6(app: App, browser: Browser) -> None:
    answer = await browser.authorize("hybrid", response_type="code id_token")
    assert (await app.redeem(answer, "hybrid", code_verifier=None)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("response_type", RESPONSE_TYPES[1:])
async def test_a_client_that_did_not_register_it_gets_no_implicit_answer(browser: Browser, response_type: str) -> None:
    answer = answer_of(await browser.request("portal", response_type=response_type))
    assert answer.error == "unauthorized_client"
    assert "?" not in answer.location


async def test_what_a_client_no_longer_registers_is_refused_while_its_user_signs_in(app: App, browser: Browser) -> None:
    page = await browser.request("hybrid", response_type="code id_token")
    await app.change("clients", ["hybrid"], response_types=("code",), grant_types=(GrantType.AUTHORIZATION_CODE,))

    answer = answer_of(await browser.sign_in(page))
    assert answer.error == "unauthorized_client"


# ── Response modes ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("response_type", RESPONSE_TYPES)
async def test_form_post_carries_everything_in_a_form_to_the_bare_redirect_uri_oauth_form_post_s2(
    app: App, browser: Browser, response_type: str
) -> None:
    answer = await browser.authorize("hybrid", response_type=response_type, response_mode="form_post")

    assert answer.location == "https://hybrid.example.org/callback"
    assert (answer.params["state"], answer.params["iss"]) == ("state-1", app.issuer)
    assert {word for word in ("code", "id_token") if word in answer.params} == set(response_type.split()) - {"token"}


async def test_refusals_take_the_mode_that_was_asked_for_too_oauth_form_post_s2(browser: Browser) -> None:
    posted = answer_of(await browser.request("hybrid", response_mode="form_post", prompt="none"))
    assert posted.location == "https://hybrid.example.org/callback"
    assert (posted.error, posted.params["state"]) == ("login_required", "state-1")

    fragment = answer_of(await browser.request("hybrid", response_mode="fragment", prompt="none"))
    assert urlsplit(fragment.location).query == ""
    assert fragment.error == "login_required"

    denied = await browser.authorize("hybrid", decision="deny", response_mode="form_post")
    assert denied.error == "access_denied"

    missing = answer_of(await browser.request("hybrid", response_mode="form_post", response_type=None))
    assert missing.error == "invalid_request"
    assert missing.location == "https://hybrid.example.org/callback"


async def test_hostile_values_in_the_form_stay_values_oauth_form_post_s4(app: App, browser: Browser) -> None:
    hostile = '"><script>alert(1)</script>\'&amp;<form action="https://evil.example">\r\n'
    await browser.sign_in()
    response = await browser.request("hybrid", response_mode="form_post", prompt="none", state=hostile)

    assert "<script>alert" not in response.text
    assert answer_of(response).params["state"].replace("\r\n", "\n") == hostile.replace("\r\n", "\n")
    assert "form-action" not in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"


async def test_the_code_flow_in_the_fragment_leaves_the_query_alone_oauth_multiple_response_types_s2_1(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize("hybrid", response_mode="fragment")
    assert urlsplit(answer.location).query == ""
    assert (await app.redeem(answer, "hybrid")).status_code == 200


async def test_a_request_by_post_may_ask_for_a_form_as_well_oidc_core_s3_1_2_1(app: App, browser: Browser) -> None:
    sent: dict[str, Any] = app.authorization_request("hybrid", response_type="code id_token", response_mode="form_post")
    answer = await browser.finish(await browser.follow(await browser.http.post("/authorize", data=sent)))
    assert (await app.redeem(answer, "hybrid")).status_code == 200
