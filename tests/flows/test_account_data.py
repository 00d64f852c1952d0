"""All that is kept about somebody, for themselves alone."""

from idp.domain.lab import LabRole
from tests.support.app import ALICE, ALICE_ID, BOB, App, Browser, add_all
from tests.support.factories import make_lab, make_linked_account, make_membership

PAGE = "/account/data"
FILE = "/account/data/download"


async def fill(app: App) -> None:
    await add_all(
        app.store,
        [
            make_lab(id="l_moss", slug="moss", name="Moss"),
            make_membership(lab_id="l_moss", user_id=ALICE_ID, role=LabRole.ADMIN),
            make_linked_account(user_id=ALICE_ID, sub="4711", sealed_refresh_token=b"a secret of the provider's"),
        ],
    )


async def test_it_is_for_whoever_is_signed_in_and_has_just_proved_it(app: App, browser: Browser) -> None:
    for path in (PAGE, FILE):
        assert (await browser.get(path)).url.path == "/login"
    await browser.sign_in()
    app.clock.advance(seconds=301)
    for path in (PAGE, FILE):
        answer = await browser.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?again=1&next=%2Faccount%2Fdata")


async def test_the_file_holds_all_that_is_kept_and_no_secret(app: App, browser: Browser) -> None:
    await fill(app)
    await browser.authorize(scope="openid email")

    answer = await browser.http.get(FILE)

    assert answer.headers["content-disposition"] == 'attachment; filename="account.json"'
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["account"]["email"] == ALICE
    assert told["account"]["id"] == ALICE_ID
    assert told["password"]["set_at"]
    assert [lab["slug"] for lab in told["labs"] if lab["slug"] == "moss"] == ["moss"]
    assert [(each["provider"], each["sub"]) for each in told["connected_accounts"]] == [("campus", "4711")]
    assert [each["client_id"] for each in told["applications"]] == ["portal"]
    assert len(told["sessions"]) == 1
    assert {event["action"] for event in told["activity"]} == {"login.succeeded", "consent.given"}
    for secret in ("argon2", "hash", "secret", "sealed", browser.cookies["idp"]):
        assert secret not in answer.text


async def test_the_page_tells_the_same_in_words(app: App, browser: Browser) -> None:
    await fill(app)
    await browser.sign_in()
    page = await browser.get(PAGE)
    assert page.status_code == 200
    assert f'href="{FILE}"' in page.text
    for text in (ALICE, ALICE_ID, "Moss", "https://login.campus.example"):
        assert text in page.text


async def test_nothing_of_others_is_among_it(app: App, browser: Browser) -> None:
    await fill(app)
    await app.browser().sign_in()
    await browser.sign_in(user=BOB)
    told = (await browser.http.get(FILE)).text
    assert ALICE not in told
    assert ALICE_ID not in told
    assert "4711" not in told
