"""Refreshing (RFC 6749 §6, RFC 9700 §4.14.2): idempotent for five tabs, deadly for a thief."""

import asyncio
from typing import Any

from idp.domain.audit import AuditAction
from idp.domain.client import ClientStatus, GrantType
from idp.domain.user import UserStatus
from tests.support.app import ALICE_ID, App, Browser, Start, decoded

OFFLINE = "openid profile offline_access"


async def test_a_refresh_gives_a_new_access_token_and_a_successor(app: App, browser: Browser) -> None:
    first = await browser.tokens()
    app.clock.advance(seconds=900)

    second = (await app.refresh(first["refresh_token"])).json()

    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    assert not await app.is_alive(first["refresh_token"])
    assert await app.is_alive(second["refresh_token"])
    before, after = decoded(first["id_token"])[1], decoded(second["id_token"])[1]
    kept = {"iss", "sub", "aud", "auth_time", "acr", "amr", "sid"}
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert after["iat"] == before["iat"] + 900
    assert "nonce" not in after  # OpenID Connect Core §12.2


async def test_five_tabs_that_refresh_at_once_all_get_the_same_successor(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]

    responses = await asyncio.gather(*(app.refresh(token) for _ in range(5)))

    assert [response.status_code for response in responses] == [200] * 5
    assert len({response.json()["refresh_token"] for response in responses}) == 1
    assert len({response.json()["access_token"] for response in responses}) == 5
    for response in responses:
        assert await app.is_alive(response.json()["access_token"])


async def test_five_tabs_on_two_nodes_all_get_the_same_successor(start: Start) -> None:
    nodes = [await start(), await start()]
    token = (await nodes[0].browser().tokens())["refresh_token"]

    responses = await asyncio.gather(*(nodes[number % 2].refresh(token) for number in range(6)))

    assert [response.status_code for response in responses] == [200] * 6
    assert len({response.json()["refresh_token"] for response in responses}) == 1


async def test_a_retry_within_the_grace_gets_the_same_successor(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]
    first = (await app.refresh(token)).json()
    app.clock.advance(seconds=10)

    assert (await app.refresh(token)).json()["refresh_token"] == first["refresh_token"]


async def test_the_grace_counts_from_the_first_use_and_after_it_a_replay_revokes_everything(
    app: App, browser: Browser
) -> None:
    token = (await browser.tokens())["refresh_token"]
    first = (await app.refresh(token)).json()
    app.clock.advance(seconds=8)
    assert (await app.refresh(token)).status_code == 200
    app.clock.advance(seconds=3)

    replayed = await app.refresh(token)

    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    await nothing_lives(app, first)
    async with app.store.read() as tx:
        actions = [event.action for event in await tx.audit_events.all()]
    assert actions.count(AuditAction.REFRESH_TOKEN_REPLAYED) == 1


async def test_a_token_whose_successor_was_used_is_a_replay_even_within_the_grace(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]
    second = (await app.refresh(token)).json()
    third = (await app.refresh(second["refresh_token"])).json()

    assert (await app.refresh(token)).json()["error"] == "invalid_grant"

    await nothing_lives(app, third)


async def nothing_lives(app: App, tokens: dict[str, Any]) -> None:
    assert not await app.is_alive(tokens["access_token"])
    assert not await app.is_alive(tokens["refresh_token"])
    assert (await app.userinfo(tokens["access_token"])).status_code == 401
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_another_clients_refresh_token_is_refused_and_stays_good(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]

    for thief in ("other", "spa", "native"):
        refused = await app.refresh(token, thief)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")

    assert (await app.refresh(token)).status_code == 200


