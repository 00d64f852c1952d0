"""Whatever anybody sends gets an OAuth error or a page, with its security headers: no crash, no hang, no echo.

The parameters are read off the source, the endpoints off the list of features, so that what is new is tried as well.
`HYPOTHESIS_PROFILE=fuzz` searches for long.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.features import FEATURES
from idp.web.oauth.wellknown import DISCOVERY_PATHS, JWKS_PATH
from tests.support.app import ALICE, PASSWORD, VERIFIER, App, Browser, Start, basic, bearer, clients, form_of, secret_of
from tests.support.databases import one_database
from tests.support.paths import ROOT

SOURCES = [path for folder in ("protocol", "services", "web") for path in (ROOT / "idp" / folder).rglob("*.py")]
PARAMETERS = sorted(
    {name for path in SOURCES for name in re.findall(r'\b(?:get|require)\("([a-z_]+)"\)', path.read_text())}
)
ROUTES = [(method, route.path) for feature in FEATURES for route in feature.routes for method in sorted(route.methods)]
OTHER_PATHS = [
    "/jwks",
    "/.well-known/openid-configuration",
    "/static/base.css",
    "/static/..",
    "/none",
    "//",
    "/\0",
    "/ü",
]
METHODS = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "\xff"]
FORM = b"application/x-www-form-urlencoded"
OURS = re.compile(r"/(?:$|login|select-account|consent|account/apps|authorize/resume|logout)(?:\?[!-~]*)?")
REGISTERED = tuple(uri for client in clients() for uri in (*client.redirect_uris, *client.post_logout_redirect_uris))

# Percent-encoded where a byte could not stand in a query; each is sent once more as it is.
NASTY = [
    "",
    "%00",
    "a%00b",
    "%FF%FE",
    "%ED%A0%80",  # a surrogate in UTF-8
    "%",
    "%zz",
    "x" * 9000,
    "%F0%9F%94%91",
    "%0D%0ASet-Cookie:%20a=b",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "%22%27%5C%3B--",
    "-1",
    "9" * 400,
    "NaN",
    "{}",
    "%5B%5D",
    "eyJhbGciOiJub25lIn0.e30.",
    ".".join(["ey" + "J" * 3000] * 3),
    "%E2%80%AE%E2%80%A8",
]


@dataclass(frozen=True)
class Sent:
    """One request; names and values are percent-encoded already."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None

    async def to(self, app: App) -> httpx2.Response:
        body = _joined(self.form) if self.body is None else self.body
        headers = list(self.headers)
        if self.method == "POST" and not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", FORM))
        return await app.raw(self.method, self.path, query=_joined(self.query), headers=headers, body=[body])


