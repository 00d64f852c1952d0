"""The authorization code flow with PKCE, from the application's link to its tokens."""

import asyncio
import string

import pytest
from sqlalchemy import select

from idp.crypto.jose import verify
from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from idp.store.columns import metadata
from tests.support.app import (
    ALICE,
    ALICE_ID,
    CHALLENGE,
    ISSUER,
    PASSWORD,
    VERIFIER,
    App,
    Browser,
    Start,
    decoded,
    secret_of,
)


async def test_a_code_with_pkce_becomes_tokens_that_everybody_can_verify(app: App, browser: Browser) -> None:
    answer = await browser.authorize(scope="openid profile email")

    assert answer.location.startswith("https://portal.example.org/callback?")
    assert answer.params.keys() == {"code", "state", "iss", "session_state"}
    assert (answer.params["state"], answer.params["iss"]) == ("state-1", ISSUER)
    response = await app.redeem(answer)
    tokens = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
    assert tokens["scope"] == "openid profile email"
    keys = (await app.http().get("/jwks")).json()["keys"]
    signed_in_at = int(app.clock().timestamp()) - 1  # a second before the consent
    common = {"iss": ISSUER, "sub": ALICE_ID, "auth_time": signed_in_at, "acr": "1", "amr": ["pwd"]}
    common |= {"iat": int(app.clock().timestamp()), "exp": int(app.clock().timestamp()) + 600}
    id_token = verify(tokens["id_token"], keys, algorithms=["RS256"])
    its_own = {name: id_token.claims[name] for name in ("sid", "at_hash")}
    # Scope claims live in userinfo (OpenID Connect Core §5.4).
    assert id_token.claims == common | its_own | {"aud": "portal", "nonce": "nonce-1"}
    assert id_token.header["typ"] == "JWT"
    access_token = verify(tokens["access_token"], keys, algorithms=["RS256"])
    its_own = {"jti": access_token.claims["jti"], "scope": "openid profile email"}
    assert access_token.claims == common | its_own | {"aud": ISSUER, "client_id": "portal"}
    assert access_token.header["typ"] == "at+jwt"  # RFC 9068 §2.1
    userinfo = (await app.userinfo(tokens["access_token"])).json()
    assert userinfo.items() >= {"sub": ALICE_ID, "name": "Alice Liddell", "email": ALICE}.items()


