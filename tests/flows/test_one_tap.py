"""Google's One Tap: the ID token that Google's script posts from the sign-in page, and what that page allows it."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from idp.domain.user import UserStatus
from idp.features import FEATURES
from idp.web.pages import TRANSACTION_CONTENT_SECURITY_POLICY
from tests.support.app import ALICE, ALICE_ID, BOB, App, Browser, Start, answer_of, decoded
from tests.support.bent import ABSENT, failing
from tests.support.clock import FakeClock
from tests.support.databases import one_database
from tests.support.evil_provider import EvilProvider
from tests.support.factories import make_linked_account, make_provider
from tests.support.upstream import add_provider, failures, start_with_google

NEWCOMER = "nora@newcomers.example"
CSRF = "g_csrf_token"
LOST = "began in another browser"


def attributes(page: httpx2.Response) -> dict[str, str]:
    """Return what the page tells Google's script."""
    found = re.search(r'<div id="g_id_onload" hidden ([^>]+)>', page.text)
    assert found, f"One Tap is not offered: {page.status_code} {page.url}"
    return {name: unescape(value) for name, value in re.findall(r'data-([a-z_]+)="([^"]*)"', found[1])}


@dataclass
class Tapper:
    """A browser in which Google's script runs."""

    browser: Browser
    evil: EvilProvider

    def credential(self, page: httpx2.Response, **claims: Any) -> str:
        return self.evil.credential(**{"nonce": attributes(page)["nonce"], **claims})

    async def post(
        self,
        page: httpx2.Response,
        credential: str | None = None,
        *,
        csrf: str | None = "twice",
        cookie: str | None = "twice",
        headers: Mapping[str, str | None] = {},
    ) -> httpx2.Response:
        """Post as Google's script does from the page, and stay at the answer."""
        sent: dict[str, str | None] = {"Origin": self.browser.app.issuer, "Sec-Fetch-Site": "same-origin", **headers}
        fields = {"credential": credential or self.credential(page), CSRF: csrf, "select_by": "btn"}
        if cookie is not None:
            self.browser.http.cookies.set(CSRF, cookie)
        return await self.browser.http.post(
            attributes(page)["login_uri"],
            data={name: value for name, value in fields.items() if value is not None},
            headers={name: value for name, value in sent.items() if value is not None},
        )

    async def sign_in(self, page: httpx2.Response | None = None) -> httpx2.Response:
        return await self.browser.follow(await self.post(page or await self.browser.get("/login")))

    async def is_signed_in(self) -> bool:
        return await self.browser.app.services["sessions"].find(self.browser.cookies.get("idp")) is not None


async def start_with_one_tap(start: Start, evil: EvilProvider, clock: FakeClock, **settings: str) -> App:
    evil.user = {"sub": "108", "email": NEWCOMER, "email_verified": True, "name": "Nora Newcomer"}
    return await start_with_google(start, evil, clock, **{"google_one_tap": "true", **settings})


@pytest.fixture
async def google(start: Start, evil: EvilProvider, clock: FakeClock) -> App:
    return await start_with_one_tap(start, evil, clock)


@pytest.fixture
def nora(google: App, evil: EvilProvider) -> Tapper:
    return Tapper(google.browser(), evil)


async def link_alice(app: App, evil: EvilProvider) -> None:
    linked = make_linked_account(issuer=evil.issuer, sub="108", provider="google", user_id=ALICE_ID, email=ALICE)
    evil.user |= {"sub": "108", "email": ALICE}
    async with app.store.write() as tx:
        await tx.linked_accounts.add(linked)


async def faults(app: App) -> list[str]:
    return [event.detail["fault"] for event in await failures(app)]


# ── The page ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_page_tells_googles_script_for_whom_and_where_to(nora: Tapper, evil: EvilProvider) -> None:
    page = await nora.browser.get("/login", next="/account/labs")
    told = attributes(page)
    nonce = told.pop("nonce")
    assert told == {
        "client_id": evil.client_id,
        "login_uri": "http://localhost:8000/login/google/one-tap?next=%2Faccount%2Flabs",
        "context": "signin",
        "ux_mode": "popup",
        "itp_support": "true",
        "use_fedcm_for_prompt": "true",
        "cancel_on_tap_outside": "false",
    }
    assert len(nonce) > 100
    assert attributes(await nora.browser.get("/login"))["nonce"] != nonce
    # Whoever keeps Google's script away has the form that leads there.
    assert 'action="/login/google?next=%2Faccount%2Flabs"' in page.text