def _joined(pairs: Sequence[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogateescape")


def encoded(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, quote(value, safe="")) for name, value in values.items())


def headers(**values: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items())


def check(sent: Sent, response: httpx2.Response) -> None:
    """Judge an answer by what every answer of ours has to be."""
    assert response.status_code < 500, (sent, response.text)
    assert response.headers["x-content-type-options"] == "nosniff", sent
    if sent.path not in (*DISCOVERY_PATHS, JWKS_PATH):  # prebuilt, and nothing that anybody would look up in a log
        assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"]), sent
    for name, value in response.headers.multi_items():
        echoed = name == "access-control-allow-origin" and (b"origin", value.encode("latin-1")) in sent.headers
        assert echoed or re.fullmatch(r"[ -~]*", value), (sent, name, value)
    assert "a=b" not in response.headers.get("set-cookie", ""), sent
    assert "<script>" not in response.text, sent
    kind = response.headers.get("content-type", "")
    if response.status_code == 303:
        location = response.headers["location"]
        assert OURS.fullmatch(location) or location.startswith(REGISTERED), (sent, location)
        assert response.headers["cache-control"] == "no-store"
    elif kind.startswith("text/html"):
        # The one page that applications frame shows nothing and takes nothing.
        framed = sent.path == "/check_session" and response.status_code == 200
        ancestors = "*" if framed else "'none'"
        assert f"frame-ancestors {ancestors}" in response.headers["content-security-policy"], sent
        assert framed or response.headers["x-frame-options"] == "DENY", sent
        assert framed or response.headers["cache-control"] == "no-store", sent
    elif sent.path.startswith("/api/") and response.status_code >= 400:
        assert kind == "application/problem+json", sent
        assert sent.method == "HEAD" or response.json()["status"] == response.status_code, sent
    elif response.status_code >= 400 and sent.method != "HEAD" and response.content:
        assert kind == "application/json", sent
        error = response.json()
        assert re.fullmatch(r"[a-z_]+", error["error"])
        assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", error["error_description"])


@pytest.fixture
async def good(app: App, browser: Browser) -> list[Sent]:
    """Requests that work, so that one bad parameter among good ones gets as deep as it can."""
    tokens = await browser.tokens(scope="openid profile labs")
    answer = await browser.authorize()
    login = form_of(await browser.request(prompt="login"))
    consent = form_of(await browser.request(prompt="consent"))
    logout = form_of(await browser.get("/logout", client_id="portal"))
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    as_person = headers(cookie=cookie)
    as_client = headers(authorization=basic("portal", secret_of("portal"))["Authorization"])
    request = encoded(**app.authorization_request(prompt="none", max_age="600", login_hint=ALICE, claims="{}"))
    code = encoded(
        grant_type="authorization_code", code=answer.code, redirect_uri="https://portal.example.org/callback"
    )
    as_public = encoded(client_id="spa", client_secret="")
    bye = encoded(
        id_token_hint=tokens["id_token"],
        client_id="portal",
        post_logout_redirect_uri="https://portal.example.org/bye",
        state="s",
    )
    return [
        Sent("GET", "/authorize", request, headers=as_person),
        Sent("POST", "/authorize", form=request),
        Sent("POST", "/token", form=(*code, *encoded(code_verifier=VERIFIER, client_id="portal")), headers=as_client),
        Sent("POST", "/token", form=(*code, *as_public)),
        Sent(
            "POST", "/token", form=encoded(grant_type="refresh_token", refresh_token="x", scope="a"), headers=as_client
        ),
        Sent("POST", "/token", form=encoded(grant_type="client_credentials", scope="data:read"), headers=as_client),
        Sent("POST", "/userinfo", form=encoded(access_token=tokens["access_token"])),
        Sent("POST", "/introspect", form=encoded(token="x", token_type_hint="x"), headers=as_client),
        Sent("POST", "/revoke", form=encoded(token="x", token_type_hint="x"), headers=as_client),
        Sent("GET", "/login", _pairs(login.action), headers=as_person),
        _posted(login.action, {**login.fields, "username": ALICE, "password": PASSWORD}, as_person),
        Sent("GET", "/consent", _pairs(consent.action), headers=as_person),
        _posted(consent.action, {**consent.fields, "decision": "allow"}, as_person),
        Sent("GET", "/authorize/resume", _pairs(consent.action), headers=as_person),
        Sent("POST", "/logout", form=bye),
        _posted(logout.action, {**logout.fields}, as_person),
        Sent("POST", "/setup/x", form=encoded(csrf="x", email=ALICE, name="A", password=PASSWORD)),
    ]


def _pairs(action: str) -> tuple[tuple[str, str], ...]:
    _, _, query = action.partition("?")
    return tuple(tuple(pair.split("=", 1)) for pair in query.split("&"))


def _posted(action: str, fields: dict[str, str], as_person: tuple[tuple[bytes, bytes], ...]) -> Sent:
    return Sent("POST", action.partition("?")[0], _pairs(action), encoded(**fields), as_person)


def worse(good: Sent) -> Iterator[Sent]:
    """Every way in which one parameter of a good request can be bad."""
    for place in ("query", "form"):
        pairs: tuple[tuple[str, str], ...] = getattr(good, place)
        for position, (name, value) in enumerate(pairs):
            before, after = pairs[:position], pairs[position + 1 :]
            yield replace(good, **{place: (*before, *after)})
            yield replace(good, **{place: (*pairs, (name, value))})
            yield replace(good, **{place: (*before, (f"{name}%00", value), *after)})
            for nasty in NASTY:
                yield replace(good, **{place: (*before, (name, nasty), *after)})


@pytest.fixture
def no_failures(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing was logged that somebody would have to look at."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


def test_the_parameters_are_those_that_the_source_reads() -> None:
    assert {"client_id", "code", "refresh_token", "id_token_hint", "interaction", "csrf", "max_age"} <= set(PARAMETERS)
    assert {("POST", "/token"), ("GET", "/authorize"), ("POST", "/setup/{token}")} <= set(ROUTES)


@pytest.mark.usefixtures("no_failures")
async def test_one_bad_parameter_among_good_ones(app: App, good: list[Sent]) -> None:
    for request in good:
        for sent in worse(request):
            check(sent, await sent.to(app))


@pytest.mark.usefixtures("no_failures")
@one_database
async def test_every_method_on_every_path(app: App) -> None:
    for path in [*(path.replace("{token}", "x") for _, path in ROUTES), *OTHER_PATHS]:
        for method in METHODS:
            for accept in (b"text/html", b"application/json"):
                sent = Sent(method, path, headers=((b"accept", accept),))
                response = await sent.to(app)
                check(sent, response)
                allowed = {known for known, of in ROUTES if of.replace("{token}", "x") == path}
                if allowed and method not in allowed:
                    assert response.status_code == 405, sent
                    assert set(response.headers["allow"].split(", ")) <= allowed


@pytest.mark.usefixtures("no_failures")
async def test_bodies_that_are_no_forms(app: App, good: list[Sent]) -> None:
    for request in good:
        if request.method != "POST":
            continue
        for kind in (
            b"",
            b"application/json",
            b"multipart/form-data; boundary=x",
            b"text/plain",
            b"\xff",
            b"form",
            FORM + b"; charset=utf-16",
        ):
            for body in (b"", b"\xff\xfe", b"{", b"&&&", b"=", b"%", b"a" * 70_000, b"&".join([b"a=b"] * 300), None):
                sent = replace(request, headers=(*request.headers, (b"content-type", kind)), body=body)
                check(sent, await sent.to(app))


@pytest.mark.usefixtures("no_failures")
async def test_headers_that_are_garbage(start: Start) -> None:
    app = await start(trusted_proxies="127.0.0.1,10.0.0.0/8")
    garbage = [
        b"",
        b" ",
        b"\xff\xfe",
        b"=;=;,",
        b'"',
        b"[",
        b"[::1",
        b"%00",
        b"a" * 8000,
        b"-1",
        b"<script>",
        b"1.2.3.4:80",
    ]
    garbage += [b"fe80::1%" + b"z" * 200, b"10.0.0.1, ::ffff:10.0.0.2, fe80::1%eth0", b",,,", b"unknown", b"_hidden"]
    names = [b"authorization", b"cookie", b"host", b"origin", b"accept", b"user-agent", b"content-length", b"referer"]
    names += [
        b"x-forwarded-for",
        b"x-request-id",
        b"forwarded",
        b"sec-fetch-site",
        b"accept-language",
        b"accept-encoding",
    ]
    names += [b"access-control-request-method", b"if-none-match", b"range", b"expect", b"x-http-method-override"]
    body = encoded(username=ALICE, password=PASSWORD, csrf="x", token="x")
    for path in ("/login", "/token", "/userinfo", "/authorize", "/logout", "/nothing"):
        for method in ("GET", "POST", "OPTIONS"):
            for name in names:
                for value in garbage:
                    sent = Sent(method, path, form=body, headers=((name, value),))
                    response = await sent.to(app)
                    if name == b"x-request-id" and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
                        assert response.headers["x-request-id"] == value.decode()
                        del response.headers["x-request-id"]
                        response.headers["x-request-id"] = "0" * 16
                    check(sent, response)


@pytest.mark.usefixtures("no_failures")
async def test_a_sign_in_from_any_garbage_of_an_address_works(start: Start) -> None:
    app = await start(trusted_proxies="127.0.0.1")
    for address in ("fe80::1%" + "z" * 200, "::ffff:1.2.3.4", "\xff", "1.2.3.4, ,", "2001:db8::" + "0" * 500):
        browser = app.browser()
        odd = {b"X-Forwarded-For": address.encode("latin-1"), b"User-Agent": b"\xff" * 3000}
        browser.http.headers = httpx2.Headers([*browser.http.headers.raw, *odd.items()])
        assert ALICE in (await browser.sign_in()).text


async def test_a_body_larger_than_the_limit_is_413_wherever_it_is_sent(start: Start) -> None:
    app = await start(max_body_bytes="2048", dynamic_registration="open")
    browser = app.browser()
    await browser.sign_in()
    cookie = headers(cookie=f"idp={browser.cookies['idp']}")
    for method, path in ROUTES:
        # The API and the console read the body only of whom they let in, and there is no such provider.
        if method != "POST" or path.startswith(("/api/", "/admin/")) or "{provider}" in path:
            continue
        for chunks in ([b"a=" + b"x" * 3000], [b"a=" + b"x" * 999] * 4):
            for accept in (b"application/json", b"text/html"):
                kind = b"application/json" if path == "/clients" else FORM
                sent_with = [*cookie, (b"content-type", kind), (b"accept", accept)]
                response = await app.raw(method, path.replace("{token}", "x"), headers=sent_with, body=chunks)
                assert response.status_code == 413, path
                check(Sent(method, path), response)
    small = await app.raw("POST", "/token", headers=[(b"content-type", FORM)], body=[b"a=" + b"x" * 2046])
    assert small.status_code == 400


async def test_whoever_hangs_up_in_the_middle_costs_no_alarm(app: App, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None: ...

    for method, path in ROUTES:
        if method == "POST":
            scope = {
                "type": "http",
                "method": method,
                "path": path.replace("{token}", "x"),
                "query_string": b"",
                "headers": [(b"content-type", FORM)],
                "http_version": "1.1",
                "scheme": "http",
                "server": ("localhost", 8000),
                "client": ("127.0.0.1", 50000),
                "root_path": "",
                "asgi": {"version": "3.0"},
            }
            await app.asgi(scope, receive, send)
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]


# ── Whatever hypothesis thinks of ───────────────────────────────────────────────────────────────────────────────────
names = st.sampled_from(PARAMETERS) | st.text(max_size=8).map(lambda text: quote(text, safe="", errors="replace"))
plausible = st.sampled_from(
    [
        *("portal", "spa", "robot", "code", "openid", "openid labs", "none", "login", "S256", "allow", "0", "600"),
        *("authorization_code", "refresh_token", "client_credentials", "https://portal.example.org/callback"),
        *(ALICE, PASSWORD, VERIFIER),
    ]
)
values = (
    st.sampled_from(NASTY)
    | plausible.map(lambda text: quote(text, safe=""))
    | st.text(max_size=30).map(lambda text: quote(text, safe="", errors="replace"))
    | st.binary(max_size=20).map(quote)
)
pairs = st.lists(st.tuples(names, values), max_size=12).map(tuple)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40).map(
    lambda text: text.encode("latin-1")
)
some_headers = st.lists(
    st.tuples(
        st.sampled_from(
            [b"authorization", b"cookie", b"origin", b"host", b"accept", b"content-type", b"sec-fetch-site"]
        ),
        tokens
        | st.sampled_from([b"text/html", FORM, b"idp=x; idp-form=y", b"http://localhost:8000", b"Bearer x"])
        | st.binary(max_size=30).map(lambda raw: basic(raw.decode("latin-1"), "x")["Authorization"].encode())
        | tokens.map(lambda raw: bearer(raw.decode("latin-1"))["Authorization"].encode("latin-1")),
    ),
    max_size=4,
).map(tuple)
requests = st.builds(
    lambda route, query, form, headers, body: Sent(*route, query, form, headers, body),
    st.sampled_from([(method, path.replace("{token}", "x")) for method, path in ROUTES])
    | st.tuples(
        st.sampled_from(METHODS), st.sampled_from(OTHER_PATHS) | st.text(max_size=12).map(lambda text: f"/{text}")
    ),
    pairs,
    pairs,
    some_headers,
    st.none() | st.binary(max_size=60),
)


@settings(
    max_examples=4 * settings.default.max_examples,
    # One node for all examples: what one leaves behind must not harm the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=requests)
async def test_anything_else(app: App, caplog: pytest.LogCaptureFixture, sent: Sent) -> None:
    caplog.clear()

    check(sent, await sent.to(app))

    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


async def test_a_query_or_form_of_raw_bytes_is_refused_in_the_clients_own_language(app: App) -> None:
    for raw in (b"\xff", b"client_id=\xff", b"a=\xc3", urlencode({"a": "b"}).encode("utf-16")):
        for method, path in ROUTES:
            sent = Sent(method, path.replace("{token}", "x"), body=raw)
            response = await app.raw(method, sent.path, query=raw, headers=[(b"content-type", FORM)], body=[raw])
            check(sent, response)