async def test_a_scope_may_be_narrowed_for_one_access_token_rfc6749_s6(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid profile email"))["refresh_token"]

    narrow = (await app.refresh(token, scope="email")).json()
    wide_again = (await app.refresh(narrow["refresh_token"])).json()

    assert (narrow["scope"], "id_token" in narrow) == ("email", False)
    assert wide_again["scope"] == "openid profile email"


async def test_a_wider_scope_is_refused_and_the_token_stays_good_rfc6749_s6(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid profile"))["refresh_token"]

    for scope in ("openid profile email", "email", "labs", 'a"b'):
        refused = await app.refresh(token, scope=scope)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope"), scope

    assert (await app.refresh(token)).status_code == 200


async def test_a_disabled_account_refreshes_no_more_until_it_is_enabled(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()
    await app.change("users", [ALICE_ID], status=UserStatus.DISABLED)

    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert not await app.is_alive(tokens["access_token"])
    assert (await app.userinfo(tokens["access_token"])).status_code == 401

    await app.change("users", [ALICE_ID], status=UserStatus.ACTIVE)
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_client_that_may_refresh_no_more_or_was_disabled_gets_nothing(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]
    await app.change("clients", ["portal"], grant_types=(GrantType.AUTHORIZATION_CODE,))
    assert (await app.refresh(token)).json()["error"] == "unauthorized_client"

    await app.change("clients", ["portal"], grant_types=tuple(GrantType), status=ClientStatus.DISABLED)
    assert (await app.refresh(token)).json()["error"] == "invalid_client"


async def test_whoever_left_a_lab_loses_its_claim_at_the_next_refresh(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid labs groups")
    assert decoded(tokens["access_token"])[1]["groups"] == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)

    refreshed = (await app.refresh(tokens["refresh_token"])).json()

    assert decoded(refreshed["access_token"])[1]["groups"] == ["chem:viewer"]
    assert [lab["slug"] for lab in decoded(refreshed["access_token"])[1]["labs"]] == ["chem"]


async def test_a_membership_that_ends_is_released_until_its_end_and_not_after(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid groups offline_access")
    app.clock.advance(seconds=3 * 86400)  # chem ended seconds ago

    refreshed = (await app.refresh(tokens["refresh_token"])).json()

    assert decoded(refreshed["access_token"])[1]["groups"] == ["bio:admin", "bio:member", "bio:viewer"]


# ── How long it lives ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_without_offline_access_it_dies_at_the_logout(app: App, browser: Browser) -> None:
    online = await browser.tokens(scope="openid profile")
    offline = await browser.tokens(scope=OFFLINE)

    await browser.submit(await browser.get("/logout"))

    await nothing_lives(app, online)
    assert (await app.refresh(offline["refresh_token"])).status_code == 200
    assert await app.is_alive(offline["access_token"])


async def test_it_outlives_that_somebody_else_signs_in_beside_and_dies_when_both_sign_out(
    app: App, browser: Browser
) -> None:
    online = await browser.tokens()

    await browser.sign_in(await browser.request(prompt="login"), user="bob@example.org")
    refreshed = (await app.refresh(online["refresh_token"])).json()

    await browser.submit(await browser.get("/logout"))
    await nothing_lives(app, online | refreshed)


async def test_signing_in_again_as_oneself_keeps_it_alive(app: App, browser: Browser) -> None:
    online = await browser.tokens()

    again = await browser.tokens(prompt="login")

    assert decoded(again["id_token"])[1]["sid"] == decoded(online["id_token"])[1]["sid"]
    assert (await app.refresh(online["refresh_token"])).status_code == 200


async def test_without_offline_access_it_ends_with_the_session(start: Start) -> None:
    app = await start(session_ttl_seconds="36000", session_idle_seconds="36000", refresh_token_ttl_seconds="864000")
    browser = app.browser()
    online = await browser.tokens(scope="openid profile")
    offline = await browser.tokens(scope=OFFLINE)
    app.clock.advance(seconds=35_990)
    late = (await app.refresh(online["refresh_token"])).json()
    # The access token ends with it, too.
    assert late["expires_in"] < 10

    app.clock.advance(seconds=10)

    await nothing_lives(app, late)
    assert (await app.refresh(offline["refresh_token"])).status_code == 200


async def test_offline_access_lives_for_as_long_as_it_is_used(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope=OFFLINE))["refresh_token"]
    for _ in range(4):
        app.clock.advance(seconds=29 * 86400)
        token = (await app.refresh(token)).json()["refresh_token"]

    app.clock.advance(seconds=30 * 86400)

    assert (await app.refresh(token)).json()["error"] == "invalid_grant"


async def test_offline_access_needs_consent_even_when_the_rest_is_remembered(browser: Browser) -> None:
    await browser.authorize(scope="openid profile")

    assert (await browser.request(scope=OFFLINE)).url.path == "/consent"


async def test_a_client_that_cannot_refresh_gets_no_refresh_token_and_no_offline_access(
    app: App, browser: Browser
) -> None:
    tokens = await browser.tokens("legacy", scope="openid offline_access")

    assert "refresh_token" not in tokens
    assert tokens["scope"] == "openid"


async def test_what_was_never_a_refresh_token_is_refused(app: App) -> None:
    for token in ("", "x", "x" * 4000, "ü"):
        response = await app.refresh(token)

        assert response.status_code == 400
        assert response.json()["error"] == ("invalid_grant" if token else "invalid_request")


async def test_a_scope_that_was_taken_from_the_client_is_gone_from_what_was_granted_before(
    app: App, browser: Browser
) -> None:
    tokens = await browser.tokens(scope="openid profile email")
    await app.change("clients", ["portal"], scope="openid profile")
    app.clock.advance(seconds=6)

    assert "email" not in (await app.userinfo(tokens["access_token"])).json()
    assert (await app.introspect(tokens["access_token"]))["scope"] == "openid profile"
    assert (await app.refresh(tokens["refresh_token"])).json()["scope"] == "openid profile"
