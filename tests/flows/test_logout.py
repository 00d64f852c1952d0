"""Signing out (OpenID Connect RP-Initiated Logout 1.0)."""

from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.client import ClientStatus, SubjectType
from idp.domain.signing_key import SigningAlgorithm
from tests.support.app import ALICE, ALICE_ID, BOB, App, Browser, answer_of, decoded, form_of

BYE = "https://portal.example.org/bye"


async def is_signed_in(browser: Browser) -> bool:
    params = browser.app.authorization_request(prompt="none", scope="openid profile")
    return answer_of(await browser.http.get("/authorize", params=params)).error != "login_required"


async def logout(browser: Browser, method: str, **params: str) -> httpx2.Response:
    """Ask for the logout as an application does, which sends no cookie of ours along with its POST."""
    if method == "GET":
        return await browser.get("/logout", **params)
    headers = {"Origin": "https://portal.example.org", "Sec-Fetch-Site": "cross-site"}
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    posted = await browser.app.http().post("/logout", content=urlencode(params), headers=headers)
    return await browser.follow(posted)


def asks(response: httpx2.Response) -> bool:
    return response.status_code == 200 and "Sign out?" in response.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_hint_of_this_session_signs_out_at_once_and_leads_back_with_exactly_the_state_s2(
    app: App, browser: Browser, method: str
) -> None:
    tokens = await browser.tokens()
    state = "s ü&=+%20" + "x" * 300

    answer = answer_of(
        await logout(browser, method, id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE, state=state)
    )

    assert answer.location.startswith(f"{BYE}?state=")
    assert answer.params == {"state": state}
    assert not await is_signed_in(browser)
    assert "idp" not in browser.cookies
    async with app.store.read() as tx:
        (event,) = [event for event in await tx.audit_events.all() if event.action is AuditAction.LOGOUT]
    assert (event.actor, event.target) == (ALICE_ID, decoded(tokens["id_token"])[1]["sid"])


async def test_without_state_and_with_a_query_the_uri_is_kept_as_it_is_registered(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    plain = await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=BYE)
    assert plain.headers["location"] == BYE

    hint = (await browser.tokens())["id_token"]
    uri = "https://portal.example.org/?after=logout"
    with_query = await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=uri, state="s")
    assert with_query.headers["location"] == f"{uri}&state=s"


async def test_a_hint_alone_signs_out_and_shows_a_page(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]

    page = await logout(browser, "GET", id_token_hint=hint)

    assert (page.status_code, "You are signed out" in page.text) == (200, True)
    assert not await is_signed_in(browser)


async def test_an_expired_hint_counts(app: App, browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    app.clock.advance(seconds=7200)

    response = await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=BYE)

    assert response.headers["location"] == BYE
    assert not await is_signed_in(browser)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_a_hint_the_person_is_asked_and_stays_here(browser: Browser, method: str) -> None:
    for params in ({}, {"client_id": "portal"}, {"client_id": "portal", "post_logout_redirect_uri": BYE, "state": "s"}):
        await browser.tokens()
        page = await logout(browser, method, **params)
        assert asks(page)
        assert await is_signed_in(browser)

        done = await browser.submit(page)

        assert (done.status_code, "You are signed out" in done.text) == (200, True)
        assert not await is_signed_in(browser)


async def test_a_hint_of_another_session_or_another_person_asks_and_leads_nowhere(app: App, browser: Browser) -> None:
    of_other_session = (await app.browser().tokens())["id_token"]
    of_bob = (await app.browser().tokens(user=BOB))["id_token"]
    await browser.tokens()

    for hint in (of_other_session, of_bob):
        page = await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=BYE)
        assert asks(page)
        assert await is_signed_in(browser)
    done = await browser.submit(page)

    assert (done.status_code, "location" in done.headers) == (200, False)
    assert not await is_signed_in(browser)


