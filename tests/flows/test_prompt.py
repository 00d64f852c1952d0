"""When people are asked again: prompt, max_age and the two hints (OpenID Connect Core §3.1.2.1)."""

import re
from typing import Any

from idp.domain.signing_key import SigningAlgorithm
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, App, Browser, answer_of, decoded, form_of


async def signed_in_with_consent(browser: Browser) -> dict[str, Any]:
    """Leave a session and a remembered consent behind, an hour old."""
    tokens = await browser.tokens()
    browser.app.clock.advance(seconds=3600)
    return tokens


def auth_time(tokens: dict[str, Any]) -> int:
    return int(decoded(tokens["id_token"])[1]["auth_time"])


# ── prompt ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_is_signed_in_and_has_consented_is_not_asked_again(app: App, browser: Browser) -> None:
    first = await signed_in_with_consent(browser)

    response = await browser.request()

    second = (await app.redeem(answer_of(response))).json()
    assert auth_time(second) == auth_time(first)
    assert decoded(second["id_token"])[1]["sid"] == decoded(first["id_token"])[1]["sid"]


async def test_prompt_none_answers_at_once_or_says_what_is_missing(app: App, browser: Browser) -> None:
    nobody = answer_of(await browser.http.get("/authorize", params=app.authorization_request(prompt="none")))
    assert nobody.error == "login_required"

    await browser.sign_in()
    not_consented = answer_of(await browser.http.get("/authorize", params=app.authorization_request(prompt="none")))
    assert not_consented.error == "consent_required"

    await browser.authorize()
    silent = answer_of(await browser.http.get("/authorize", params=app.authorization_request(prompt="none")))
    assert (await app.redeem(silent)).status_code == 200


async def test_prompt_login_really_signs_in_again(app: App, browser: Browser) -> None:
    first = await signed_in_with_consent(browser)

    page = await browser.request(prompt="login")

    assert page.url.path == "/login"
    # Neither waiting nor going round the page helps.
    for path in ("/authorize/resume", "/consent"):
        assert (await browser.get(f"{path}?{page.url.query.decode()}")).url.path in {"/login", "/consent"}
    second = (await app.redeem(await browser.finish(page))).json()
    assert auth_time(second) > auth_time(first)


async def test_a_consent_given_without_the_sign_in_that_was_asked_for_leads_to_the_sign_in(browser: Browser) -> None:
    await signed_in_with_consent(browser)
    page = await browser.request(prompt="login consent")
    consent = await browser.get(f"/consent?{page.url.query.decode()}")

    assert (await browser.submit(consent, decision="allow")).url.path == "/login"


async def test_a_wrong_password_does_not_satisfy_prompt_login(browser: Browser) -> None:
    await signed_in_with_consent(browser)
    page = await browser.request(prompt="login")

    refused = await browser.submit(page, username=ALICE, password="wrong")

    assert refused.status_code == 401
    assert (await browser.get(f"/authorize/resume?{page.url.query.decode()}")).url.path == "/login"


async def test_prompt_consent_asks_although_it_is_remembered_once(browser: Browser) -> None:
    await signed_in_with_consent(browser)

    page = await browser.request(prompt="consent")

    assert page.url.path == "/consent"
    assert (await browser.finish(page)).error is None


async def test_prompt_select_account_lets_another_account_be_chosen(app: App, browser: Browser) -> None:
    await signed_in_with_consent(browser)

    page = await browser.request(prompt="select_account")

    assert page.url.path == "/select-account"
    login = await browser.get(re.search(r'href="(/login\?[^"]*add=1[^"]*)"', page.text)[1].replace("&amp;", "&"))
    tokens = (await app.redeem(await browser.finish(login, user=BOB))).json()
    assert decoded(tokens["id_token"])[1]["sub"] == BOB_ID


async def test_prompt_login_and_consent_ask_for_both(app: App, browser: Browser) -> None:
    await signed_in_with_consent(browser)

    login = await browser.request(prompt="consent login")
    consent = await browser.sign_in(login)

    assert (login.url.path, consent.url.path) == ("/login", "/consent")
    assert (await app.redeem(await browser.finish(consent))).status_code == 200


# ── max_age ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_max_age_asks_again_only_when_the_sign_in_is_older(app: App, browser: Browser) -> None:
    first = await signed_in_with_consent(browser)  # which was 3600 s ago, and one more that consenting took
    young_enough = (await app.redeem(answer_of(await browser.request(max_age="3601")))).json()
    assert auth_time(young_enough) == auth_time(first)

    page = await browser.request(max_age="3600")

    assert page.url.path == "/login"
    second = (await app.redeem(await browser.finish(page))).json()
    assert auth_time(second) > auth_time(first)