async def test_the_page_is_widened_as_google_documents_it_and_tells_google_the_origin_alone(nora: Tapper) -> None:
    for page in (await nora.browser.get("/login"), await nora.browser.request()):
        csp = page.headers["content-security-policy"]
        (nonce,) = re.findall(r"'nonce-([\w-]{43})'", csp)
        assert csp == (
            "default-src 'none'; script-src 'self' https://accounts.google.com/gsi/client; "
            f"style-src 'self' https://accounts.google.com/gsi/style 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self' https://accounts.google.com/gsi/; base-uri 'none'; frame-ancestors 'none'; "
            "frame-src https://accounts.google.com/gsi/"
        )
        assert page.headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert page.text.count(nonce) == 1
        # What is never sent keeps window.opener for applications that sign in through a popup of theirs.
        assert "cross-origin-opener-policy" not in page.headers


@pytest.mark.parametrize("signed_in", [False, True])
@one_database
async def test_no_other_page_is_widened(nora: Tapper, signed_in: bool) -> None:
    if signed_in:
        await nora.browser.sign_in(user=BOB)
    values = {"provider": "google", "handle": "x", "token": "x", "slug": "bio", "reference": "K7Q2-M9XD"}
    paths = [
        re.sub(r"{(\w+)(?::\w+)?}", lambda match: values.get(match[1], "x"), route.path)
        for feature in FEATURES
        for route in feature.routes
        if "GET" in (route.methods or ()) and route.path != "/login"
    ]
    assert len(paths) > 20
    for path in [*paths, "/nowhere", "/login?again=1", "/login?proof=1", "/login?interaction=gone"]:
        answer = await nora.browser.http.get(path)
        assert "accounts.google.com" not in f"{answer.headers} {answer.text}", path
        assert answer.headers.get("referrer-policy") != "strict-origin-when-cross-origin", path


