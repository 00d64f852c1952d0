"""Consent: asked once per user, client and scope, remembered, and refused with a redirect."""

import asyncio

from idp.domain.audit import AuditAction
from tests.support.app import ALICE_ID, BOB, EVERY_SCOPE, ISSUER, App, Browser, Start, answer_of


async def test_the_page_shows_what_the_application_will_learn_with_the_values(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], client_name="<b>Portal</b>", client_uri="javascript:alert(1)")

    page = await browser.sign_in(await browser.request(scope=EVERY_SCOPE))

    assert page.url.path == "/consent"
    for shown in ("Alice Liddell", "alice@example.org", "Oxford", "+44 1865 000000", "Biology", "you are admin"):
        assert shown in page.text
    assert "portal.example.org" in page.text  # where the answer goes
    assert "&lt;b&gt;Portal&lt;/b&gt;" in page.text
    assert "javascript:" not in page.text


async def test_where_one_is_sent_back_to_is_never_what_a_private_use_scheme_pretends_rfc8252_s7_1(
    app: App, browser: Browser
) -> None:
    uri = "org.evil.app://accounts.google.com/callback"
    await app.change("clients", ["native"], redirect_uris=(uri,))
    asked = {"redirect_uri": uri, "scope": "openid"}

    posted = await browser.request("native", **asked, response_mode="form_post", prompt="none")
    page = await browser.sign_in(await browser.request("native", **asked))

    assert "Continue to <bdi>org.evil.app://…</bdi>" in posted.text
    assert "You will be sent back to <b><bdi>org.evil.app://…</bdi></b>" in page.text


async def test_only_new_scopes_are_asked_for(browser: Browser) -> None:
    await browser.authorize(scope="openid profile")

    assert answer_of(await browser.request(scope="openid profile")).error is None
    assert answer_of(await browser.request(scope="profile")).error is None
    assert (await browser.request(scope="openid email")).url.path == "/consent"
    await browser.authorize(scope="openid email")

    assert answer_of(await browser.request(scope="openid profile email")).error is None


async def test_consent_is_each_users_and_each_clients_own(app: App, browser: Browser) -> None:
    await browser.authorize("portal", scope="openid")

    assert (await browser.request("other", scope="openid")).url.path == "/consent"
    bobs = app.browser()
    await bobs.sign_in(user=BOB)
    assert (await bobs.request("portal", scope="openid")).url.path == "/consent"


async def test_a_denial_is_access_denied_with_state_and_iss_and_nothing_is_remembered(browser: Browser) -> None:
    answer = await browser.authorize(decision="deny")

    assert answer.error == "access_denied"
    assert (answer.params["state"], answer.params["iss"]) == ("state-1", ISSUER)
    assert "code" not in answer.params
    assert (await browser.request()).url.path == "/consent"


async def test_anything_but_allow_is_a_denial(browser: Browser) -> None:
    await browser.sign_in()

    for decision in ("", "Allow", "yes"):
        assert (await browser.authorize(decision=decision)).error == "access_denied"


async def test_a_denied_request_cannot_be_allowed_afterwards(browser: Browser) -> None:
    page = await browser.sign_in(await browser.request())
    await browser.submit(page, decision="deny")

    again = await browser.post(page, decision="allow")

    assert (again.status_code, "location" in again.headers) == (400, False)


async def test_a_trusted_client_skips_the_page(browser: Browser) -> None:
    response = await browser.sign_in(await browser.request("trusted", scope="openid offline_access"))

    assert answer_of(response).error is None


async def test_a_public_client_on_the_loopback_is_asked_each_time_rfc8252_s8_6(browser: Browser) -> None:
    await browser.authorize("native", scope="openid")
    assert (await browser.request("native", scope="openid")).url.path == "/consent"
    assert answer_of(await browser.request("native", scope="openid", prompt="none")).error == "consent_required"

    await browser.authorize("spa", scope="openid")
    assert answer_of(await browser.request("spa", scope="openid")).error is None


async def test_one_press_of_allow_gives_one_code_however_often_it_is_pressed(app: App, browser: Browser) -> None:
    page = await browser.sign_in(await browser.request())

    responses = await asyncio.gather(*(browser.post(page, decision="allow") for _ in range(4)))

    codes = [
        response for response in responses if response.status_code == 303 and "code=" in response.headers["location"]
    ]
    assert len(codes) == 1
    assert (await app.redeem(answer_of(codes[0]))).status_code == 200
    assert {response.status_code for response in responses} <= {303, 400}


async def test_one_denial_is_told_once_however_often_it_is_pressed(browser: Browser) -> None:
    page = await browser.sign_in(await browser.request())

    responses = await asyncio.gather(*(browser.post(page, decision="deny") for _ in range(4)))

    assert sorted(response.status_code for response in responses) == [303, 400, 400, 400]


async def test_a_scope_of_an_applications_own_is_shown_by_its_name(browser: Browser) -> None:
    page = await browser.sign_in(await browser.request("other", scope="openid data:read"))

    assert "data:read" in page.text


async def test_allow_pressed_in_several_tabs_at_once_works_in_each(app: App, browser: Browser) -> None:
    await browser.sign_in()
    pages = [await browser.request(scope=scope) for scope in ("openid", "openid email", "openid profile", "profile")]

    responses = await asyncio.gather(*(browser.post(page, decision="allow") for page in pages))

    for response in responses:
        assert (await app.redeem(answer_of(response))).status_code == 200
    async with app.store.read() as tx:
        consent = await tx.consents.get(ALICE_ID, "portal")
    assert set(consent.scopes) == {"openid", "email", "profile"}


async def test_allow_pressed_in_two_browsers_on_two_nodes_works_in_both(start: Start) -> None:
    nodes = [await start(), await start()]
    browsers = [node.browser() for node in nodes]
    pages = [await browser.sign_in(await browser.request()) for browser in browsers]

    responses = await asyncio.gather(
        *(browser.post(page, decision="allow") for browser, page in zip(browsers, pages, strict=True))
    )

    assert [answer_of(response).error for response in responses] == [None, None]


async def test_both_decisions_are_audited(app: App, browser: Browser) -> None:
    await browser.authorize(decision="deny")
    await browser.authorize(scope="openid")

    async with app.store.read() as tx:
        events = {event.action: event for event in await tx.audit_events.all()}
    denied, given = events[AuditAction.CONSENT_DENIED], events[AuditAction.CONSENT_GIVEN]
    assert (denied.actor, denied.target, denied.succeeded) == (ALICE_ID, "portal", False)
    assert (given.actor, given.target, given.detail) == (ALICE_ID, "portal", {"scopes": ["openid"], "labs": None})
