"""Introspection (RFC 7662) and revocation (RFC 7009)."""

from idp.domain.audit import AuditAction
from idp.domain.client import ClientAuthMethod
from tests.support.app import ALICE_ID, ISSUER, App, Browser, basic, decoded, secret_of


# ── Introspection ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_live_access_token_is_described_rfc7662_s2_2(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid profile"))["access_token"]
    claims = decoded(token)[1]

    answer = await app.introspect(token)

    expected = {name: claims[name] for name in ("iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti")}
    # And nothing about the person, whose name and address nobody gave to the caller.
    assert answer == {"active": True, "token_type": "Bearer", **expected}
    assert (answer["iss"], answer["sub"]) == (ISSUER, ALICE_ID)


async def test_a_live_refresh_token_is_described_and_a_used_one_is_inactive(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]
    assert (await app.introspect(token)).items() >= {"active": True, "client_id": "portal", "sub": ALICE_ID}.items()

    await app.refresh(token)

    assert await app.introspect(token) == {"active": False}


async def test_a_token_that_is_nobodys_or_another_clients_is_just_inactive_s2_2(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()

    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert await app.introspect(token, "robot") == {"active": False}
    for token in ("x", "x" * 5000, "ü", tokens["id_token"], tokens["access_token"] + "="):
        assert await app.introspect(token) == {"active": False}


async def test_an_expired_token_is_inactive(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]
    app.clock.advance(seconds=599)
    assert await app.is_alive(token)
    app.clock.advance(seconds=1)

    assert not await app.is_alive(token)


async def test_only_a_client_that_keeps_a_secret_may_ask_s2_1(app: App, browser: Browser) -> None:
    token, http = (await browser.tokens())["access_token"], app.http()

    for refused in (
        await http.post("/introspect", data={"token": token}),
        await http.post("/introspect", data={"token": token, "client_id": "portal"}),
        await http.post("/introspect", data={"token": token, "client_id": "spa"}),
        await http.post("/introspect", data={"token": token}, headers=basic("portal", "wrong")),
    ):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert "active" not in refused.json()


async def test_introspection_takes_posted_forms_with_one_token_only(app: App, browser: Browser) -> None:
    token, http = (await browser.tokens())["access_token"], app.http()
    auth = basic("portal", secret_of("portal"))
    form = {**auth, "Content-Type": "application/x-www-form-urlencoded"}

    assert (await http.get("/introspect", params={"token": token}, headers=auth)).status_code == 405
    for refused in (
        await http.post("/introspect", headers=form),
        await http.post("/introspect", content=f"token={token}&token={token}", headers=form),
        await http.post("/introspect", json={"token": token}, headers=auth),
    ):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert (await app.post("/introspect", "portal", token=token, token_type_hint="nonsense")).json()["active"]


async def test_labs_are_filtered_by_what_the_caller_may_see(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid groups"))["access_token"]
    await app.change("clients", ["portal"], allowed_labs=("chem",))

    assert (await app.introspect(token))["groups"] == ["chem:viewer"]


async def test_answers_are_not_kept_by_anybody(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]

    response = await app.post("/introspect", "portal", token=token)

    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


# ── Revocation ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_revoking_a_refresh_token_ends_its_grant_rfc7009_s2_1(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()

    response = await app.post("/revoke", "portal", token=tokens["refresh_token"])

    assert (response.status_code, response.content) == (200, b"")
    assert "content-type" not in response.headers  # oidc-client-ts refuses text/plain
    assert response.headers["cache-control"] == "no-store"
    assert not await app.is_alive(tokens["access_token"])
    assert (await app.userinfo(tokens["access_token"])).status_code == 401
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    async with app.store.read() as tx:
        actions = [event.action for event in await tx.audit_events.all()]
    assert actions.count(AuditAction.GRANT_REVOKED) == 1


async def test_revoking_an_access_token_ends_it_alone(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()

    await app.post("/revoke", "portal", token=tokens["access_token"])

    assert not await app.is_alive(tokens["access_token"])
    assert (await app.userinfo(tokens["access_token"])).status_code == 401
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_revoking_a_used_refresh_token_ends_its_successors_too(app: App, browser: Browser) -> None:
    first = await browser.tokens()
    second = (await app.refresh(first["refresh_token"])).json()

    await app.post("/revoke", "portal", token=first["refresh_token"])

    assert not await app.is_alive(second["access_token"])
    assert not await app.is_alive(second["refresh_token"])


async def test_another_clients_token_stays(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()

    for thief in ("other", "robot", "spa"):
        for token in (tokens["access_token"], tokens["refresh_token"]):
            assert (await app.post("/revoke", thief, token=token)).status_code == 200

    assert await app.is_alive(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_revoking_what_is_unknown_or_was_revoked_is_no_error_s2_2(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()

    for token in ("x", "ü" * 3000, tokens["refresh_token"], tokens["refresh_token"], tokens["access_token"]):
        assert (await app.post("/revoke", "portal", token=token)).status_code == 200
    assert (await app.post("/revoke", "portal", token="x", token_type_hint="nonsense")).status_code == 200


async def test_a_public_client_revokes_its_own_tokens(app: App, browser: Browser) -> None:
    tokens = await browser.tokens("spa")

    assert (await app.post("/revoke", "spa", token=tokens["refresh_token"])).status_code == 200

    assert (await app.userinfo(tokens["access_token"])).status_code == 401


async def test_revocation_needs_a_token_and_a_client_that_proves_itself(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["refresh_token"]

    missing = await app.post("/revoke", "portal")
    nobody = await app.http().post("/revoke", data={"token": token})
    wrong = await app.http().post("/revoke", data={"token": token}, headers=basic("portal", "wrong"))

    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")
    for refused in (nobody, wrong):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert await app.is_alive(token)


async def test_a_service_token_can_be_revoked(app: App) -> None:
    token = (await app.post("/token", "robot", grant_type="client_credentials")).json()["access_token"]

    await app.post("/revoke", "robot", token=token)

    assert not await app.is_alive(token, "robot")


async def test_a_client_that_became_public_may_introspect_no_more(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]
    await app.change("clients", ["portal"], token_endpoint_auth_method=ClientAuthMethod.NONE)

    refused = await app.http().post("/introspect", data={"client_id": "portal", "token": token})

    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