async def test_with_the_setting_off_nothing_is_changed(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    app = await start_with_one_tap(start, evil, clock, google_one_tap="false")
    page = await app.browser().get("/login")
    assert page.headers["content-security-policy"] == TRANSACTION_CONTENT_SECURITY_POLICY
    assert page.headers["referrer-policy"] == "same-origin"
    assert "Sign in with" in page.text
    assert not re.search("gsi|one.tap|g_id", page.text)
    posted = await app.http().post("/login/google/one-tap", headers={"Origin": app.issuer}, data={"credential": "x"})
    assert posted.status_code == 404


async def test_without_google_the_setting_does_nothing(start: Start) -> None:
    app = await start(google_one_tap="true")
    assert "g_id_onload" not in (await app.browser().get("/login")).text
    assert (await app.http().post("/login/google/one-tap", headers={"Origin": app.issuer})).status_code == 404


async def test_other_providers_have_none_and_there_is_nothing_to_look_at(google: App, nora: Tapper) -> None:
    await add_provider(google, make_provider(name="campus"))
    for name in ("campus", "nobody"):
        answer = await nora.browser.http.post(f"/login/{name}/one-tap", headers={"Origin": google.issuer})
        assert answer.status_code == 404
    assert (await nora.browser.http.get("/login/google/one-tap")).status_code == 405


# ── Who gets in ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_newcomer_gets_an_account_and_nobody_is_told_when_they_signed_in(google: App, nora: Tapper) -> None:
    nora.evil.id_token["auth_time"] = int(google.clock().timestamp())
    page = await nora.sign_in()
    assert (page.status_code, page.url.path) == (200, "/")
    found = await google.services["sessions"].find(nora.browser.cookies["idp"])
    assert found is not None
    assert (found.user.email, found.user.name, found.user.email_verified) == (NEWCOMER, "Nora Newcomer", False)
    assert found.session.amr == ("fed",)
    assert not found.session.auth_time_known
    # Nobody went to Google, and no secret was used.
    assert not nora.evil.count("authorize")
    assert not nora.evil.count("token")


async def test_the_application_gets_its_code(google: App, nora: Tapper) -> None:
    answer = await nora.browser.finish(await nora.sign_in(await nora.browser.request(scope="openid email")))
    tokens = (await google.redeem(answer)).json()
    _, claims = decoded(tokens["id_token"])
    assert claims["amr"] == ["fed"]
    assert "auth_time" not in claims


async def test_a_page_of_ours_is_gone_on_to(nora: Tapper) -> None:
    page = await nora.sign_in(await nora.browser.get("/account/labs"))
    assert page.url.path == "/account/labs"


async def test_an_address_of_somebody_here_is_never_linked_without_a_proof(google: App, nora: Tapper) -> None:
    nora.evil.user["email"] = ALICE
    page = await nora.sign_in()
    assert page.url.path.startswith("/login/google/link/")
    assert not await nora.is_signed_in()
    async with google.store.read() as tx:
        assert not await tx.linked_accounts.all()


async def test_the_policy_counts_here_as_well(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    app = await start_with_one_tap(start, evil, clock, registration="invite")
    page = await Tapper(app.browser(), evil).sign_in()
    assert page.status_code == 403
    assert "There is no account for you yet" in page.text
    assert await faults(app) == ["no_account"]


async def test_a_disabled_account_stays_out(google: App, nora: Tapper) -> None:
    await link_alice(google, nora.evil)
    await google.change("users", [ALICE_ID], status=UserStatus.DISABLED)
    assert "cannot be used" in (await nora.sign_in()).text
    assert not await nora.is_signed_in()


async def test_a_network_may_try_so_often(start: Start, evil: EvilProvider, clock: FakeClock) -> None:
    app = await start_with_one_tap(start, evil, clock, authorization_limit="1/hour", rate_limit_exempt="10.9.9.9")
    nora = Tapper(app.browser(), evil)
    page = await nora.browser.get("/login")
    assert (await nora.post(page)).status_code == 303
    assert (await nora.post(page)).status_code == 429


# ── From our own page alone ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("csrf", "cookie"), [(None, "a"), ("a", None), ("a", "b"), ("", ""), (None, None), ("ä", "a"), ("a", "")]
)
@one_database
async def test_the_token_of_googles_script_has_to_come_twice(
    nora: Tapper, csrf: str | None, cookie: str | None
) -> None:
    page = await nora.browser.get("/login", next="/account/labs")
    credential = nora.credential(page)
    refused = await nora.post(page, credential, csrf=csrf, cookie=cookie)
    assert refused.status_code == 403
    assert "Please try again" in refused.text
    assert not await nora.is_signed_in()
    # The page that it leads to works, and nothing was used up.
    assert attributes(refused)["login_uri"] == attributes(page)["login_uri"]
    assert (await nora.post(page, credential)).headers["location"] == "/account/labs"


async def test_a_field_that_came_twice_is_refused(nora: Tapper) -> None:
    page = await nora.browser.get("/login")
    body = f"credential=a&credential={nora.credential(page)}&{CSRF}=twice"
    nora.browser.http.cookies.set(CSRF, "twice")
    headers = {"Origin": nora.browser.app.issuer, "Content-Type": "application/x-www-form-urlencoded"}
    assert (await nora.browser.http.post("/login/google/one-tap", content=body, headers=headers)).status_code == 400
    assert not await nora.is_signed_in()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://accounts.google.com", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": None, "Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@one_database
async def test_no_other_site_can_sign_somebody_in_rfc6749_s10_12(
    nora: Tapper, headers: Mapping[str, str | None]
) -> None:
    page = await nora.browser.get("/login")
    assert (await nora.post(page, headers=headers)).status_code == 403
    assert not await nora.is_signed_in()


# ── The nonce ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def refused_as_lost(nora: Tapper, page: httpx2.Response, credential: str | None = None) -> None:
    refused = await nora.post(page, credential)
    assert refused.status_code == 400
    assert LOST in refused.text
    assert not await nora.is_signed_in()


async def test_the_token_of_another_browser_is_refused_oidc_core_s3_1_3_7(google: App, nora: Tapper) -> None:
    mallory = Tapper(google.browser(), nora.evil)
    credential = mallory.credential(await mallory.browser.get("/login"))
    page = await nora.browser.get("/login")
    await refused_as_lost(nora, page, credential)
    assert await faults(google) == ["lost"]
    # A browser without the cookie is nobody's.
    nora.browser.http.cookies.clear()
    assert (await nora.post(page, credential)).status_code == 403


async def test_a_token_counts_once(google: App, nora: Tapper) -> None:
    page = await nora.browser.get("/login")
    credential = nora.credential(page)
    assert (await nora.post(page, credential)).status_code == 303
    nora.browser.http.cookies.delete("idp")
    await refused_as_lost(nora, page, credential)
    # Nor does another one that was got for the same page.
    await refused_as_lost(nora, page)
    assert await faults(google) == ["lost", "lost"]


async def test_of_two_with_the_same_token_at_the_same_time_one_gets_in(google: App, nora: Tapper) -> None:
    page = await nora.browser.get("/login")
    credential = nora.credential(page)
    answers = await asyncio.gather(*(nora.post(page, credential) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400]


async def test_a_page_that_is_open_for_an_hour_has_to_be_opened_anew(google: App, nora: Tapper) -> None:
    page = await nora.browser.get("/login", next="/account/labs")
    google.clock.advance(seconds=3600)
    refused = await nora.post(page)
    assert refused.status_code == 400
    assert LOST in refused.text
    # The way back keeps where the person wanted to go.
    assert 'href="/login?next=%2Faccount%2Flabs"' in refused.text
    late = await nora.browser.get("/login")
    google.clock.advance(seconds=3599)
    assert (await nora.post(late)).status_code == 303


@pytest.mark.parametrize(
    "changed",
    [
        lambda nonce: ABSENT,
        lambda nonce: "",
        lambda nonce: nonce.rpartition(".")[0],
        lambda nonce: f"9{nonce}",
        lambda nonce: f"{nonce[:-1]}{'1' if nonce[-1] == '0' else '0'}",
        lambda nonce: f"{nonce}\n",
        lambda nonce: [nonce],
        lambda nonce: "\ud800",
    ],
    ids=["none", "empty", "without proof", "later", "bent proof", "line break", "list", "surrogate"],
)
@one_database
async def test_a_nonce_that_is_not_ours_is_refused(nora: Tapper, changed: Callable[[str], object]) -> None:
    page = await nora.browser.get("/login")
    refused = await nora.post(page, nora.credential(page, nonce=changed(attributes(page)["nonce"])))
    assert refused.status_code in {400, 502}
    assert not await nora.is_signed_in()


async def test_the_nonce_is_kept_as_a_hash_until_it_expires(google: App, nora: Tapper) -> None:
    page = await nora.browser.get("/login")
    began = google.clock().replace(microsecond=0)
    await nora.post(page)
    async with google.store.read() as tx:
        (seen,) = await tx.seen_tokens.all()
    assert seen.expires_at == began + timedelta(hours=1)
    assert re.fullmatch("[0-9a-f]{64}", seen.hash)


# ── The ID token ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"aud": "another-client"}, "invalid"),
        ({"aud": ["lab-id", "another-client"]}, "invalid"),
        ({"azp": "another-client"}, "invalid"),
        ({"iss": "https://evil.example"}, "invalid"),
        ({"exp": lambda exp: exp - 7200}, "invalid"),
        ({"iat": lambda iat: iat - 3600}, "invalid"),
        ({"nbf": lambda nbf: nbf + 3600}, "invalid"),
        ({"sub": ABSENT}, "invalid"),
        ({"email_verified": False}, "unverified_email"),
        ({"email_verified": ABSENT}, "unverified_email"),
    ],
)
@one_database
async def test_a_token_that_is_not_for_us_or_not_for_now_is_refused_and_uses_nothing_up_s3_1_3_7(
    google: App, nora: Tapper, claims: dict[str, Any], fault: str
) -> None:
    page = await nora.browser.get("/login")
    refused = await nora.post(page, nora.credential(page, **claims))
    assert refused.status_code in {403, 502}
    assert not await nora.is_signed_in()
    assert await faults(google) == [fault]
    async with google.store.read() as tx:
        assert await tx.users.find_by_identifier(NEWCOMER) is None
    if fault == "invalid":
        assert (await nora.post(page)).status_code == 303