async def test_max_age_0_always_signs_in_again(app: App, browser: Browser) -> None:
    await signed_in_with_consent(browser)

    for _ in range(2):
        page = await browser.request(max_age="0")
        assert page.url.path == "/login"
        assert (await app.redeem(await browser.finish(page))).status_code == 200
        app.clock.advance(seconds=1)


async def test_max_age_with_prompt_none_is_login_required(app: App, browser: Browser) -> None:
    await signed_in_with_consent(browser)

    assert answer_of(await browser.request(max_age="60", prompt="none")).error == "login_required"
    assert answer_of(await browser.request(max_age="86400", prompt="none")).error is None


async def test_a_clients_default_max_age_counts_when_it_sends_none(app: App, browser: Browser) -> None:
    await signed_in_with_consent(browser)
    await app.change("clients", ["portal"], default_max_age=60)

    assert (await browser.request()).url.path == "/login"
    assert answer_of(await browser.request(max_age="86400")).error is None


# ── hints ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_login_hint_is_prefilled_whoever_it_names(browser: Browser) -> None:
    for hint in (ALICE, "alice", "nobody@example.org", '"><script>', "x" * 5000):
        page = await browser.request(login_hint=hint)

        assert (page.status_code, form_of(page).fields["username"]) == (200, hint[:320])
        assert "<script>" not in page.text


async def test_an_id_token_hint_of_the_same_user_changes_nothing_and_may_have_expired(
    app: App, browser: Browser
) -> None:
    hint = (await signed_in_with_consent(browser))["id_token"]  # expired 50 minutes ago

    assert answer_of(await browser.request(id_token_hint=hint, prompt="none")).error is None
    assert answer_of(await browser.request(id_token_hint=hint)).error is None


async def test_an_id_token_hint_of_another_user_is_login_required_or_a_sign_in(app: App, browser: Browser) -> None:
    of_alice = (await signed_in_with_consent(browser))["id_token"]
    others = app.browser()
    await others.authorize(user=BOB)

    silent = answer_of(await others.request(id_token_hint=of_alice, prompt="none"))
    assert silent.error == "login_required"

    page = await others.request(id_token_hint=of_alice)
    assert page.url.path == "/login"
    as_bob_again = await others.finish(page, user=BOB)
    assert as_bob_again.error == "login_required"

    as_alice = await others.finish(await others.request(id_token_hint=of_alice), user=ALICE)
    assert decoded((await app.redeem(as_alice)).json()["id_token"])[1]["sub"] == ALICE_ID


async def test_a_hint_that_is_unsigned_foreign_or_no_id_token_is_refused(app: App, browser: Browser) -> None:
    tokens = await signed_in_with_consent(browser)
    good = tokens["id_token"]
    _, claims, signature = good.split(".")
    signer = await app.services["signing_keys"].signer(SigningAlgorithm.RS256)
    forged = [
        f"eyJhbGciOiJub25lIn0.{claims}.",
        f"eyJhbGciOiJub25lIn0.{claims}.{signature}",
        good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB"),
        tokens["access_token"],
        signer.sign({**decoded(good)[1], "iss": "https://evil.example"}, typ="JWT"),
        signer.sign({"iss": app.issuer, "aud": "portal"}, typ="JWT"),
        "x" * 20_000,
    ]

    for hint in forged:
        assert answer_of(await browser.request(id_token_hint=hint)).error == "invalid_request"
        # Whom it names cannot be known: certainly nobody who is to be answered for silently. One is too long for any.
        expected = "invalid_request" if len(hint) > 16_384 else "login_required"
        assert answer_of(await browser.request(id_token_hint=hint, prompt="none")).error == expected


async def test_a_hint_counts_for_a_year_after_its_key_left_jwks(app: App, browser: Browser) -> None:
    hint = (await signed_in_with_consent(browser))["id_token"]
    kid = decoded(hint)[0]["kid"]
    keys = app.services["signing_keys"]
    await keys.rotate(actor="test")
    app.clock.advance(seconds=3600)
    assert kid not in (await app.http().get("/jwks")).text
    await browser.authorize(prompt="login")

    assert answer_of(await browser.request(id_token_hint=hint, prompt="none")).error is None

    app.clock.advance(seconds=366 * 86400)
    assert answer_of(await browser.request(id_token_hint=hint, prompt="none")).error == "login_required"


# ── Preferences ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_whatever_acr_is_preferred_the_id_token_says_which_it_was_oidc_core_s3_1_2_1(browser: Browser) -> None:
    for acr_values in ("1", "urn:example:gold urn:example:silver"):
        tokens = await browser.tokens(acr_values=acr_values, display="touch", ui_locales="fr", claims_locales="de")
        assert decoded(tokens["id_token"])[1]["acr"] == "1"
