"""Second factors: set up, asked for at every sign-in and where an application wants them, and taken away."""

import asyncio
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx2
import pyotp
import pytest

from idp.crypto.totp import mint_secret, provisioning_uri
from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.mail import MailPurpose
from idp.domain.session import Session
from idp.services.second_factor_setup import reset_second_factors
from idp.services.sessions import end_all_sessions
from tests.support.app import ALICE, ALICE_ID, BOB, App, Browser, decoded, form_of
from tests.support.clock import FakeClock

SECURITY = "/account/security"
SETUP = f"{SECURITY}/totp"
ESSENTIAL = json.dumps({"id_token": {"acr": {"essential": True, "values": ["2"]}}})


class Device:
    """An authenticator app, whose clock may be wrong."""

    def __init__(self, secret: str, clock: FakeClock) -> None:
        self._totp = pyotp.TOTP(secret)
        self._clock = clock

    def code(self, *, seconds: int = 0) -> str:
        return self._totp.at(int(self._clock().timestamp()) + seconds)

    def wrong(self) -> str:
        near = {self.code(seconds=30 * step) for step in (-2, -1, 0, 1, 2)}
        return next(code for code in map("{:06}".format, range(9)) if code not in near)

    def next_code(self) -> str:
        """Wait for a code that was not used yet."""
        self._clock.advance(seconds=30)
        return self.code()


def secret_of(page: httpx2.Response) -> str:
    found = re.search(r'<code dir="ltr">([A-Z2-7 ]+)</code>', page.text)
    assert found is not None
    return found[1].replace(" ", "")


def recovery_codes_of(page: httpx2.Response) -> list[str]:
    return re.findall(r'<li><code dir="ltr">(.+?)</code></li>', page.text)


async def set_up(browser: Browser, page: httpx2.Response | None = None) -> tuple[Device, list[str]]:
    """Turn the second factor on for who is signed in; return the app and the recovery codes."""
    page = page or await browser.get(SETUP)
    assert page.url.path.startswith(SETUP), page.url
    device = Device(secret_of(page), browser.app.clock)
    page = await browser.submit(page, code=device.code())
    assert page.status_code == 200, page.text
    return device, recovery_codes_of(page)


async def session_of(app: App, user_id: str = ALICE_ID) -> Session:
    """Return the person's newest session."""
    async with app.store.read() as tx:
        return (await tx.sessions.of_user(user_id))[-1]


async def mails(app: App) -> list[MailPurpose]:
    async with app.store.read() as tx:
        return [mail.purpose for mail in await tx.mails.all()]


async def events(app: App, action: AuditAction) -> list[AuditEvent]:
    async with app.store.read() as tx:
        return [event for event in await tx.audit_events.all() if event.action is action]


@pytest.fixture
async def enrolled(app: App) -> tuple[Device, list[str]]:
    """Alice has an app and recovery codes, of which this browser here knows nothing."""
    setting_up = app.browser()
    await setting_up.sign_in()
    return await set_up(setting_up)


@pytest.fixture
def device(enrolled: tuple[Device, list[str]]) -> Device:
    return enrolled[0]


@pytest.fixture
def codes(enrolled: tuple[Device, list[str]]) -> list[str]:
    return enrolled[1]


# ── Setting it up ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_app_counts_once_it_made_a_right_code_and_the_session_is_one_of_two_factors(app: App) -> None:
    browser = app.browser()
    await browser.sign_in()
    before = await session_of(app)
    page = await browser.get(SETUP)
    assert 'src="data:image/svg+xml' in page.text
    refused = await browser.submit(page, code=Device(secret_of(page), app.clock).wrong())
    assert refused.status_code == 400
    assert secret_of(refused) == secret_of(page)
    async with app.store.read() as tx:
        assert not await tx.totps.all()

    _, codes = await set_up(browser, refused)

    assert len(set(codes)) == 10
    session = await session_of(app)
    assert (session.id, session.acr, session.amr) == (before.id, "2", ("pwd", "otp", "mfa"))
    assert session.hash != before.hash
    assert session.auth_time == before.auth_time
    assert await mails(app) == [MailPurpose.SECOND_FACTOR_ADDED]
    overview = await browser.get(SECURITY)
    assert "10 left" in overview.text
    assert codes[0] not in overview.text