@pytest.mark.parametrize("forgery", ["none", "secret", "public key", "foreign key", "no token", "empty", "long"])
@one_database
async def test_a_token_that_google_did_not_sign_is_refused_rfc8725_s3_1(
    google: App, nora: Tapper, forgery: str
) -> None:
    evil, page = nora.evil, await nora.browser.get("/login")
    match forgery:
        case "none":
            evil.alg = "none"
        case "secret" | "public key":
            evil.alg, evil.hmac_key = "HS256", None if forgery == "secret" else evil.key.public_pem
        case "foreign key":
            evil.header["kid"], published = evil.key.kid, evil.published
            evil.rotate()
            evil.published = published
    forged = {"no token": "x", "empty": " ", "long": "x" * 60_000}.get(forgery) or nora.credential(page)
    refused = await nora.post(page, forged)
    assert refused.status_code == 502
    assert "could not be trusted" in refused.text
    assert not await nora.is_signed_in()
    assert await faults(google) == ["invalid"]


async def test_a_token_beyond_all_measure_is_not_even_read(nora: Tapper) -> None:
    page = await nora.browser.get("/login")
    assert (await nora.post(page, nora.credential(page, groups="x" * 1_000_000))).status_code == 413
    assert not await nora.is_signed_in()


@pytest.mark.parametrize(("hd", "let_in"), [("lab.example", True), ("other.example", False), (ABSENT, False)])
@one_database
async def test_only_people_of_the_organisation_get_in(
    start: Start, evil: EvilProvider, clock: FakeClock, hd: Any, let_in: bool
) -> None:
    app = await start_with_one_tap(start, evil, clock, google_hosted_domain="lab.example")
    nora = Tapper(app.browser(), evil)
    page = await nora.browser.get("/login")
    answer = await nora.post(page, nora.credential(page, hd=hd))
    assert answer.status_code == (303 if let_in else 403)
    assert await nora.is_signed_in() is let_in


