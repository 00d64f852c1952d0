"""The outermost layer: one name for each request, headers that protect every answer, and what is counted and logged."""

import logging
import re

import pytest

from idp.domain.audit import AuditAction
from tests.support.app import ALICE, App, Start, out_of_reach


async def recorded_address(app: App) -> str | None:
    """The address that the last failed sign-in was recorded with."""
    async with app.store.read() as tx:
        events = [event for event in await tx.audit_events.all() if event.action is AuditAction.LOGIN_FAILED]
    return max(events, key=lambda event: event.at).address


async def fail_to_sign_in(
    app: App, *, forwarded: str | None = None, caller: tuple[str, int] = ("127.0.0.1", 1)
) -> None:
    browser = app.browser()
    page = await browser.get("/login")
    fields = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert fields is not None
    app.clock.advance(seconds=1)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"cookie", cookie.encode())]
    if forwarded is not None:
        headers.append((b"x-forwarded-for", forwarded.encode("latin-1")))
    body = f"csrf={fields[1]}&username=alice&password=wrong".encode()
    response = await app.raw("POST", "/login", headers=headers, body=[body], caller=caller)
    assert response.status_code == 401


async def test_every_answer_has_an_id_of_its_own_that_the_audit_log_knows(app: App) -> None:
    answers = [await app.http().get(path) for path in ("/", "/healthz", "/token", "/nothing", "/authorize")]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)

    browser = app.browser()
    response = await browser.post(await browser.get("/login"), username=ALICE, password="wrong")

    async with app.store.read() as tx:
        (event,) = await tx.audit_events.all()
    assert event.request_id == response.headers["x-request-id"]


async def test_an_id_is_taken_over_from_trusted_proxies_only_and_only_when_it_is_one(start: Start) -> None:
    node = await start(trusted_proxies="10.0.0.0/8")

    async def answered(sent: bytes, caller: str) -> str:
        response = await node.raw("GET", "/healthz", headers=[(b"x-request-id", sent)], caller=(caller, 1))
        return str(response.headers["x-request-id"])

    assert await answered(b"from-the-proxy.1", "10.1.2.3") == "from-the-proxy.1"
    for sent, caller in (
        (b"mine", "192.0.2.1"),
        (b"two words", "10.1.2.3"),
        (b"x" * 65, "10.1.2.3"),
        (b"\xff", "10.0.0.1"),
    ):
        assert re.fullmatch(r"[0-9a-f]{16}", await answered(sent, caller))


async def test_security_headers_stand_on_every_kind_of_answer(start: Start) -> None:
    for issuer, hsts in (("http://localhost:8000", None), ("https://id.example.org", "max-age=31536000")):
        node = await start(issuer=issuer)
        for method, path in (("GET", "/"), ("GET", "/jwks"), ("POST", "/token"), ("GET", "/x"), ("PUT", "/token")):
            response = await node.http().request(method, path)
            assert response.headers.get_list("x-content-type-options") == ["nosniff"], path
            assert response.headers.get("strict-transport-security") == hsts
            assert "server" not in response.headers


@pytest.mark.parametrize(
    ("trusted", "caller", "forwarded", "expected"),
    [
        ("", "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.0/8", "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.0/8", "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", "1.1.1.1, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.0/8", "10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        ("10.0.0.0/8", "10.0.0.1", "fe80::1%" + "z" * 99, "fe80::1"),
        ("fd00::/8", "fd00::1", "203.0.113.9", "203.0.113.9"),
        ("", "fe80::1%enp0s31f6", None, "fe80::1"),
    ],
)
async def test_the_callers_address_is_the_last_one_that_no_proxy_of_ours_added(
    start: Start, trusted: str, caller: str, forwarded: str | None, expected: str
) -> None:
    node = await start(trusted_proxies=trusted)

    await fail_to_sign_in(node, forwarded=forwarded, caller=(caller, 1))

    assert await recorded_address(node) == expected


async def test_a_caller_on_a_unix_socket_has_no_address(start: Start) -> None:
    node = await start(trusted_proxies="127.0.0.1")
    for caller in (None, ("", 0)):
        response = await node.raw("GET", "/healthz", headers=[(b"x-forwarded-for", b"1.2.3.4")], caller=caller)
        assert response.status_code == 200


async def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(app: App) -> None:
    http = app.http()
    await http.get("/secret-path-of-somebody")
    await http.get("/setup/secret-token")
    await http.get("/jwks")
    await http.request("BREW", "/token")

    text = (await http.get("/metrics")).text

    assert "secret" not in text
    for labels in (
        'method="GET",route="none",status="4xx"',
        'method="GET",route="/setup/{token}",status="4xx"',
        'method="GET",route="/jwks",status="2xx"',
        'method="other",route="/token",status="4xx"',
    ):
        assert f"idp_request_duration_seconds_count{{{labels}}} 1.0" in text


@pytest.mark.parametrize(("setting", "logged"), [("none", 0), ("errors", 0), ("all", 2)])
async def test_the_access_log_tells_the_route_and_never_the_query(
    start: Start, caplog: pytest.LogCaptureFixture, setting: str, logged: int
) -> None:
    node = await start(access_log=setting)
    caplog.set_level(logging.INFO, logger="idp")

    await node.http().get("/login", params={"interaction": "secret"})
    await node.http().get("/healthz")

    lines = [record.getMessage() for record in caplog.records if "'request'" in record.getMessage()]
    assert len(lines) == logged
    assert not any("secret" in line for line in lines)


async def test_a_failure_is_logged_as_an_access_even_when_only_errors_are(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    node = await start(access_log="errors")
    caplog.set_level(logging.INFO, logger="idp")

    with out_of_reach(node):
        await node.http().get("/login", params={"interaction": "secret"})

    assert any("'route': '/login', 'status': 503" in record.getMessage() for record in caplog.records)
