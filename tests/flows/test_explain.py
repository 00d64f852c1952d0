"""Every refusal leads to its explanation: the reason for administrators, the way to them for everybody else."""

import html
import json
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from idp.crypto.envelope import unseal
from idp.crypto.jose import Signer, generate_key
from idp.domain.client import ClientAuthMethod
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import AdminRole
from tests.support.app import (
    ALICE,
    BOB,
    BOB_ID,
    ISSUER,
    PASSWORD,
    VERIFIER,
    App,
    Browser,
    Installed,
    Start,
    answer_of,
    basic,
    bearer,
    form_of,
    secret_of,
)
from tests.support.clock import START

REFERENCE = re.compile(r"[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}")
EVIL_URI = "https://portal.example.org/callbacks"


def text_of(page: httpx2.Response) -> str:
    """What a page says, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


def path_of(uri: str) -> str:
    """The path of an error_uri; it is one of ours."""
    assert uri.startswith(f"{ISSUER}/explain/")
    assert REFERENCE.fullmatch(uri.removeprefix(f"{ISSUER}/explain/"))
    return urlsplit(uri).path


def path_on(page: httpx2.Response) -> str:
    """Where the reference of an error page leads."""
    (found,) = re.findall(r'href="(/explain/[^"]+)"', page.text)
    return path_of(ISSUER + found)


@pytest.fixture
async def admin(app: App) -> Browser:
    """The browser of Bob, who is a super_admin."""
    browser = app.browser()
    await browser.sign_in(user=BOB)
    return browser


# ── Every refusal has one ───────────────────────────────────────────────────────────────────────────────────────────
async def test_a_refusal_by_redirect_carries_its_error_uri_rfc6749_s4_1_2_1(browser: Browser, admin: Browser) -> None:
    for changes, error in (
        ({"prompt": "none"}, "login_required"),
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"response_type": None}, "invalid_request"),
    ):
        answer = answer_of(await browser.request(**changes))
        page = await admin.get(path_of(answer.params["error_uri"]))
        assert page.status_code == 200
        for told in (error, answer.params["error_description"], "client_id portal"):
            assert told in text_of(page)


async def test_the_error_uri_stands_where_the_response_mode_puts_the_answer(app: App, browser: Browser) -> None:
    params = app.authorization_request(prompt="none")
    fragment = await app.http().get("/authorize", params={**params, "response_mode": "fragment"})
    location = urlsplit(fragment.headers["location"])
    assert location.query == ""
    assert path_of(dict(parse_qsl(location.fragment))["error_uri"])
    form = form_of(await browser.request(prompt="none", response_mode="form_post"))
    assert form.action == "https://portal.example.org/callback"
    assert path_of(form.fields["error_uri"])


async def test_a_refusal_of_a_stored_request_is_explained_with_what_the_application_sent(
    browser: Browser, admin: Browser
) -> None:
    answer = await browser.authorize(decision="deny", scope="openid email")
    assert answer.error == "access_denied"
    page = text_of(await admin.get(path_of(answer.params["error_uri"])))
    assert "The user did not allow it." in page
    assert "openid email" in page


async def test_refusals_in_json_carry_their_error_uri_rfc6749_s5_2(app: App, admin: Browser) -> None:
    http = app.http()
    answers = [
        (await http.post("/token", data={"client_id": "portal"}), "invalid_request"),
        (await app.post("/token", "portal", grant_type="nonsense"), "unsupported_grant_type"),
        (await app.post("/token", "portal", grant_type="authorization_code", code="x"), "invalid_grant"),
        (await http.post("/token", data={"grant_type": "x"}, headers=basic("portal", "wrong")), "invalid_client"),
        (await app.post("/introspect", "portal"), "invalid_request"),
        (await http.post("/introspect", data={"token": "x"}), "invalid_client"),
        (await app.post("/revoke", "portal"), "invalid_request"),
        (await http.post("/clients", json={"redirect_uris": ["x"]}), "access_denied"),
        (await http.post("/token", content=b"{}"), "invalid_request"),
    ]
    for answer, error in answers:
        assert answer.json().keys() == {"error", "error_description", "error_uri"}
        assert answer.json()["error"] == error
        page = await admin.get(path_of(answer.json()["error_uri"]))
        assert page.status_code == 200, error
        assert answer.json()["error_description"] in text_of(page)


async def test_a_browser_application_can_read_the_error_uri_across_origins_fetch_s3_2(app: App) -> None:
    headers = {"Origin": "https://spa.example.org"}
    for path in ("/token", "/revoke"):
        answer = await app.http().post(path, data={"client_id": "spa"}, headers=headers)
        assert answer.headers["access-control-allow-origin"] == headers["Origin"]
        assert path_of(answer.json()["error_uri"])


async def test_the_reference_of_an_error_page_leads_to_its_explanation(browser: Browser, admin: Browser) -> None:
    for page, said in (
        (await browser.get("/authorize", client_id="unknown"), "unknown"),
        (await browser.request(redirect_uri=EVIL_URI), EVIL_URI),
        (await browser.get("/login", interaction="x"), "expired"),
        (await browser.get("/logout", id_token_hint="x"), "id_token_hint"),
        (
            await browser.get("/logout", client_id="portal", post_logout_redirect_uri="https://evil.example/"),
            "https://evil.example/",
        ),
        (await browser.post(await browser.get("/login"), csrf="x", headers={"Origin": "https://evil.example"}), "form"),
    ):
        assert page.status_code in {400, 403}, page.url
        explained = await admin.get(path_on(page))
        assert explained.status_code == 200
        assert said in text_of(explained), page.url


async def test_failures_and_wrong_addresses_have_a_reference_for_the_log_alone(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    missing = await app.http().get("/nothing", headers={"Accept": "text/html"})
    monkeypatch.setattr(type(app.services["authorization"]), "start", broken)
    for page in (missing, await browser.request()):
        assert 'href="/explain/' not in page.text
        assert REFERENCE.search(text_of(page))


async def test_userinfo_refuses_without_an_explanation(app: App) -> None:
    for headers in ({}, bearer("x")):
        assert "error_uri" not in (await app.http().get("/userinfo", headers=headers)).text


# ── Who reads what ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_anybody_reads_the_code_the_description_the_time_and_whom_to_ask(
    browser: Browser, admin: Browser
) -> None:
    path = path_on(await browser.request(redirect_uri=EVIL_URI, scope="openid email"))
    await browser.sign_in(user=ALICE)
    for reader in (browser, browser.app.browser()):
        page = await reader.get(path)
        text = text_of(page)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert "invalid_redirect_uri" in text
        assert "The redirect_uri is not registered for this client" in text
        assert "2026-01-05 12:00 UTC" in text
        assert "Ask an administrator of the application, and give them the reference" in text
        for kept in (EVIL_URI, "https://portal.example.org/callback", "portal", "openid email", "/authorize"):
            assert kept not in text, kept


async def test_a_reference_that_is_unknown_expired_or_mistyped_looks_the_same(app: App, browser: Browser) -> None:
    path = path_on(await browser.get("/authorize", client_id="unknown"))
    app.clock.advance(timedelta(days=7))
    pages = [await browser.get(path) for path in (path, "/explain/K7Q2-M9XD", "/explain/K7Q2-M9X0", "/explain/%FF")]
    assert {page.status_code for page in pages} == {404}
    assert len({page.text for page in pages}) == 1
    assert "This reference is not known" in text_of(pages[0])
    assert "Ask an administrator of the application, and give them the reference" in text_of(pages[0])


@pytest.mark.parametrize("role", [AdminRole.VIEWER, AdminRole.ADMIN])
async def test_whoever_has_a_role_reads_what_was_sent_beside_what_is_registered_with_the_difference_marked(
    app: App, browser: Browser, admin: Browser, role: AdminRole
) -> None:
    await app.change("users", [BOB_ID], roles=(role,))
    page = await admin.get(path_on(await browser.request(redirect_uri=EVIL_URI)))
    assert '<code dir="ltr">https://portal.example.org/callback<mark>s</mark></code>' in page.text
    assert '<code dir="ltr">https://portal.example.org/callback</code>' in page.text
    assert "state present, 7 characters" in text_of(page)
    assert "route /authorize" in text_of(page)


async def test_the_reason_that_the_client_was_not_told_is_there_for_administrators(app: App, admin: Browser) -> None:
    answer = await app.http().post("/token", data={"grant_type": "x"}, headers=basic("portal", "wrong"))
    assert "wrong or expired secret" not in answer.text
    page = text_of(await admin.get(path_of(answer.json()["error_uri"])))
    assert "wrong or expired secret" in page
    assert answer.headers["x-request-id"] in page


async def test_several_causes_about_a_lab_are_one_to_all_but_super_admins(
    app: App, browser: Browser, admin: Browser
) -> None:
    await app.change("clients", ["portal"], allowed_labs=("chem",))
    path = path_of(answer_of(await browser.request(scope="lab:bio")).params["error_uri"])
    cause = "A lab that the scope names was not given."
    assert cause not in text_of(await admin.get(path))
    await app.change("users", [BOB_ID], roles=(AdminRole.ADMIN,))
    assert cause in text_of(await admin.get(path))


async def test_it_is_told_whose_clock_was_off(app: App, admin: Browser) -> None:
    private_key, public_key = generate_key(SigningAlgorithm.ES256)
    method = ClientAuthMethod.PRIVATE_KEY_JWT
    await app.change("clients", ["portal"], token_endpoint_auth_method=method, jwks={"keys": [public_key]})
    signer = Signer(public_key["kid"], SigningAlgorithm.ES256, private_key)
    ended = int(START.timestamp()) - 180
    claims = {"iss": "portal", "sub": "portal", "aud": ISSUER, "jti": "a-single-use-id", "exp": ended}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signer.sign(claims, typ="JWT"),
    }

    answer = await app.http().post("/token", data=form)

    assert answer.status_code == 401
    page = text_of(await admin.get(path_of(answer.json()["error_uri"])))
    assert "It expired 3 minutes before our time." in page
    assert f"kid {public_key['kid']}" in page
    assert "a-single-use-id" not in page


async def test_what_was_sent_is_shown_as_text_only(browser: Browser, admin: Browser) -> None:
    page = await admin.get(path_on(await browser.request(redirect_uri="https://x/<script>alert(1)</script>\u202e")))
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert "&lt;" in page.text


# ── The allowance ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_past_the_allowance_of_its_address_a_refusal_has_a_reference_that_the_log_knows(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="idp")
    app = await start(refusals_per_address="2", rate_limit_exempt="10.0.0.0/8")
    answers = [await app.http().post("/token", data={"client_id": "spa"}) for _ in range(3)]
    paths = [path_of(answer.json()["error_uri"]) for answer in answers]
    assert [(await app.http().get(path)).status_code for path in paths] == [200, 200, 404]
    assert paths[2].removeprefix("/explain/") in caplog.text


# ── No secret is kept ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_no_secret_is_in_any_ticket_wherever_it_was_sent(start: Start, installed: Installed) -> None:
    """Every secret in every parameter, header and cookie of every endpoint; then everything that is kept is opened."""
    app = await start()
    browser = app.browser()
    tokens = await browser.tokens("trusted", scope="openid")
    mark = "zzmarkzz"
    secrets = {
        name: f"{mark}-{name}"
        for name in (
            *("state", "nonce", "code", "code_verifier", "code_challenge", "refresh_token", "access_token", "token"),
            *("client_secret", "password", "username", "csrf", "interaction", "login_hint", "logout_hint", "claims"),
            *("registration", "unknown", "email", "client_name", "name", "assertion", "sid", "account"),
        )
    }
    jwt = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ6em1hcmt6eiIsImp0aSI6Inp6bWFya3p6In0.{mark}"
    jwts = dict.fromkeys(("request", "id_token_hint", "client_assertion", "software_statement"), jwt)
    everything: Mapping[str, str] = {**secrets, **jwts}
    cookies = {"Cookie": "; ".join(f"{name}={mark}" for name in ("idp", "idp-form", "idp-accounts", "idp-state"))}
    for form in (everything, {"client_id": "trusted", **everything}, {"client_id": "portal", **secrets}):
        for headers in ({}, basic("portal", mark), basic(mark, mark), bearer(mark), {"Authorization": mark}):
            http = app.http()
            sent = {**headers, **cookies, "X-Request-Id": mark, "User-Agent": mark, "Referer": f"https://a/?{mark}"}
            for path in ("/token", "/introspect", "/revoke", "/authorize", "/logout", "/login", "/consent"):
                await http.post(path, data=form, headers=sent)
                await http.post(path, data={"grant_type": "authorization_code", **form}, headers=sent)
            for path in ("/authorize", "/logout", "/login", "/consent", "/authorize/resume", f"/setup/{mark}"):
                await http.get(path, params=form, headers=sent)
            await http.get("/authorize", params={**form, "redirect_uri": f"https://a:{mark}@b/"}, headers=sent)
            await http.post("/clients", json={**form, "contacts": [mark], "jwks": {"keys": [mark]}}, headers=sent)
    login = await browser.request(prompt="login")
    await browser.post(login, username=mark, password=PASSWORD, csrf=mark, headers={"Origin": "https://evil.example"})
    form = {"grant_type": "authorization_code", "code": tokens["access_token"], "code_verifier": VERIFIER}
    await app.post("/token", "portal", **form)
    await browser.get("/logout", id_token_hint=tokens["id_token"], post_logout_redirect_uri="https://evil.example/")

    opened = await every_ticket(app, installed)

    assert len(opened) > 100
    kept = json.dumps(opened)
    csrf = form_of(login).fields["csrf"]
    assert {"present, 14 characters", "/logout", "/token", "/authorize"} <= set(re.findall(r'"([^"]+)"', kept))
    for secret in (
        *(mark, VERIFIER, PASSWORD, csrf, secret_of("portal"), ALICE, "u_alice", *browser.cookies.values()),
        *(part for token in tokens.values() if isinstance(token, str) for part in token.split(".") if len(part) > 30),
        tokens["access_token"],
    ):
        assert not [ticket for ticket in opened if secret in json.dumps(ticket)], secret


async def every_ticket(app: App, installed: Installed) -> list[Any]:
    async with app.store.read() as tx:
        rows = await tx.refusals.all()
    return [
        json.loads(unseal(installed.data_keys.seal, row.sealed, associated=f"refusal:{row.reference}")) for row in rows
    ]