async def test_a_provider_that_is_down_is_said_to_be(nora: Tapper) -> None:
    nora.evil.bend["discovery"] = failing(503)
    page = await nora.sign_in()
    assert page.status_code == 503
    assert "does not answer" in page.text
    assert not await nora.is_signed_in()


async def test_nothing_of_the_token_is_logged_or_kept(
    google: App, nora: Tapper, capfd: pytest.CaptureFixture[str]
) -> None:
    page = await nora.browser.get("/login")
    bad, good = nora.credential(page, aud="another-client"), nora.credential(page)
    refused = await nora.post(page, bad)
    await nora.post(page, good)
    (reference,) = set(re.findall(r"[2-9A-Z]{4}-[2-9A-Z]{4}", refused.text))
    ticket = await google.services["refusals"].find(reference)
    assert ticket is not None
    shown = f"{ticket!r}{''.join(capfd.readouterr())}"
    assert "another-client" not in shown
    for credential in (bad, good):
        assert not any(part in shown for part in credential.split(".")[1:])
    assert attributes(page)["nonce"] not in shown


# ── A proof that they are there, which a tap is not ─────────────────────────────────────────────────────────────────
DEMANDS = [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "600"}]


async def smuggled(nora: Tapper, page: httpx2.Response) -> httpx2.Response:
    """Post for a page that offers no One Tap, with the nonce of one that does."""
    other = await nora.browser.get("/login", add="1")
    query = urlsplit(str(page.url)).query
    nora.browser.http.cookies.set(CSRF, "twice")
    fresh = {"auth_time": int(nora.browser.app.clock().timestamp())}
    fields = {"credential": nora.credential(other, **fresh), CSRF: "twice"}
    headers = {"Origin": nora.browser.app.issuer, "Sec-Fetch-Site": "same-origin"}
    return await nora.browser.http.post(f"/login/google/one-tap?{query}", data=fields, headers=headers)


@pytest.mark.parametrize("demand", DEMANDS)
@one_database
async def test_a_tap_is_no_answer_to_a_demand_for_a_proof_oidc_core_s3_1_2_1(
    google: App, nora: Tapper, demand: dict[str, str]
) -> None:
    await link_alice(google, nora.evil)
    page = await nora.browser.request(**demand)
    assert page.url.path == "/login"
    assert "g_id_onload" not in page.text
    assert "accounts.google.com" not in page.headers["content-security-policy"]
    answer = await smuggled(nora, page)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?interaction=")
    assert "proof=1" in answer.headers["location"]
    assert not await nora.is_signed_in()
    # The password does it, and is not offered another tap.
    asked = await nora.browser.follow(answer)
    assert "g_id_onload" not in asked.text
    assert (await nora.browser.finish(asked)).code


@pytest.mark.parametrize("demand", DEMANDS)
@one_database
async def test_whoever_has_nothing_else_is_refused_by_name(google: App, nora: Tapper, demand: dict[str, str]) -> None:
    answer = answer_of(await smuggled(nora, await nora.browser.request(**demand)))
    assert answer.error == "login_required"
    assert not await nora.is_signed_in()


async def test_a_page_that_asks_again_offers_none_and_takes_none(google: App, nora: Tapper) -> None:
    await link_alice(google, nora.evil)
    await nora.sign_in()
    page = await nora.browser.get("/login", again="1", next="/account/labs")
    assert "g_id_onload" not in page.text
    answer = await smuggled(nora, page)
    assert "proof=1" in answer.headers["location"]