async def test_a_hint_that_is_unsigned_foreign_or_no_id_token_is_a_page_and_ends_nothing(
    app: App, browser: Browser
) -> None:
    tokens = await browser.tokens()
    header, claims, signature = tokens["id_token"].split(".")
    signer = await app.services["signing_keys"].signer(SigningAlgorithm.RS256)
    foreign: dict[str, Any] = {**decoded(tokens["id_token"])[1], "iss": "https://evil.example"}

    for hint in (
        f"eyJhbGciOiJub25lIn0.{claims}.",
        f"eyJhbGciOiJub25lIn0.{claims}.{signature}",
        f"{header}.{claims}.{'A' * len(signature)}",
        tokens["access_token"],
        signer.sign(foreign, typ="JWT"),
        "garbage",
    ):
        for method in ("GET", "POST"):
            response = await logout(browser, method, id_token_hint=hint, post_logout_redirect_uri=BYE)
            assert (response.status_code, "location" in response.headers) == (400, False)
    assert await is_signed_in(browser)


async def test_a_uri_that_is_not_exactly_registered_is_a_page_and_ends_nothing(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]

    for uri in (
        BYE + "/",
        BYE + "?x=1",
        BYE + "#f",
        "https://portal.example.org:443/bye",
        "https://PORTAL.example.org/bye",
        "https://spa.example.org/",
        "https://evil.example/",
        "//evil.example",
        "javascript:alert(1)",
        "/login",
        BYE + "\r\nX-Injected: 1",
    ):
        response = await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=uri)
        assert (response.status_code, "location" in response.headers) == (400, False), uri
    assert await is_signed_in(browser)


async def test_the_hints_client_and_the_client_id_must_agree_s2(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]

    wrong = await logout(browser, "GET", id_token_hint=hint, client_id="spa", post_logout_redirect_uri=BYE)
    right = await logout(browser, "GET", id_token_hint=hint, client_id="portal", post_logout_redirect_uri=BYE)

    assert (wrong.status_code, "location" in wrong.headers) == (400, False)
    assert right.headers["location"] == BYE


