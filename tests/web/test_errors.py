"""Failures: a page for people, JSON for machines, a reference that leads to the log, and no word too many."""

import logging
import re

import httpx2
import pytest

from idp.crypto.password import HashingBusy
from tests.support.app import ALICE, PASSWORD, App, Browser, answer_of, bearer, form_of, out_of_reach

REFERENCE = re.compile(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}\b")


def reference(response: httpx2.Response) -> str:
    found = REFERENCE.search(re.sub(r"<[^>]+>", " ", response.text))
    assert found is not None, response.text
    return found[0]


async def every_endpoint(app: App, browser: Browser) -> list[httpx2.Response]:
    """Ask everything that needs the database."""
    http, params = browser.http, app.authorization_request()
    robot = {"client_id": "robot", "client_secret": "x", "grant_type": "client_credentials"}
    return [
        await http.get("/"),
        await http.get("/login"),
        await http.get("/authorize", params=params),
        await http.post("/authorize", data=params),
        await http.post("/authorize", data={**params, "redirect_uri": "https://evil.example"}),
        await http.get("/authorize/resume", params={"interaction": "x"}),
        await http.get("/consent", params={"interaction": "x"}),
        await http.get("/logout"),
        await http.get("/setup/x"),
        await http.post("/token", data=robot),
        await http.post("/introspect", data=robot),
        await http.post("/revoke", data=robot),
        await http.get("/userinfo", headers=bearer("x")),
        await http.get("/userinfo", headers={**bearer("x"), "Origin": "https://spa.example.org"}),
        await http.post("/token", data=robot, headers={"Origin": "https://spa.example.org"}),
    ]


async def test_while_the_database_is_out_of_reach_everything_says_try_again(app: App, browser: Browser) -> None:
    await browser.sign_in()
    app.clock.advance(seconds=6)

    with out_of_reach(app):
        responses = await every_endpoint(app, browser)

    for response in responses:
        assert response.status_code == 503, response.url
        assert int(response.headers["retry-after"]) > 0
        assert response.headers["cache-control"] == "no-store"
        assert "temporarily_unavailable" in response.text
        assert "OperationalError" not in response.text
    assert ALICE in (await browser.get("/")).text


async def test_while_it_is_out_of_reach_what_is_cached_does_no_harm(app: App, browser: Browser) -> None:
    """A client that is still known must not lead to a crash further down."""
    await browser.sign_in()
    for client_id in ("portal", "robot", "spa"):
        await app.services["clients"].find(client_id)

    with out_of_reach(app):
        responses = await every_endpoint(app, browser)

    for response in responses:
        # A wrong secret, or a return address that is not registered, may be told without the database.
        assert response.status_code in {503, 401, 400}, (response.url, response.text)


async def test_a_failure_of_ours_is_a_500_with_a_reference_that_finds_the_traceback(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise ZeroDivisionError("a secret detail")

    for service, method in (
        ("token", "issue"),
        ("userinfo", "read"),
        ("introspection", "introspect"),
        ("revocation", "revoke"),
        ("authorization", "start"),
        ("logout", "check"),
        ("setup", "is_open"),
    ):
        monkeypatch.setattr(type(app.services[service]), method, broken)
    http = browser.http
    pages = [
        await http.get("/authorize", params=app.authorization_request()),
        await http.get("/logout"),
        await http.get("/setup/x"),
    ]
    machines = [
        await app.post("/token", "robot", grant_type="client_credentials"),
        await app.post("/introspect", "robot", token="x"),
        await app.post("/revoke", "robot", token="x"),
        await http.get("/userinfo", headers=bearer("x")),
    ]
    for page in pages:
        assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
        assert reference(page) in caplog.text
    for answer in machines:
        assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]
    for response in (*pages, *machines):
        assert "ZeroDivisionError" not in response.text
        assert "a secret detail" not in response.text
    tracebacks = [record for record in caplog.records if "ZeroDivisionError" in record.getMessage()]
    assert len(tracebacks) == len(pages) + len(machines)


async def test_when_too_many_sign_in_at_once_people_are_asked_to_try_again(
    app: App, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*arguments: object) -> None:
        raise HashingBusy

    page = await browser.get("/login")
    with monkeypatch.context() as patch:
        patch.setattr("idp.crypto.password.PasswordHasher.verify", busy)
        refused = await browser.post(page, username=ALICE, password=PASSWORD)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "temporarily_unavailable" in refused.text
    assert (await browser.post(page, username=ALICE, password=PASSWORD)).status_code == 303


async def test_a_page_of_a_refusal_has_a_reference_that_finds_the_reason_in_the_log(
    app: App, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="idp")

    for response in (
        await browser.get("/authorize", client_id="unknown"),
        await browser.request(redirect_uri="https://evil.example"),
        await browser.get("/login", interaction="x"),
        await browser.get("/setup/x"),
        await browser.get("/logout", id_token_hint="x"),
    ):
        lines = [record.getMessage() for record in caplog.records if reference(response) in record.getMessage()]
        assert len(lines) == 1, response.url


async def test_machines_get_json_and_people_a_page_for_what_routing_refuses(app: App) -> None:
    for path, method, status in (("/nothing", "GET", 404), ("/token", "GET", 405), ("/clients", "GET", 405)):
        machine = await app.http().request(method, path, headers={"Accept": "application/json"})
        person = await app.http().request(method, path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (machine.status_code, person.status_code) == (status, status)
        assert machine.json().keys() == {"error", "error_description"}
        assert "<h1>" in person.text
    assert "POST" in (await app.http().get("/token")).headers["allow"]


async def test_descriptions_never_repeat_what_was_sent(app: App, browser: Browser) -> None:
    marker = "zzmarkerzz"
    for name in ("response_type", "scope", "prompt", "max_age", "code_challenge", "code_challenge_method", "request"):
        answer = answer_of(await browser.request(**{name: marker, "state": "s"}))
        assert marker not in answer.location, name
    for name in ("grant_type", "scope", "code", "refresh_token", "client_id"):
        response = await app.http().post("/token", data={"grant_type": "client_credentials", name: marker})
        assert marker not in response.text
    assert marker not in (await app.http().get(f"/{marker}", headers={"Accept": "text/html"})).text


async def test_a_stale_form_is_explained(browser: Browser) -> None:
    page = await browser.get("/login")
    await browser.sign_in(await browser.get("/login"))

    again = await browser.post(page, username=ALICE, password=PASSWORD)

    assert again.status_code == 403
    assert form_of(again).fields["username"] == ALICE