async def test_codes_and_refresh_tokens_carry_256_bits_that_url_and_form_take_as_they_are(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize()
    refresh_token = (await app.redeem(answer)).json()["refresh_token"]

    for secret in (answer.code, refresh_token):
        assert len(secret) >= 43
        assert set(secret) <= set(string.ascii_letters + string.digits + "-_")


async def test_nothing_that_opens_anything_is_stored_as_it_is(app: App, browser: Browser) -> None:
    page = await browser.request()
    handle = page.url.params["interaction"]
    answer = await browser.finish(page)
    tokens = (await app.redeem(answer)).json()
    successor = (await app.refresh(tokens["refresh_token"])).json()["refresh_token"]
    opening = [handle, answer.code, tokens["access_token"], tokens["refresh_token"], successor, PASSWORD]
    opening += [secret_of("portal"), *browser.cookies.values()]

    async with app.store.database.read() as connection:
        rows = {table.name: (await connection.execute(select(table))).all() for table in metadata.sorted_tables}

    # What was sent is stored: otherwise this could not find anything.
    assert "state-1" in str(rows["interactions"])
    stored = str(rows)
    assert not [number for number, secret in enumerate(opening) if secret in stored]


async def test_a_post_to_the_authorization_endpoint_goes_on_with_a_303_to_a_get_oidc_core_s3_1_2_1(
    app: App, browser: Browser
) -> None:
    await browser.sign_in()
    # It comes from another site: no cookie of ours, a foreign Origin.
    foreign = {"Origin": "https://portal.example.org", "Sec-Fetch-Site": "cross-site"}
    posted = await app.http().post("/authorize", data=app.authorization_request(), headers=foreign)
    assert posted.status_code == 303
    assert posted.headers["location"].startswith("/authorize/resume?interaction=")

    answer = await browser.finish(await browser.get(posted.headers["location"]))

    assert answer.params["state"] == "state-1"
    assert (await app.redeem(answer)).status_code == 200


@pytest.mark.parametrize("nonce", ["n" * 64, "n" * 384, 'quote " and ü and &='])
async def test_the_nonce_is_echoed_exactly_oidc_core_s3_1_2_1(app: App, browser: Browser, nonce: str) -> None:
    tokens = await browser.tokens(nonce=nonce)

    assert decoded(tokens["id_token"])[1]["nonce"] == nonce


async def test_no_nonce_is_invented(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(nonce=None)

    assert "nonce" not in decoded(tokens["id_token"])[1]


@pytest.mark.parametrize("state", ["s" * 600, "a b+c%20&d=e;ü'\"<>", None])
async def test_the_state_comes_back_unchanged_rfc6749_s4_1_2(browser: Browser, state: str | None) -> None:
    answer = await browser.authorize(state=state)

    assert answer.params.get("state") == state


async def test_a_query_in_the_registered_redirect_uri_is_kept_rfc6749_s3_1_2(app: App, browser: Browser) -> None:
    answer = await browser.authorize("legacy", scope="openid")

    assert answer.location.startswith("https://legacy.example.org/callback?tenant=1&code=")
    assert (await app.redeem(answer, "legacy")).status_code == 200


async def test_an_oauth_request_without_openid_gets_no_id_token(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="profile")

    assert "id_token" not in tokens
    assert tokens["scope"] == "profile"


async def test_the_token_response_states_a_scope_that_was_reduced_rfc6749_s3_3(app: App, browser: Browser) -> None:
    tokens = await browser.tokens("spa", scope="openid email profile nonsense")

    assert tokens["scope"] == "openid profile"


async def test_eight_redemptions_of_one_code_at_once_give_one_answer_and_in_the_end_nothing(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize()

    responses = await asyncio.gather(*(app.redeem(answer) for _ in range(8)))

    won = [response for response in responses if response.status_code == 200]
    assert len(won) == 1
    assert {response.json()["error"] for response in responses if response not in won} == {"invalid_grant"}
    # The other seven are replays: whoever they are, what the first one got is not safe any more.
    assert not await app.is_alive(won[0].json()["access_token"])
    assert not await app.is_alive(won[0].json()["refresh_token"])
    assert (await app.userinfo(won[0].json()["access_token"])).status_code == 401


async def test_eight_redemptions_on_two_nodes_give_one_answer(start: Start) -> None:
    nodes = [await start(), await start()]
    answer = await nodes[0].browser().authorize()

    responses = await asyncio.gather(*(nodes[number % 2].redeem(answer) for number in range(8)))

    (won,) = [response.json() for response in responses if response.status_code == 200]
    assert not await nodes[1].is_alive(won["access_token"])


async def test_a_code_used_twice_revokes_what_the_first_use_gave_rfc6749_s4_1_2(app: App, browser: Browser) -> None:
    answer = await browser.authorize()
    tokens = (await app.redeem(answer)).json()
    app.clock.advance(seconds=30)

    replayed = await app.redeem(answer)

    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    assert not await app.is_alive(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    async with app.store.read() as tx:
        (event,) = [event for event in await tx.audit_events.all() if event.action is AuditAction.CODE_REPLAYED]
    assert (event.actor, event.succeeded) == ("portal", False)


async def test_a_replay_after_the_sign_out_still_ends_what_was_meant_to_outlive_the_session(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize(scope="openid offline_access")
    tokens = (await app.redeem(answer)).json()
    await browser.submit(await browser.get("/logout"))
    assert (await app.introspect(tokens["refresh_token"]))["active"]

    assert (await app.redeem(answer)).status_code == 400

    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_code_used_again_long_after_it_expired_still_counts_as_a_replay(app: App, browser: Browser) -> None:
    answer = await browser.authorize()
    tokens = (await app.redeem(answer)).json()
    app.clock.advance(seconds=500)

    assert (await app.redeem(answer)).status_code == 400

    assert not await app.is_alive(tokens["access_token"])


@pytest.mark.parametrize(("age", "status"), [(59, 200), (60, 400)])
async def test_a_code_lives_for_a_minute(app: App, browser: Browser, age: int, status: int) -> None:
    answer = await browser.authorize()
    app.clock.advance(seconds=age)

    assert (await app.redeem(answer)).status_code == status


async def test_another_clients_code_is_refused_and_stays_good_for_its_own_client(app: App, browser: Browser) -> None:
    answer = await browser.authorize()

    stolen = await app.redeem(answer, "other", redirect_uri="https://portal.example.org/callback")

    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert (await app.redeem(answer)).status_code == 200


async def test_the_redirect_uri_must_be_the_same_at_the_token_endpoint_rfc6749_s4_1_3(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize()
    registered = "https://portal.example.org/callback"

    for redirect_uri in (None, "", f"{registered}/", f"{registered}?x=1", "https://evil.example"):
        refused = await app.redeem(answer, redirect_uri=redirect_uri)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant"), redirect_uri

    assert (await app.redeem(answer)).status_code == 200


async def test_a_redirect_uri_that_was_omitted_is_not_asked_for_later(app: App, browser: Browser) -> None:
    answer = await browser.authorize(redirect_uri=None)

    assert answer.location.startswith("https://portal.example.org/callback?")
    assert (await app.redeem(answer, redirect_uri=None)).status_code == 200


async def test_a_wrong_or_missing_verifier_gets_nothing_rfc7636_s4_6(app: App, browser: Browser) -> None:
    answer = await browser.authorize()

    for code_verifier in (None, "", "x" * 43, VERIFIER[:-1], VERIFIER + "x", CHALLENGE, "ü" * 50):
        refused = await app.redeem(answer, code_verifier=code_verifier)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant"), code_verifier

    assert (await app.redeem(answer)).status_code == 200


async def test_a_verifier_without_a_challenge_is_refused_rfc9700_s4_8_2(app: App, browser: Browser) -> None:
    answer = await browser.authorize("legacy", scope="openid", code_challenge=None, code_challenge_method=None)

    assert (await app.redeem(answer, "legacy")).json()["error"] == "invalid_grant"
    assert (await app.redeem(answer, "legacy", code_verifier=None)).status_code == 200


async def test_a_public_client_redeems_with_its_verifier_alone_and_only_its_own_codes(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize("spa")

    assert (await app.redeem(answer, "native")).json()["error"] == "invalid_grant"
    assert (await app.redeem(answer, "spa")).status_code == 200


async def test_a_native_application_may_listen_on_any_port_of_the_loopback_rfc8252_s7_3(
    app: App, browser: Browser
) -> None:
    redirect_uri = "http://127.0.0.1:51515/callback"
    answer = await browser.authorize("native", redirect_uri=redirect_uri, scope="openid")

    assert answer.location.startswith(f"{redirect_uri}?code=")
    assert (await app.redeem(answer, "native", redirect_uri="http://127.0.0.1:51516/callback")).status_code == 400
    assert (await app.redeem(answer, "native", redirect_uri=redirect_uri)).status_code == 200


async def test_a_code_dies_with_the_account_and_with_the_session(app: App, browser: Browser) -> None:
    of_disabled = await browser.authorize()
    await app.change("users", [ALICE_ID], status=UserStatus.DISABLED)
    assert (await app.redeem(of_disabled)).json()["error"] == "invalid_grant"
    await app.change("users", [ALICE_ID], status=UserStatus.ACTIVE)

    of_signed_out = await browser.authorize()
    await browser.submit(await browser.get("/logout"))

    assert (await app.redeem(of_signed_out)).json()["error"] == "invalid_grant"


async def test_what_was_never_a_code_is_refused(app: App) -> None:
    for code in ("", "x", "x" * 4000, "ü"):
        response = await app.post("/token", "portal", grant_type="authorization_code", code=code)

        assert response.json()["error"] == ("invalid_grant" if code else "invalid_request")