async def test_the_secret_and_the_recovery_codes_cannot_be_read_in_the_database(
    app: App, enrolled: tuple[Device, list[str]]
) -> None:
    device, codes = enrolled
    async with app.store.read() as tx:
        (totp,) = await tx.totps.all()
        kept = repr([totp, totp.sealed, await tx.recovery_codes.all(), await tx.audit_events.all()])
    assert device._totp.secret not in kept
    assert not [code for code in codes if code in kept or code.replace("-", "") in kept]


async def test_it_needs_a_sign_in_of_the_last_minutes(app: App) -> None:
    browser = app.browser()
    await browser.sign_in()
    app.clock.advance(seconds=360)
    page = await browser.get(SETUP)
    assert page.url.path == "/login"
    assert (await browser.sign_in(page)).url.path == SETUP


async def test_the_page_of_a_setup_is_of_one_session_and_of_a_quarter_of_an_hour(app: App) -> None:
    alice, bob = app.browser(), app.browser()
    await alice.sign_in()
    await bob.sign_in(user=BOB)
    page, bobs = await alice.get(SETUP), await bob.get(SETUP)
    device = Device(secret_of(page), app.clock)
    token = form_of(page).fields["setup"]
    assert (await bob.submit(bobs, setup=token, code=device.code())).status_code == 409
    assert (await bob.submit(bobs, setup="\u00e9", code=device.code())).status_code == 409
    app.clock.advance(seconds=900)
    late = await alice.submit(page, code=device.code())
    assert late.url.path == "/login"
    async with app.store.read() as tx:
        assert not await tx.totps.all()


async def test_a_form_of_another_site_sets_nothing_up(app: App) -> None:
    browser = app.browser()
    await browser.sign_in()
    page = await browser.get(SETUP)
    code = Device(secret_of(page), app.clock).code()
    assert (await browser.post(page, headers={"Origin": "https://evil.example"}, code=code)).status_code == 403
    assert (await browser.post(page, csrf="x", code=code)).status_code == 403
    async with app.store.read() as tx:
        assert not await tx.totps.all()


# ── Signing in ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_password_alone_begins_no_session(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    assert page.url.path == "/login/mfa"
    assert "idp" not in browser.cookies
    done = await browser.submit(page, code=device.next_code())
    assert done.url.path == "/"
    session = await session_of(app)
    assert (session.acr, session.amr) == ("2", ("pwd", "otp", "mfa"))


async def test_within_an_authorization_request_it_goes_on_there_and_the_tokens_tell_rfc8176_s2(
    app: App, device: Device
) -> None:
    browser = app.browser()
    page = await browser.sign_in(await browser.request())
    assert page.url.path == "/login/mfa"
    assert "Portal" in page.text
    answer = await browser.finish(await browser.submit(page, code=device.next_code()))
    tokens = (await app.redeem(answer)).json()
    claims = decoded(tokens["id_token"])[1]
    assert (claims["acr"], claims["amr"]) == ("2", ["pwd", "otp", "mfa"])


@pytest.mark.parametrize("seconds", [-30, 0, 30])
async def test_clocks_may_differ_by_one_step_rfc6238_s5_2(app: App, device: Device, seconds: int) -> None:
    app.clock.advance(seconds=120)
    browser = app.browser()
    page = await browser.sign_in()
    app.clock.advance(seconds=-1)
    code = device.code(seconds=seconds)
    assert (await browser.submit(page, code=f"{code[:3]} {code[3:]}")).url.path == "/"


@pytest.mark.parametrize("seconds", [-61, 61])
async def test_clocks_may_not_differ_by_more_rfc6238_s5_2(app: App, device: Device, seconds: int) -> None:
    app.clock.advance(seconds=120)
    browser = app.browser()
    page = await browser.sign_in()
    assert (await browser.submit(page, code=device.code(seconds=seconds))).status_code == 401


async def test_a_code_works_once_rfc6238_s5_2(app: App, device: Device) -> None:
    first, second = app.browser(), app.browser()
    pages = [await first.sign_in(), await second.sign_in()]
    code = device.next_code()
    assert (await first.submit(pages[0], code=code)).url.path == "/"
    assert (await second.submit(pages[1], code=code)).status_code == 401