async def test_who_is_signed_out_already_is_led_back_all_the_same(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    params = {"id_token_hint": hint, "post_logout_redirect_uri": BYE, "state": "s"}
    await logout(browser, "GET", **params)

    again = await logout(browser, "GET", **params)

    assert again.headers["location"] == f"{BYE}?state=s"


async def test_who_was_never_signed_in_sees_that_nobody_is(browser: Browser) -> None:
    page = await browser.get("/logout")

    assert (page.status_code, "You are signed out" in page.text) == (200, True)


async def test_signing_out_in_one_browser_leaves_the_other_signed_in(app: App, browser: Browser) -> None:
    others = app.browser()
    await others.tokens()
    hint = (await browser.tokens())["id_token"]

    await logout(browser, "GET", id_token_hint=hint)

    assert await is_signed_in(others)


async def test_a_stolen_cookie_is_worth_nothing_after_the_logout(app: App, browser: Browser) -> None:
    await browser.tokens()
    thief = app.browser()
    thief.http.cookies.set("idp", browser.cookies["idp"])
    assert await is_signed_in(thief)

    await browser.submit(await browser.get("/logout"))

    assert not await is_signed_in(thief)


async def test_the_confirmation_keeps_what_the_application_sent_and_escapes_it(browser: Browser) -> None:
    await browser.tokens()

    page = await logout(browser, "GET", client_id="portal", state='"><script>alert(1)</script>')

    assert "Lab Portal" in page.text
    assert "<script>alert" not in page.text
    assert form_of(page).action.startswith("/logout?client_id=portal&state=")


async def test_repeated_parameters_are_refused(browser: Browser) -> None:
    await browser.tokens()

    response = await browser.http.get("/logout?state=a&state=b")

    assert response.status_code == 400
    assert await is_signed_in(browser)


@pytest.mark.parametrize("subject_type", SubjectType)
async def test_a_hint_ends_its_session_though_the_browser_has_been_idle_for_too_long(
    app: App, browser: Browser, subject_type: SubjectType
) -> None:
    await app.change("clients", ("portal",), subject_type=subject_type)
    tokens = await browser.tokens()
    app.clock.advance(seconds=9 * 3600)
    assert not await is_signed_in(browser)

    answer = answer_of(await logout(browser, "GET", id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE))

    assert answer.location == BYE
    async with app.store.read() as tx:
        (session,) = await tx.sessions.all()
        (grant,) = await tx.grants.all()
    assert session.ended_at == grant.revoked_at == app.clock()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("idle", [False, True])
async def test_a_hint_without_the_browsers_cookie_ends_nothing_and_leads_back_all_the_same_s2(
    app: App, browser: Browser, method: str, idle: bool
) -> None:
    await app.change("clients", ("portal",), backchannel_logout_uri="https://portal.example.org/backchannel")
    hint = (await browser.tokens())["id_token"]
    app.clock.advance(seconds=9 * 3600 if idle else 60)
    stranger = app.browser()

    response = await logout(stranger, method, id_token_hint=hint, post_logout_redirect_uri=BYE, state="s")
    as_our_form = await stranger.http.post("/logout", params={"id_token_hint": hint}, data={"csrf": "x"})

    assert response.headers["location"] == f"{BYE}?state=s"
    assert (as_our_form.status_code, "You are signed out" in as_our_form.text) == (200, True)
    async with app.store.read() as tx:
        (session,), (grant,) = await tx.sessions.all(), await tx.grants.all()
        assert (session.ended_at, grant.revoked_at) == (None, None)
        assert await tx.logout_deliveries.all() == []
    assert await is_signed_in(browser) is not idle


# ── What else an application may send ───────────────────────────────────────────────────────────────────────────────
async def test_logout_hint_and_ui_locales_change_nothing_s2(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]

    answer = answer_of(
        await logout(
            browser,
            "GET",
            id_token_hint=hint,
            post_logout_redirect_uri=BYE,
            logout_hint=BOB,
            ui_locales="xx de",
        )
    )

    assert answer.location == BYE


async def test_an_address_that_nobody_proved_is_offered_as_a_link_after_the_confirmation_s3(browser: Browser) -> None:
    await browser.tokens()
    page = await logout(browser, "GET", client_id="portal", post_logout_redirect_uri=BYE, state="a&b")
    assert BYE not in page.text.partition("<form")[0]

    done = await browser.submit(page)

    assert (done.status_code, "location" in done.headers, "refresh" in done.headers) == (200, False, False)
    assert f'href="{BYE}?state=a%26b"' in done.text
    assert "Lab Portal" in done.text
    assert "logout." not in done.text.partition("</head>")[0]


async def test_a_hint_knows_people_as_its_client_does_core_s8_1(app: App, browser: Browser) -> None:
    await app.change("clients", ("portal",), subject_type=SubjectType.PAIRWISE)
    tokens = await browser.tokens()
    assert decoded(tokens["id_token"])[1]["sub"] != ALICE_ID

    answer = answer_of(await logout(browser, "GET", id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE))

    assert answer.location == BYE
    assert not await is_signed_in(browser)


async def test_a_client_that_was_switched_off_signs_nobody_out_unasked(app: App, browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    await app.change("clients", ("portal",), status=ClientStatus.DISABLED)

    page = await logout(browser, "GET", id_token_hint=hint)

    assert asks(page)


async def test_a_hint_that_does_not_fit_the_person_ends_no_session_of_theirs(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()
    app.clock.advance(seconds=9 * 3600)
    # Since then the client knows people by other names, and who this one was cannot be told.
    await app.change("clients", ("portal",), subject_type=SubjectType.PAIRWISE)

    await logout(browser, "GET", id_token_hint=tokens["id_token"])

    async with app.store.read() as tx:
        assert (await tx.sessions.get(decoded(tokens["id_token"])[1]["sid"])).ended_at is None


async def test_a_second_click_finds_that_it_is_done(browser: Browser) -> None:
    await browser.tokens()
    page = await browser.get("/logout")
    await browser.submit(page)

    again = await browser.submit(page)

    assert (again.status_code, "You are signed out" in again.text) == (200, True)


async def test_a_question_that_was_left_open_while_somebody_signed_in_in_another_tab_is_asked_anew(
    browser: Browser,
) -> None:
    await browser.tokens()
    old = await browser.get("/logout", client_id="portal", post_logout_redirect_uri=BYE, state="s")
    await add_bob(browser)

    stale = await browser.submit(old)

    assert (stale.status_code, "Somebody signed in or out in another window" in stale.text) == (403, True)
    assert all(label in stale.text for label in (ALICE, BOB))
    assert await signed_in_labels(browser) == {ALICE, BOB}
    done = await browser.submit(stale)
    assert f'href="{BYE}?state=s"' in done.text
    assert await signed_in_labels(browser) == set()


async def test_an_answer_from_another_site_is_refused_and_nothing_is_asked_anew(browser: Browser) -> None:
    await browser.tokens()
    page = await browser.get("/logout")

    for csrf in (form_of(page).fields["csrf"], "x"):
        refused = await browser.post(page, {"Origin": "https://evil.example"}, csrf=csrf)
        assert (refused.status_code, "<form" in refused.text) == (403, False)
    assert await is_signed_in(browser)


# ── Several accounts ────────────────────────────────────────────────────────────────────────────────────────────────
async def signed_in_labels(browser: Browser) -> set[str]:
    home = await browser.get("/")
    return {label for label in (ALICE, BOB) if label in home.text}


async def add_bob(browser: Browser) -> None:
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)
    assert await signed_in_labels(browser) == {ALICE, BOB}


async def test_a_hint_ends_exactly_the_account_that_it_names_though_it_is_not_the_active_one(
    app: App, browser: Browser
) -> None:
    hint = (await browser.tokens())["id_token"]
    await add_bob(browser)

    answer = answer_of(await logout(browser, "GET", id_token_hint=hint, post_logout_redirect_uri=BYE))

    assert answer.location == BYE
    assert await signed_in_labels(browser) == {BOB}
    async with app.store.read() as tx:
        ended = {session.user_id for session in await tx.sessions.all() if session.ended_at is not None}
    assert ended == {ALICE_ID}


async def test_a_hint_of_the_active_account_leaves_the_others_signed_in(browser: Browser) -> None:
    await browser.tokens()
    await add_bob(browser)
    hint = (await browser.tokens(user=BOB))["id_token"]

    page = await logout(browser, "GET", id_token_hint=hint)

    assert "You are signed out" in page.text
    assert (ALICE in page.text, BOB in page.text) == (True, False)
    assert await signed_in_labels(browser) == {ALICE}


async def test_without_a_hint_every_account_of_the_browser_is_asked_about_and_ends(app: App, browser: Browser) -> None:
    await browser.tokens()
    await add_bob(browser)

    page = await browser.get("/logout")
    assert all(f"<bdi>{label}</bdi>" in page.text for label in (ALICE, BOB))
    await browser.submit(page)

    assert await signed_in_labels(browser) == set()
    async with app.store.read() as tx:
        assert all(session.ended_at is not None for session in await tx.sessions.all())


async def test_the_state_that_session_management_watches_changes_with_each_sign_out(browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    await add_bob(browser)
    states = [browser.cookies["idp-state"]]

    await logout(browser, "GET", id_token_hint=hint)
    states.append(browser.cookies["idp-state"])
    await browser.submit(await browser.get("/logout"))
    states.append(browser.cookies["idp-state"])

    assert len(set(states)) == 3
