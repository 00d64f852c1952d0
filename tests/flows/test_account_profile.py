"""The page of one's own profile: what is saved, and what applications are told then (OpenID Connect Core §5.1)."""

import pytest

from idp.domain.audit import AuditAction
from idp.domain.user import User
from tests.support.app import ALICE_ID, BOB, App, Browser, bearer, form_of
from tests.support.databases import one_database

PAGE = "/account/profile"


async def alice(app: App) -> User:
    async with app.store.read() as tx:
        return await tx.users.get(ALICE_ID)


async def test_the_page_is_for_whoever_is_signed_in(browser: Browser) -> None:
    assert (await browser.get(PAGE)).url.path == "/login"


async def test_what_is_saved_is_shown_and_told_to_applications_oidc_core_s5_1(app: App, browser: Browser) -> None:
    await browser.sign_in()
    told = {
        "name": "Alice Liddell",
        "given_name": "Alice",
        "birthdate": "1852-05-04",
        "zoneinfo": "Europe/London",
        "website": "https://alice.example",
        "address.street_address": "Christ Church\r\nSt Aldates",
        "address.locality": "Oxford",
    }

    saved = await browser.submit(await browser.get(PAGE), **told)

    assert "Saved." in saved.text
    assert 'value="Alice Liddell"' in (await browser.get(PAGE)).text
    tokens = await browser.tokens(scope="openid profile address")
    claims = (await app.http().get("/userinfo", headers=bearer(tokens["access_token"]))).json()
    assert {name: claims[name] for name in ("name", "given_name", "birthdate", "zoneinfo", "website")} == {
        name: told[name] for name in ("name", "given_name", "birthdate", "zoneinfo", "website")
    }
    assert claims["address"]["street_address"] == "Christ Church\nSt Aldates"
    assert claims["address"]["locality"] == "Oxford"


async def test_what_is_emptied_is_taken_away_and_the_rest_stays(app: App, browser: Browser) -> None:
    await app.change("users", [ALICE_ID], profile={"nickname": "Al", "picture": "https://p.example/a.png"})
    await browser.sign_in()
    await browser.submit(await browser.get(PAGE), nickname="  ")
    assert (await alice(app)).profile == {"picture": "https://p.example/a.png"}


async def test_the_change_is_recorded_by_the_names_of_the_claims_alone(app: App, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.submit(await browser.get(PAGE), nickname="Al", gender="she")
    await browser.submit(page)
    async with app.store.read() as tx:
        events = [event for event in await tx.audit_events.all() if event.action is AuditAction.USER_UPDATED]
    assert [(event.actor, event.target, event.detail) for event in events] == [
        (ALICE_ID, ALICE_ID, {"fields": ["nickname", "gender"]})
    ]


async def test_another_phone_number_is_not_a_verified_one(app: App, browser: Browser) -> None:
    profile = {"phone_number": "+43 1 234", "phone_number_verified": True}
    await app.change("users", [ALICE_ID], profile=profile)
    await browser.sign_in()
    page = await browser.submit(await browser.get(PAGE), nickname="Al")
    assert (await alice(app)).profile["phone_number_verified"] is True
    await browser.submit(page, phone_number="+43 1 235")
    assert "phone_number_verified" not in (await alice(app)).profile


@one_database
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("birthdate", "4 May"),
        ("website", "javascript:alert(1)"),
        ("profile", "no address"),
        ("zoneinfo", "Europe Vienna"),
        ("locale", "!"),
        ("name", "x" * 10_000),
        ("name", "\u202eecilA"),
        ("address.country", "x" * 10_000),
    ],
    ids=range(8),
)
async def test_what_cannot_be_is_named_at_its_field_and_nothing_is_lost(
    app: App, browser: Browser, field: str, text: str
) -> None:
    await browser.sign_in()
    before = await alice(app)
    refused = await browser.submit(await browser.get(PAGE), given_name="Alice", **{field: text})
    assert refused.status_code == 422
    assert f'<a href="#{field}">' in refused.text
    assert 'value="Alice"' in refused.text
    assert await alice(app) == before


async def test_nobody_changes_by_it_what_is_not_theirs_to_change(app: App, browser: Browser) -> None:
    await browser.sign_in()
    before = await alice(app)
    form = form_of(await browser.get(PAGE)).fields
    more = {
        "email": "root@example.org",
        "roles": "super_admin",
        "email_verified": "true",
        "picture": "https://x.example",
    }
    answered = await browser.http.post(PAGE, data={**form, **more, "sub": "u_bob", "nickname": "Al"})
    assert answered.status_code == 200
    after = await alice(app)
    assert (after.email, after.roles, after.email_verified) == (before.email, before.roles, before.email_verified)
    assert "picture" not in after.profile


async def test_a_form_of_somebody_else_changes_nothing(app: App, browser: Browser) -> None:
    await browser.sign_in(user=BOB)
    form = form_of(await browser.get(PAGE)).fields
    other = app.browser()
    await other.sign_in()
    before = await alice(app)
    assert (await other.http.post(PAGE, data={**form, "nickname": "Al"})).status_code == 403
    assert await alice(app) == before