async def test_of_two_who_enter_one_code_at_once_one_gets_in(app: App, device: Device) -> None:
    browsers = [app.browser(), app.browser()]
    pages = [await browser.sign_in() for browser in browsers]
    code = device.next_code()
    answers = await asyncio.gather(
        *(browser.post(page, code=code) for browser, page in zip(browsers, pages, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 401]


async def test_what_is_pending_is_of_one_browser_and_of_ten_minutes(app: App, device: Device) -> None:
    browser, thief = app.browser(), app.browser()
    page = await browser.sign_in()
    await thief.get("/login")
    stolen = await thief.get(str(page.url))
    assert stolen.status_code == 400
    assert "sign in again" in stolen.text
    app.clock.advance(seconds=600)
    assert (await browser.submit(page, code=device.code())).status_code == 400
    assert (await browser.get(str(page.url))).status_code == 400


async def test_what_was_pending_is_used_up(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    await browser.submit(page, code=device.next_code())
    assert (await browser.get(str(page.url))).status_code == 400


async def test_after_five_wrong_codes_the_first_factor_is_asked_for_again(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    for _ in range(5):
        assert (await browser.submit(page, code=device.wrong())).status_code == 401
    assert (await browser.submit(page, code=device.next_code())).status_code == 400
    assert len(await events(app, AuditAction.SECOND_FACTOR_FAILED)) == 5


async def test_wrong_codes_cost_more_and_more_time_but_never_lock_the_person_out(
    app: App, device: Device, codes: list[str]
) -> None:
    guesser = app.browser()
    page = await guesser.sign_in()
    for _ in range(5):
        await guesser.submit(page, code=device.wrong())
    page = await guesser.sign_in()
    slowed = await guesser.submit(page, code=device.wrong())
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) <= 15
    app.clock.advance(seconds=15)
    assert (await guesser.submit(page, code=device.wrong())).status_code == 401
    app.clock.advance(seconds=15)
    assert (await guesser.submit(page, code=device.code())).status_code == 429
    # A guesser of codes does not keep out who has a recovery code, and the right one ends the wait.
    honest = app.browser()
    page = await honest.sign_in()
    assert page.url.path == "/login/mfa"
    assert (await honest.submit(page, recovery_code=codes[0])).url.path == "/"
    assert (await guesser.submit(await guesser.sign_in(), code=device.next_code())).url.path == "/"


async def test_a_new_password_ends_what_waited_for_the_second_factor(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    async with app.store.write() as tx:
        await end_all_sessions(tx, ALICE_ID, now=app.clock())
    assert (await browser.submit(page, code=device.next_code())).status_code == 400


async def test_the_form_of_another_site_proves_nothing(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    code = device.next_code()
    assert (await browser.post(page, headers={"Origin": "https://evil.example"}, code=code)).status_code == 403
    assert (await browser.post(page, csrf="x", code=code)).status_code == 403
    assert "idp" not in browser.cookies


# ── Recovery codes ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_recovery_code_signs_in_once_and_the_person_hears_of_it(
    app: App, enrolled: tuple[Device, list[str]]
) -> None:
    code = enrolled[1][3]
    browser, other = app.browser(), app.browser()
    page = await browser.sign_in()
    again = await other.sign_in()
    assert (await browser.submit(page, recovery_code=code.lower().replace("-", " "))).url.path == "/"
    session = await session_of(app)
    # RFC 8176 has no name for them; two factors they are.
    assert (session.acr, session.amr) == ("2", ("pwd", "mfa"))
    assert (await other.submit(again, recovery_code=code)).status_code == 401
    assert MailPurpose.RECOVERY_CODE_USED in await mails(app)
    assert "9 left" in (await browser.get(SECURITY)).text


async def test_of_two_who_enter_one_recovery_code_at_once_one_gets_in(app: App, codes: list[str]) -> None:
    browsers = [app.browser(), app.browser()]
    pages = [await browser.sign_in() for browser in browsers]
    answers = await asyncio.gather(
        *(browser.post(page, recovery_code=codes[0]) for browser, page in zip(browsers, pages, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 401]


async def test_new_codes_replace_the_old_ones(app: App, enrolled: tuple[Device, list[str]]) -> None:
    device, old = enrolled
    browser = app.browser()
    await browser.submit(await browser.sign_in(), code=device.next_code())
    page = await browser.submit(await browser.get(SECURITY), new_codes="1")
    new = recovery_codes_of(page)
    assert len(new) == 10
    assert not set(new) & set(old)
    assert MailPurpose.RECOVERY_CODES_CREATED in await mails(app)
    other = app.browser()
    page = await other.sign_in()
    assert (await other.submit(page, recovery_code=old[0])).status_code == 401
    assert (await other.submit(page, recovery_code=new[0])).url.path == "/"


async def test_another_persons_recovery_code_proves_nothing(app: App, codes: list[str]) -> None:
    bob = app.browser()
    await bob.sign_in(user=BOB)
    await set_up(bob)
    again = app.browser()
    page = await again.sign_in(user=BOB)
    assert (await again.submit(page, recovery_code=codes[0])).status_code == 401


# ── Taking it away ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_it_is_taken_away_by_whoever_proved_it_and_a_password_is_enough_then(app: App, device: Device) -> None:
    browser = app.browser()
    await browser.submit(await browser.sign_in(), code=device.next_code())
    done = await browser.submit(await browser.get(SECURITY), remove="totp")
    assert "Done" in done.text
    assert MailPurpose.SECOND_FACTOR_REMOVED in await mails(app)
    assert (await app.browser().sign_in()).url.path == "/"
    async with app.store.read() as tx:
        assert not await tx.recovery_codes.all()


@pytest.mark.parametrize("button", [{"remove": "totp"}, {"new_codes": "1"}])
async def test_a_session_of_one_factor_takes_nothing_away(
    app: App, device: Device, codes: list[str], button: dict[str, str]
) -> None:
    """As one has who comes by another provider, or signed in before the second factor was set up."""
    browser = app.browser()
    await browser.submit(await browser.sign_in(), code=device.next_code())
    session = await session_of(app)
    await app.change("sessions", [session.id], acr="1", amr=("fed",))
    page = await browser.submit(await browser.get(SECURITY), **button)
    assert page.url.path == "/login/mfa"
    assert (await browser.get(SETUP)).url.path == "/login/mfa"
    async with app.store.read() as tx:
        assert len(await tx.totps.all()) == 1
    page = await browser.submit(page, code=device.next_code())
    assert page.url.path == SECURITY
    assert (await session_of(app)).amr == ("fed", "otp", "mfa")


async def test_an_old_session_takes_nothing_away(app: App, device: Device) -> None:
    browser = app.browser()
    await browser.submit(await browser.sign_in(), code=device.next_code())
    page = await browser.get(SECURITY)
    app.clock.advance(seconds=360)
    assert (await browser.submit(page, remove="totp")).url.path == "/login"


async def test_what_is_not_there_is_not_taken_away(app: App) -> None:
    browser = app.browser()
    await browser.sign_in()
    page = await browser.get(SECURITY)
    for button in ("remove", "new_codes"):
        answer = await browser.http.post(
            SECURITY, data={"csrf": form_of(page).fields["csrf"], button: "1"}, headers={"Origin": app.issuer}
        )
        assert answer.status_code == 409
    assert not await mails(app)


async def test_an_administrator_helps_whoever_has_lost_all(app: App, device: Device) -> None:
    browser = app.browser()
    page = await browser.sign_in()
    outbox = app.services["second_factors"]._outbox
    await reset_second_factors(app.store, outbox, app.clock, ALICE, actor="cli", issuer=app.issuer)
    assert (await browser.submit(page, code=device.next_code())).status_code == 400
    assert (await browser.sign_in()).url.path == "/"
    assert (await mails(app)).count(MailPurpose.SECOND_FACTOR_REMOVED) == 1
    (event,) = await events(app, AuditAction.SECOND_FACTORS_RESET)
    assert (event.actor, event.target) == ("cli", ALICE_ID)


# ── Applications that want it (OpenID Connect Core §5.5.1.1, RFC 9470) ──────────────────────────────────────────────
async def weakened(app: App, device: Device) -> Browser:
    """Return a browser whose session is of one factor, though the person has two."""
    browser = app.browser()
    await browser.submit(await browser.sign_in(), code=device.next_code())
    await app.change("sessions", [(await session_of(app)).id], acr="1", amr=("fed",))
    return browser


@pytest.mark.parametrize("wish", [{"claims": ESSENTIAL}, {"acr_values": "2"}, {"acr_values": "gold 2 1"}])
async def test_the_second_factor_alone_is_asked_for_and_the_session_goes_on_rfc9470_s4(
    app: App, device: Device, wish: dict[str, str]
) -> None:
    browser = await weakened(app, device)
    before = await session_of(app)
    page = await browser.request(**wish)
    assert page.url.path == "/login/mfa"
    answer = await browser.finish(await browser.submit(page, code=device.next_code()))
    assert answer.code
    session = await session_of(app)
    assert (session.id, session.acr, session.amr) == (before.id, "2", ("fed", "otp", "mfa"))
    assert (session.auth_time, session.expires_at) == (before.auth_time, before.expires_at)
    assert session.hash != before.hash


async def test_silently_it_is_an_error_or_left_oidc_core_s3_1_2_6(app: App, device: Device) -> None:
    browser = await weakened(app, device)
    await browser.finish(await browser.request())
    refused = await browser.finish(await browser.request(prompt="none", claims=ESSENTIAL))
    assert refused.error == "interaction_required"
    assert (await browser.finish(await browser.request(prompt="none", acr_values="2"))).code


async def test_whoever_would_rather_not_is_answered_with_the_specified_error(app: App, device: Device) -> None:
    browser = await weakened(app, device)
    page = await browser.request(claims=ESSENTIAL)
    answer = await browser.finish(await browser.submit(page, decline="1"))
    assert answer.error == "unmet_authentication_requirements"
    page = await browser.request(acr_values="2")
    assert (await browser.finish(await browser.submit(page, decline="1"))).error == "access_denied"


async def test_whoever_has_none_is_led_to_set_one_up_and_back(app: App) -> None:
    browser = app.browser()
    page = await browser.sign_in(await browser.request(claims=ESSENTIAL))
    assert page.url.path == "/login/mfa"
    (setup,) = re.findall(rf'href="({SETUP}/[^"]+)"', page.text)
    app.clock.advance(seconds=360)
    page = await browser.sign_in(await browser.get(setup))
    assert page.url.path == setup
    page = await browser.submit(page, code=Device(secret_of(page), app.clock).code())
    (onward,) = re.findall(r'href="(/authorize/resume[^"]+)"', page.text)
    assert (await browser.finish(await browser.get(onward))).code
    assert (await session_of(app)).acr == "2"


async def test_a_preference_asks_nobody_to_set_anything_up_oidc_core_s3_1_2_1(app: App) -> None:
    browser = app.browser()
    assert (await browser.authorize(acr_values="2")).code


async def test_a_session_that_ended_meanwhile_is_not_raised(app: App, device: Device) -> None:
    browser = await weakened(app, device)
    page = await browser.request(claims=ESSENTIAL)
    session = await session_of(app)
    shown = form_of(page, "code")
    await app.services["sessions"].end(session, now=app.clock())
    code = device.next_code()
    answer = await browser.http.post(shown.action, data={**shown.fields, "code": code}, headers={"Origin": app.issuer})
    assert answer.status_code == 303
    async with app.store.read() as tx:
        assert not [
            each
            for each in await tx.sessions.all()
            if each.acr == "2" and each.ended_at is None and each.id == session.id
        ]


async def test_a_page_of_ours_may_ask_for_it(app: App, device: Device) -> None:
    browser = await weakened(app, device)
    page = await browser.get("/login/mfa", next="/account/labs")
    assert (await browser.submit(page, code=device.next_code())).url.path == "/account/labs"
    assert (await browser.get("/login/mfa", next="/account/labs")).url.path == "/account/labs"
    assert (await browser.get("/login/mfa", next="https://evil.example/")).url.path == "/"
    assert (await app.browser().get("/login/mfa")).url.path == "/login"


async def test_an_admin_of_a_lab_that_needs_two_factors_is_led_to_prove_them(app: App, device: Device) -> None:
    await app.change("labs", ["lab_bio"], admin_acr="2")
    browser = await weakened(app, device)
    assert (await browser.get("/labs/bio/settings")).status_code in {403, 404}
    page = await browser.get("/account/labs")
    (step_up,) = re.findall(r'href="(/login/mfa[^"]+)"', page.text)
    page = await browser.submit(await browser.get(step_up), code=device.next_code())
    assert page.url.path == "/labs/bio"
    assert (await browser.get("/labs/bio/settings")).status_code == 200
    assert "/login/mfa" not in (await browser.get("/account/labs")).text


async def test_discovery_names_both_strengths(app: App) -> None:
    metadata = (await app.http().get("/.well-known/openid-configuration")).json()
    assert metadata["acr_values_supported"] == ["1", "2"]


def test_what_an_app_scans_names_account_and_issuer() -> None:
    uri = urlsplit(provisioning_uri(mint_secret(), account="a:b@example.org", issuer="Lab: ID"))
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert parse_qs(uri.query)["issuer"] == ["Lab  ID"]
