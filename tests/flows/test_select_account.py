"""Several accounts in one browser, and the page that lists them (OpenID Connect Core §3.1.2.1, `select_account`)."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.user import UserStatus
from idp.services.sessions import MAX_ACCOUNTS
from tests.support.app import (
    ALICE,
    ALICE_ID,
    BOB,
    BOB_ID,
    ISSUER,
    PASSWORD,
    App,
    Browser,
    answer_of,
    decoded,
    form_of,
)

ROW = re.compile(r'name="account" value="(s_\w+)">.*?</button>', re.S)


def listed(page: httpx2.Response) -> list[tuple[str, str]]:
    """The accounts of a page: the id that stands in the form, and what is shown."""
    texts = [(row[1], re.sub(r"<[^>]+>", " ", row[0].partition(">")[2])) for row in ROW.finditer(page.text)]
    return [(sid, " ".join(text.split())) for sid, text in texts]


def sid_of(page: httpx2.Response, label: str) -> str:
    (sid,) = [sid for sid, text in listed(page) if label in text]
    return sid


async def add(browser: Browser, user: str) -> httpx2.Response:
    """Sign in beside whoever is signed in."""
    return await browser.sign_in(await browser.get("/login", add="1"), user=user)


async def alice_and_bob(browser: Browser) -> None:
    """Leave both signed in, Bob active, and a choice between them."""
    await browser.sign_in()
    await add(browser, BOB)


async def choose(browser: Browser, page: httpx2.Response, label: str) -> httpx2.Response:
    return await browser.submit(page, account=sid_of(page, label))


async def active(browser: Browser) -> str | None:
    found = re.search(r"Signed in as <b><bdi>([^<]+)</bdi></b>", (await browser.get("/")).text)
    return None if found is None else found[1]


async def subject(app: App, browser: Browser, page: httpx2.Response) -> str:
    tokens = (await app.redeem(await browser.finish(page))).json()
    return str(decoded(tokens["id_token"])[1]["sub"])


# ── Choosing within an authorization request ────────────────────────────────────────────────────────────────────────
async def test_every_account_is_listed_and_the_chosen_one_is_answered_for_without_its_password(
    app: App, browser: Browser
) -> None:
    await alice_and_bob(browser)
    app.clock.advance(timedelta(hours=3))

    page = await browser.request(prompt="select_account")

    assert (page.status_code, page.url.path) == (200, "/select-account")
    assert "to continue to <b><bdi>Lab Portal</bdi></b>" in page.text
    assert [text for _, text in listed(page)] == [
        f"B {BOB} in use signed in 3 hours ago",
        f"A Alice Liddell {ALICE} signed in 3 hours ago",
    ]
    chosen = sid_of(page, ALICE)
    assert await subject(app, browser, await choose(browser, page, ALICE)) == ALICE_ID
    assert await active(browser) == ALICE
    async with app.store.read() as tx:
        (event,) = [event for event in await tx.audit_events.all() if event.action is AuditAction.ACCOUNT_SELECTED]
    assert (event.actor, event.target) == (ALICE_ID, chosen)


async def test_choosing_the_account_that_is_active_already_goes_on_with_it(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    before = browser.cookies

    page = await browser.request(prompt="select_account")

    assert await subject(app, browser, await choose(browser, page, BOB)) == BOB_ID
    assert browser.cookies == before


async def test_a_third_account_can_be_used_instead(app: App, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.request(prompt="select_account")
    (link,) = re.findall(r'href="(/login\?[^"]+)">Use another account', page.text)

    login = await browser.get(link.replace("&amp;", "&"))

    assert (login.status_code, login.url.path, form_of(login).fields["username"]) == (200, "/login", "")
    assert await subject(app, browser, await browser.sign_in(login, user=BOB)) == BOB_ID
    assert [text.split()[1] for _, text in listed(await browser.get("/select-account"))] == [BOB, "Alice"]


async def test_one_account_is_signed_out_and_the_rest_stays(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.request(prompt="select_account")
    bob = sid_of(page, BOB)

    page = await browser.submit(page, sign_out=bob)

    assert (page.status_code, page.url.path, len(listed(page))) == (200, "/select-account", 1)
    async with app.store.read() as tx:
        assert [session.id for session in await tx.sessions.all() if session.ended_at] == [bob]
    assert await subject(app, browser, await choose(browser, page, ALICE)) == ALICE_ID


async def test_when_the_last_one_leaves_the_sign_in_form_follows(app: App, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.request(prompt="select_account")

    login = await browser.submit(page, sign_out=sid_of(page, ALICE))

    assert (login.status_code, login.url.path) == (200, "/login")
    assert browser.cookies.keys() == {"idp-form", "idp-state"}
    assert await subject(app, browser, await browser.sign_in(login, user=BOB)) == BOB_ID


async def test_with_nobody_signed_in_there_is_nothing_to_choose(browser: Browser) -> None:
    assert (await browser.get("/select-account")).url.path == "/login"
    page = await browser.request()
    again = await browser.get(f"/select-account?{page.url.query.decode()}")
    assert (again.url.path, again.url.query) == ("/login", page.url.query)


async def test_names_on_the_list_are_escaped(app: App, browser: Browser) -> None:
    await app.change("users", [ALICE_ID], name='"><script>alert(1)</script>')
    await browser.sign_in()

    page = await browser.get("/select-account")

    assert "<script>alert" not in page.text
    assert len(listed(page)) == 1


# ── Choosing without one ────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_first_page_changes_to_another_account_and_back(browser: Browser) -> None:
    await alice_and_bob(browser)
    home = await browser.get("/")
    assert (await active(browser), [text for _, text in listed(home)]) == (
        BOB,
        [f"A Alice Liddell {ALICE} signed in just now"],
    )

    home = await choose(browser, home, ALICE)

    assert (home.url.path, await active(browser)) == ("/", ALICE)
    await choose(browser, home, BOB)
    assert await active(browser) == BOB


async def test_the_first_page_signs_another_account_out(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    home = await browser.get("/")

    home = await browser.submit(home, sign_out=sid_of(home, ALICE))

    assert (home.url.path, listed(home), await active(browser)) == ("/", [], BOB)
    assert "idp-accounts" not in browser.cookies


async def test_nobody_becomes_another_account_by_signing_the_active_one_out(browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.get("/select-account")

    home = await browser.submit(page, sign_out=sid_of(page, BOB))

    assert await active(browser) is None
    assert 'href="/login"' in home.text
    login = await browser.get("/login")
    assert 'href="/select-account">Choose another account' in login.text
    await choose(browser, home, ALICE)
    assert await active(browser) == ALICE


async def test_the_same_person_signing_in_again_is_listed_once_and_keeps_the_session(browser: Browser) -> None:
    await alice_and_bob(browser)
    before = dict(listed(await browser.get("/select-account")))

    await add(browser, ALICE)

    after = await browser.get("/select-account")
    assert dict(listed(after)).keys() == before.keys()
    assert await active(browser) == ALICE


# ── The sign-in form beside other accounts ──────────────────────────────────────────────────────────────────────────
async def test_who_has_to_sign_in_again_finds_the_name_filled_in_and_the_way_to_another_account(
    app: App, browser: Browser
) -> None:
    await alice_and_bob(browser)

    page = await browser.request(prompt="login")

    assert form_of(page).fields["username"] == BOB
    choice = await browser.get(f"/select-account?{page.url.query.decode()}")
    # Choosing is no sign-in: the application asked for one.
    again = await choose(browser, choice, ALICE)
    assert (again.url.path, form_of(again).fields["username"]) == ("/login", ALICE)
    assert await subject(app, browser, await browser.sign_in(again)) == ALICE_ID


async def test_a_login_hint_wins_and_an_id_token_hint_leaves_the_name_open(browser: Browser) -> None:
    of_alice = await browser.tokens()
    await add(browser, BOB)

    hinted = await browser.request(prompt="login", login_hint="carol@example.org")
    by_token = await browser.request(prompt="login", id_token_hint=of_alice["id_token"])

    assert form_of(hinted).fields["username"] == "carol@example.org"
    assert form_of(by_token).fields["username"] == ""


async def test_the_way_to_another_account_is_shown_only_where_there_is_one(browser: Browser) -> None:
    link = "Choose another account"
    assert link not in (await browser.request()).text
    await browser.sign_in()
    assert link not in (await browser.request(prompt="login")).text
    await add(browser, BOB)
    page = await browser.request(prompt="login")
    assert f"/select-account?{page.url.query.decode()}" in page.text


async def test_a_mistyped_password_keeps_everybody_signed_in_and_the_form_what_it_was(browser: Browser) -> None:
    await alice_and_bob(browser)
    before = browser.cookies

    page = await browser.submit(await browser.get("/login", add="1"), username="carol", password="wrong")

    assert (page.status_code, form_of(page).action) == (401, "/login?add=1")
    assert browser.cookies == before


# ── Stale, foreign and forged choices ───────────────────────────────────────────────────────────────────────────────
async def test_an_account_of_another_browser_cannot_be_chosen_or_signed_out(app: App, browser: Browser) -> None:
    others = app.browser()
    await others.sign_in(user=BOB)
    (bob, _) = listed(await others.get("/select-account"))[0]
    await browser.sign_in()
    page = await browser.request(prompt="select_account")

    for field in ("account", "sign_out"):
        for sid in (bob, "", "s_", "x" * 5000, "é", "' OR 1=1 --"):
            refused = await browser.submit(page, **{field: sid})
            assert (refused.status_code, "no longer signed in here" in refused.text) == (409, True), (field, sid)
            assert len(listed(refused)) == 1
    assert (await active(browser), await active(others)) == (ALICE, BOB)


async def test_a_form_without_its_token_or_of_another_page_changes_nothing(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.get("/select-account")
    alice = sid_of(page, ALICE)
    foreign = form_of(await app.browser().get("/login")).fields["csrf"]

    for csrf in ("", "x" * 64, foreign):
        for field in ("account", "sign_out"):
            refused = await browser.submit(page, **{field: alice, "csrf": csrf})
            assert (refused.status_code, len(listed(refused))) == (403, 2)
            assert "Somebody signed in or out in another window" in refused.text
    for origin in ("https://evil.example", "null", f"{ISSUER}.evil.example"):
        refused = await browser.post(page, {"Origin": origin}, account=alice)
        assert (refused.status_code, listed(refused)) == (403, [])
    assert await active(browser) == BOB


async def test_a_page_that_was_left_open_while_somebody_changed_in_another_tab_is_shown_anew(browser: Browser) -> None:
    await alice_and_bob(browser)
    old = await browser.get("/select-account")
    await choose(browser, await browser.get("/"), ALICE)

    stale = await browser.submit(old, account=sid_of(old, BOB))

    assert (stale.status_code, await active(browser)) == (403, ALICE)
    await choose(browser, stale, BOB)
    assert await active(browser) == BOB


async def test_a_consent_page_does_not_speak_for_an_account_that_was_switched_to_meanwhile(
    app: App, browser: Browser
) -> None:
    await alice_and_bob(browser)
    consent = await browser.request()
    assert BOB in consent.text
    await choose(browser, await browser.get("/"), ALICE)

    refused = await browser.post(consent, decision="allow")

    # The page is shown anew, and is now Alice's.
    assert (refused.status_code, "location" in refused.headers) == (403, False)
    async with app.store.read() as tx:
        assert await tx.consents.all() == []
    again = await browser.get(f"/consent?{consent.url.query.decode()}")
    assert ALICE in again.text
    assert ALICE in refused.text
    assert await subject(app, browser, again) == ALICE_ID


async def test_a_request_that_is_gone_is_explained_and_nobody_changes(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.request(prompt="select_account")
    answered = await browser.request(prompt="select_account")
    sid = sid_of(page, ALICE)
    assert (await browser.finish(await choose(browser, answered, BOB))).error is None
    handles = [answered.url.params["interaction"], "x" * 5000, "é", page.url.params["interaction"]]
    app.clock.advance(timedelta(seconds=app.settings.interaction_ttl_seconds))
    await add(browser, BOB)
    current = form_of(await browser.get("/select-account")).fields["csrf"]

    for handle in handles:
        shown = await browser.http.get("/select-account", params={"interaction": handle})
        chosen = await browser.http.post(
            "/select-account", params={"interaction": handle}, data={"csrf": current, "account": sid}
        )
        for response in (shown, chosen):
            assert (response.status_code, "This sign-in has expired" in response.text) == (400, True)
    assert await active(browser) == BOB


async def test_an_account_that_was_disabled_meanwhile_disappears(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.request(prompt="select_account")
    sid = sid_of(page, ALICE)
    async with app.store.write() as tx:
        await tx.users.save(replace(await tx.users.get(ALICE_ID), status=UserStatus.DISABLED))

    refused = await browser.submit(page, account=sid)

    assert (refused.status_code, [text.split()[1] for _, text in listed(refused)]) == (409, [BOB])
    assert await subject(app, browser, await choose(browser, refused, BOB)) == BOB_ID


async def test_an_account_that_went_idle_disappears(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    for _ in range(2):
        app.clock.advance(timedelta(seconds=app.settings.session_idle_seconds / 2))
        page = await browser.get("/select-account")

    assert [text.split()[1] for _, text in listed(page)] == [BOB]


async def test_methods_and_repeated_fields_are_judged_as_everywhere(browser: Browser) -> None:
    await browser.sign_in()
    csrf = form_of(await browser.get("/select-account")).fields["csrf"]

    twice = await browser.http.post(
        "/select-account",
        content=f"csrf={csrf}&account=a&account=b",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert twice.status_code == 400
    assert (await browser.http.put("/select-account")).status_code == 405


# ── Cookies ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def plant(browser: Browser, **cookies: str) -> None:
    for name, value in cookies.items():
        browser.http.cookies.set(name.replace("_", "-"), value, domain="localhost.local", path="/")


async def new_cookie(app: App, user: str) -> str:
    other = app.browser()
    await other.sign_in(user=user)
    return other.cookies["idp"]


async def test_garbage_in_the_cookies_is_nobody_and_never_a_failure(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    good = browser.cookies["idp"]
    for value in ("garbage", "." * 3000, "a.b.c.d.e.f", "x" * 4000, f"{good}.{good}", f"..{good}..", "%00", "=;"):
        plant(browser, idp_accounts=value)
        page = await browser.get("/select-account")
        assert (page.status_code, len(listed(page))) == (200, 1), value
        assert (await browser.get("/")).status_code == 200
        assert (await browser.request(prompt="select_account")).status_code == 200


async def test_of_twenty_cookies_no_more_count_than_a_browser_may_hold(app: App, browser: Browser) -> None:
    await browser.sign_in()
    bobs = [await new_cookie(app, BOB) for _ in range(MAX_ACCOUNTS - 1)]
    plant(browser, idp_accounts=".".join(["nobody"] * 3 + bobs + ["x" * 43] * 13))

    page = await browser.get("/select-account")

    # One place of four was left, and nobody is there twice.
    assert [text.split()[1] for _, text in listed(page)] == ["Alice", BOB]
    plant(browser, idp_accounts=".".join([*["nobody"] * MAX_ACCOUNTS, *bobs]))
    assert len(listed(await browser.get("/select-account"))) == 1


async def test_cookies_that_were_deleted_half_way_are_accounts_that_are_gone(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.request(prompt="select_account")
    browser.http.cookies.delete("idp-accounts")
    refused = await browser.submit(page, account=sid_of(page, ALICE))
    assert refused.status_code == 409

    browser.http.cookies.delete("idp")
    login = await browser.submit(refused, account=sid_of(page, BOB))
    assert (login.status_code, login.url.path) == (200, "/login")
    assert await subject(app, browser, await browser.sign_in(login)) == ALICE_ID


async def test_the_state_changes_whenever_somebody_signs_in_out_or_changes_session_management_s3_2(
    browser: Browser,
) -> None:
    states = []
    await browser.sign_in()
    states.append(browser.cookies["idp-state"])
    await browser.get("/")
    await browser.get("/select-account")
    assert browser.cookies["idp-state"] == states[0]
    await add(browser, BOB)
    states.append(browser.cookies["idp-state"])
    home = await choose(browser, await browser.get("/"), ALICE)
    states.append(browser.cookies["idp-state"])
    await browser.submit(home, sign_out=sid_of(home, BOB))
    states.append(browser.cookies["idp-state"])
    await browser.submit(await browser.get("/logout"))
    states.append(browser.cookies["idp-state"])
    assert len(set(states)) == 5


@pytest.mark.parametrize("path", ["/", "/select-account", "/login?add=1"])
async def test_a_browser_whose_sign_in_is_older_than_the_state_gets_it_on_the_way(browser: Browser, path: str) -> None:
    assert "idp-state" not in browser.cookies
    await browser.get(path)
    assert "idp-state" not in browser.cookies
    await browser.sign_in()
    browser.http.cookies.delete("idp-state")

    await browser.get(path)

    assert "idp-state" in browser.cookies


# ── Races ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_two_people_signing_in_at_once_leave_one_of_them_active_and_nothing_broken(
    app: App, browser: Browser
) -> None:
    page = await browser.get("/login")

    answers = await asyncio.gather(
        *(browser.post(page, username=user, password=PASSWORD) for user in (ALICE, BOB, ALICE, BOB))
    )

    assert {answer.status_code for answer in answers} <= {303, 403}
    assert await active(browser) in {ALICE, BOB}
    assert (await browser.request()).url.path == "/consent"


async def test_two_choices_at_once_leave_one_of_them_active_and_both_signed_in(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.request(prompt="select_account")

    answers = await asyncio.gather(
        *(browser.post(page, account=sid_of(page, user)) for user in (ALICE, BOB, ALICE, BOB))
    )

    assert {answer.status_code for answer in answers} <= {303, 403}
    assert await active(browser) in {ALICE, BOB}
    assert len(listed(await browser.get("/select-account"))) == 2


async def test_signing_out_an_account_while_it_is_chosen_ends_it_either_way(app: App, browser: Browser) -> None:
    await alice_and_bob(browser)
    page = await browser.get("/select-account")
    alice = sid_of(page, ALICE)

    answers = await asyncio.gather(browser.post(page, account=alice), browser.post(page, sign_out=alice))

    assert {answer.status_code for answer in answers} <= {303, 403, 409}
    async with app.store.read() as tx:
        ended = {session.id for session in await tx.sessions.all() if session.ended_at}
    assert ended <= {alice}
    if ended:
        assert await active(browser) != ALICE


async def test_a_silent_request_is_answered_for_the_active_account(app: App, browser: Browser) -> None:
    await browser.authorize()
    await add(browser, BOB)
    await browser.authorize(user=BOB)

    silent = await browser.http.get("/authorize", params=app.authorization_request(prompt="none"))

    tokens = (await app.redeem(answer_of(silent))).json()
    assert decoded(tokens["id_token"])[1]["sub"] == BOB_ID


async def test_a_silent_request_while_no_account_is_active_asks_for_a_choice_oidc_core_s3_1_2_6(
    browser: Browser,
) -> None:
    await alice_and_bob(browser)
    page = await browser.get("/select-account")
    await browser.submit(page, sign_out=sid_of(page, BOB))

    silent = answer_of(await browser.request(prompt="none"))

    assert (silent.error, silent.params["state"]) == ("account_selection_required", "state-1")


async def test_a_login_hint_chooses_among_the_accounts_and_an_unknown_one_changes_nothing_oidc_core_s3_1_2_1(
    app: App, browser: Browser
) -> None:
    await alice_and_bob(browser)
    for hint in (ALICE, ALICE.upper(), "alice"):
        assert await subject(app, browser, await browser.request(login_hint=hint)) == ALICE_ID
    assert await subject(app, browser, await browser.request(login_hint="nobody@example.org")) == BOB_ID
