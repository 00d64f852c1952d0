"""Consent is to what was shown, by whom it was shown to, and holds for nothing more (OpenID Connect Core §3.1.2.4)."""

import asyncio
import json
from typing import Any

import pytest

from idp.services.authorization_answer import AuthorizationAnswer
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, answer_of, decoded
from tests.support.factories import make_resource


async def subject(app: App, answer: Any) -> str:
    return str(decoded((await app.redeem(answer)).json()["id_token"])[1]["sub"])


async def both(browser: Browser) -> None:
    """Sign Alice in, and then Bob beside her, who is the active one."""
    await browser.sign_in()
    await browser.sign_in(await browser.get("/login?add=1"), user=BOB)


async def test_a_later_registration_adds_nothing_to_what_was_asked_for_by_name(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], scope="openid email")
    asked = json.dumps({"userinfo": {"name": None, "email": None}, "id_token": {"name": None}})
    tokens = await browser.tokens(scope="openid", claims=asked)
    await app.change("clients", ["portal"], scope="openid email profile")

    assert (await app.userinfo(tokens["access_token"])).json().keys() == {"sub", "email"}
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert "name" not in decoded(refreshed["id_token"])[1]
    assert (await app.userinfo(refreshed["access_token"])).json().keys() == {"sub", "email"}


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "openid profile"},
        {"client_name": "Your Bank"},
        {"redirect_uris": ("https://evil.example/callback",)},
    ],
)
async def test_what_changed_while_the_page_was_open_is_shown_before_it_counts(
    app: App, browser: Browser, changes: dict[str, Any]
) -> None:
    await app.change("clients", ["portal"], scope="openid")
    consent = await browser.sign_in(await browser.request(scope="openid profile", redirect_uri=None))
    await app.change("clients", ["portal"], **changes)

    again = await browser.post(consent, decision="allow")

    assert (again.status_code, "location" in again.headers) == (409, False)
    assert "Something changed" in again.text
    async with app.store.read() as tx:
        assert await tx.consents.all() == []
    assert (await browser.finish(await browser.submit(again, decision="allow"))).error is None


async def test_the_page_of_one_account_does_not_decide_for_another(app: App, browser: Browser) -> None:
    await both(browser)
    page = await browser.request()
    # In another tab Alice is chosen for the same request, though Bob stays the active account.
    handle = page.url.params["interaction"]
    async with app.store.read() as tx:
        (alices,) = [session for session in await tx.sessions.all() if session.user_id == ALICE_ID]
        (interaction,) = await tx.interactions.all()
    async with app.store.write() as tx:
        await tx.interactions.select_session(interaction.hash, session_id=alices.id)

    again = await browser.post(page, decision="allow")

    assert (again.status_code, ALICE in again.text) == (409, True)
    assert await subject(app, answer_of(await browser.submit(again, decision="allow"))) == ALICE_ID
    assert handle


async def test_consent_is_taken_although_no_account_is_the_active_one(app: App, browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    await browser.sign_in(await browser.get("/login?add=1"), user=BOB)
    # Bob, the active one, signs out: Alice is still there, and nobody is active.
    async with app.store.read() as tx:
        (bobs,) = [session for session in await tx.sessions.all() if session.user_id == BOB_ID]
    listed = await browser.get("/select-account")
    await browser.http.post(
        "/select-account", data={"csrf": _csrf(listed), "sign_out": bobs.id}, headers={"Origin": app.issuer}
    )

    for decision, error in (("deny", "access_denied"), ("allow", None)):
        page = await browser.request(id_token_hint=hint, prompt="consent")
        assert page.url.path == "/consent"
        answer = answer_of(await browser.submit(page, decision=decision))
        assert answer.error == error
    assert await subject(app, answer) == ALICE_ID


def _csrf(page: Any) -> str:
    return str(page.text.split('name="csrf" value="')[1].split('"')[0])


async def test_who_signs_in_after_an_account_was_chosen_is_the_one_who_is_answered_for(
    app: App, browser: Browser
) -> None:
    await browser.sign_in()
    page = await browser.request(prompt="select_account login")
    sid = page.text.split('name="account" value="')[1].split('"')[0]
    login = await browser.follow(
        await browser.http.post(
            page.url.path + "?" + page.url.query.decode(),
            data={"csrf": _csrf(page), "account": sid},
            headers={"Origin": app.issuer},
        )
    )
    assert login.url.path == "/login"

    assert await subject(app, await browser.finish(await browser.sign_in(login, user=BOB))) == BOB_ID


# ── At the same moment ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("what", ["sign-out", "withdrawal"])
async def test_an_answer_that_is_given_while_the_user_means_otherwise_gives_nothing(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await browser.authorize("hybrid", scope="openid offline_access")
    app.clock.advance(seconds=1)
    signing, meanwhile = asyncio.Event(), asyncio.Event()
    issue = AuthorizationAnswer._issue

    async def slowly(self: AuthorizationAnswer, *arguments: Any) -> Any:
        issued = await issue(self, *arguments)
        signing.set()
        await meanwhile.wait()
        return issued

    monkeypatch.setattr(AuthorizationAnswer, "_issue", slowly)
    sent = app.authorization_request("hybrid", response_type="code token", scope="openid offline_access")
    answering = asyncio.create_task(browser.http.get("/authorize", params=sent))
    await signing.wait()
    if what == "sign-out":
        other_tab = app.browser()
        other_tab.http.cookies = browser.http.cookies
        await other_tab.submit(await other_tab.get("/logout"))
    else:
        await app.services["applications"].withdraw(ALICE_ID, "hybrid")
    meanwhile.set()

    answer = answer_of(await answering)
    assert answer.error == {"sign-out": "login_required", "withdrawal": "access_denied"}[what]
    async with app.store.read() as tx:
        grants = [grant for grant in await tx.grants.all() if grant.client_id == "hybrid"]
        assert len(grants) == 2
        # Of the two the earlier one is offline, and outlives a sign-out.
        assert [grant.revoked_at is None for grant in sorted(grants, key=lambda grant: grant.created_at)][-1] is False


# ── APIs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_consent_names_the_api_and_counts_for_no_other_rfc8707_s3(app: App, browser: Browser) -> None:
    for audience, name in (("https://data.example.org", "Data Store"), ("https://jobs.example.org", "Job Queue")):
        await app.store.commit.append(_resource(audience, name))
    page = await browser.sign_in(
        await browser.request("hybrid", scope="openid data:read", resource="https://data.example.org")
    )
    assert "Act for you at Data Store" in page.text
    assert (await browser.finish(page)).error is None

    same = await browser.request("hybrid", scope="data:read", resource="https://data.example.org", prompt="none")
    assert answer_of(same).error is None
    other = await browser.request("hybrid", scope="data:read", resource="https://jobs.example.org", prompt="none")
    assert answer_of(other).error == "consent_required"


def _resource(audience: str, name: str) -> Any:
    return make_resource(audience=audience, name=name)


async def test_an_api_reads_of_a_token_no_lab_that_its_client_may_not_see(app: App, browser: Browser) -> None:
    await app.store.commit.append(make_resource(client_id="portal", scopes=("data:read",)))
    await app.change("clients", ["other"], allowed_labs=("bio",))
    tokens = await browser.tokens("other", scope="labs data:read", resource="https://data.example.org")

    read = await app.introspect(tokens["access_token"], "portal")

    assert [lab["slug"] for lab in read["labs"]] == ["bio"]
