"""Redirect URIs: exact matching, and what may be registered."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import ApplicationType, Client
from idp.protocol.redirect_uri import (
    RedirectUri,
    RedirectUriRefused,
    check_redirect_uri,
    closest,
    differences,
    is_impersonable,
    is_safe_uri_text,
    redirect_uri_fault,
    server_uri_fault,
)
from tests.support.factories import REDIRECT_URI, make_client

WEB, NATIVE = ApplicationType.WEB, ApplicationType.NATIVE
LOOPBACK = ("http://127.0.0.1/cb", "http://[::1]/cb")
WITH_QUERY = "https://portal.example.org/callback?tenant=1"

# What an attacker would send instead of https://portal.example.org/callback.
ALTERED = [
    f"{REDIRECT_URI}/",
    f"{REDIRECT_URI}/more",
    f"{REDIRECT_URI}?",
    f"{REDIRECT_URI}?next=evil",
    f"{REDIRECT_URI}#",
    f"{REDIRECT_URI}#fragment",
    f"{REDIRECT_URI}\n",
    f" {REDIRECT_URI}",
    f"{REDIRECT_URI}%00",
    f"{REDIRECT_URI}\x00.evil.example",
    f"{REDIRECT_URI}/../../evil",
    f"{REDIRECT_URI}/%2e%2e/evil",
    "https://portal.example.org/callbac",
    "https://portal.example.org/Callback",
    "https://portal.example.org/%63allback",
    "https://portal.example.org//callback",
    "https://portal.example.org/./callback",
    "https://portal.example.org\\callback",
    "https://PORTAL.example.org/callback",
    "HTTPS://portal.example.org/callback",
    "https://portal.example.org./callback",
    "https://portal.example.org:443/callback",
    "https://portal.example.org:8443/callback",
    "http://portal.example.org/callback",
    "https://user@portal.example.org/callback",
    "https://portal.example.org@evil.example/callback",
    "https://portal.example.org:80@evil.example/callback",
    "https://evil.example\\@portal.example.org/callback",
    "https://portal.example.org.evil.example/callback",
    "https://evil.example/https://portal.example.org/callback",
    "https://pоrtal.example.org/callback",  # a Cyrillic о
    "https://portal。example.org/callback",  # an ideographic full stop
    "//portal.example.org/callback",
    "/callback",
    "javascript:alert(1)",
    f"javascript:alert(1)//{REDIRECT_URI}",
    "data:text/html,evil",
    "\ud800",
    "x" * 1_000_000,
]


def refused(client: Client, raw: str | None) -> RedirectUriRefused:
    with pytest.raises(RedirectUriRefused) as error:
        check_redirect_uri(client, raw)
    return error.value


# ── Matching ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_registered_uri_is_redirected_to_as_it_stands_rfc6749_s3_1_2():
    client = make_client(redirect_uris=(REDIRECT_URI, WITH_QUERY))
    assert check_redirect_uri(client, REDIRECT_URI) == RedirectUri(REDIRECT_URI, given=True)
    assert check_redirect_uri(client, WITH_QUERY) == RedirectUri(WITH_QUERY, given=True)


@pytest.mark.parametrize("kind", ApplicationType)
@pytest.mark.parametrize("raw", ALTERED, ids=lambda raw: ascii(raw)[:70])
def test_an_altered_uri_is_refused_rfc9700_s2_1(kind: ApplicationType, raw: str):
    client = make_client(application_type=kind)
    error = refused(client, raw)
    assert error.sent == raw
    assert error.client is client
    assert raw not in str(error)


def test_an_appended_path_is_refused_rfc6749_s3_1_2():
    refused(make_client(), f"{REDIRECT_URI}/more")


@pytest.mark.parametrize(
    "query", ["", "?tenant=2", "?tenant=1&x=y", "?TENANT=1", "?tenant=1&tenant=1", "?x=y&tenant=1"]
)
def test_an_added_changed_or_missing_query_is_refused_rfc6749_s3_1_2(query: str):
    refused(make_client(redirect_uris=(WITH_QUERY,)), f"{REDIRECT_URI}{query}")


def test_another_clients_uri_is_refused_rfc6749_s3_1_2():
    refused(make_client(redirect_uris=("https://other.example/callback",)), REDIRECT_URI)


def test_an_omitted_uri_means_the_only_registered_one_rfc6749_s3_1_2_3():
    assert check_redirect_uri(make_client(), None) == RedirectUri(REDIRECT_URI, given=False)


@pytest.mark.parametrize("registered", [(), (REDIRECT_URI, WITH_QUERY)])
def test_an_omitted_uri_is_refused_unless_just_one_is_registered_rfc6749_s3_1_2_3(registered: tuple[str, ...]):
    assert refused(make_client(redirect_uris=registered), None).sent is None


@given(st.text() | st.text(alphabet="htps:/portal.example.org/callback?#@\\%").map(lambda text: REDIRECT_URI + text))
def test_any_text_but_the_registered_uri_is_refused_rfc6749_s3_1_2(raw: str):
    for kind in ApplicationType:
        client = make_client(application_type=kind)
        if raw == REDIRECT_URI:
            check_redirect_uri(client, raw)
        else:
            refused(client, raw)


# ── Loopback of native applications ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("port", ["", ":1", ":80", ":49152", ":65535"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("registered_port", ["", ":3000"])
def test_a_native_loopback_uri_may_vary_its_port_rfc8252_s7_3(host: str, port: str, registered_port: str):
    client = make_client(application_type=NATIVE, redirect_uris=(f"http://{host}{registered_port}/cb?a=b",))
    raw = f"http://{host}{port}/cb?a=b"
    assert check_redirect_uri(client, raw) == RedirectUri(raw, given=True)


def test_a_native_loopback_uri_may_do_without_a_path_rfc8252_s7_3():
    client = make_client(application_type=NATIVE, redirect_uris=("http://127.0.0.1",))
    assert check_redirect_uri(client, "http://127.0.0.1:5000").uri == "http://127.0.0.1:5000"
    refused(client, "http://127.0.0.1:5000/")


@pytest.mark.parametrize(
    "raw",
    [
        "http://127.0.0.1:5000/",
        "http://127.0.0.1:5000/CB",
        "http://127.0.0.1:5000/cb/",
        "http://127.0.0.1:5000/cb?",
        "http://127.0.0.1:5000/cb?x",
        "http://127.0.0.1:5000/cb#x",
        "http://127.0.0.1:5000cb",
        "https://127.0.0.1:5000/cb",
        "HTTP://127.0.0.1:5000/cb",
        "http://localhost:5000/cb",
        "http://127.0.0.2:5000/cb",
        "http://127.1:5000/cb",
        "http://2130706433:5000/cb",
        "http://0x7f.0.0.1:5000/cb",
        "http://0.0.0.0:5000/cb",
        "http://127.0.0.1.:5000/cb",
        "http://127.0.0.1.evil.example:5000/cb",
        "http://127x0x0x1:5000/cb",
        "http://127.0.0.1:80@evil.example/cb",
        "http://127.0.0.1:5000@evil.example:5000/cb",
        "http://user@127.0.0.1:5000/cb",
        "http://evil.example\\@127.0.0.1:5000/cb",
        "http://evil.example#@127.0.0.1:5000/cb",
        "http://evil.example?http://127.0.0.1:5000/cb",
        "http://127.0.0.1:5000:6000/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:0/cb",
        "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:-1/cb",
        "http://127.0.0.1:+80/cb",
        "http://127.0.0.1:80 /cb",
        "http://127.0.0.1:٨٠/cb",  # digits of another script
        "http://127.0.0.1:" + "9" * 5000 + "/cb",
        "http://[::1]:5000/other",
        "http://[::2]:5000/cb",
        "http://[0:0:0:0:0:0:0:1]:5000/cb",
        "http://[::ffff:127.0.0.1]:5000/cb",
        "http://[::1%25lo]:5000/cb",
        "http://::1:5000/cb",
        # urlsplit raises ValueError on these.
        "http://[::1",
        "http://[::1]evil.example/cb",
        "http://[evil.example]/cb",
        "http://[::1]]:5000/cb",
        "http://127.0.0.1:5000/cb\n",
        "http://127.0.0.1:5000/cb\r\nSet-Cookie: a=b",
        "\thttp://127.0.0.1:5000/cb",
    ],
    ids=lambda raw: ascii(raw)[:70],
)
def test_a_native_loopback_uri_may_vary_in_nothing_else_rfc8252_s7_3(raw: str):
    refused(make_client(application_type=NATIVE, redirect_uris=LOOPBACK), raw)


def test_the_loopback_addresses_are_not_interchangeable_rfc8252_s7_3():
    refused(make_client(application_type=NATIVE, redirect_uris=LOOPBACK[:1]), "http://[::1]:5000/cb")
    refused(make_client(application_type=NATIVE, redirect_uris=LOOPBACK[1:]), "http://127.0.0.1:5000/cb")


def test_a_web_client_may_not_vary_its_port_rfc8252_s8_4():
    client = make_client(application_type=WEB, redirect_uris=LOOPBACK)
    check_redirect_uri(client, LOOPBACK[0])
    refused(client, "http://127.0.0.1:5000/cb")


@pytest.mark.parametrize(
    "registered", ["http://localhost/cb", "https://127.0.0.1/cb", "org.example.app://127.0.0.1/cb"]
)
def test_only_http_on_a_literal_loopback_address_may_vary_its_port_rfc8252_s8_3(registered: str):
    client = make_client(application_type=NATIVE, redirect_uris=(registered,))
    check_redirect_uri(client, registered)
    refused(client, registered.replace("/cb", ":5000/cb"))


@given(st.text(alphabet="http://127.0.0.1:[]@?#%\\ 58é/cb") | st.text())
def test_any_text_is_matched_or_refused_and_a_match_differs_in_its_port_only_rfc8252_s7_3(text: str):
    client = make_client(application_type=NATIVE, redirect_uris=LOOPBACK)
    for raw in (text, f"http://127.0.0.1{text}", f"http://127.0.0.1:{text}/cb", f"http://[{text}", f"http://{text}/cb"):
        try:
            uri = check_redirect_uri(client, raw).uri
        except RedirectUriRefused:
            continue
        parts = urlsplit(uri)
        assert uri == raw
        assert (parts.scheme, parts.path, parts.query, parts.fragment) == ("http", "/cb", "", "")
        assert parts.hostname in {"127.0.0.1", "::1"}
        assert parts.username is None


# ── Registration ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", ApplicationType)
@pytest.mark.parametrize(
    "uri",
    [
        REDIRECT_URI,
        WITH_QUERY,
        "https://portal.example.org",
        "https://portal.example.org:8443/cb",
        "https://xn--prtal-jua.example/cb",
        "https://[2001:db8::1]/cb",
        "https://portal.example.org/a%20b",
        "http://localhost:9000/callback",
        "http://127.0.0.1/cb",
        "http://[::1]:1234/cb",
    ],
)
def test_https_anywhere_and_http_on_loopback_may_be_registered_oidc_registration_s2(uri: str, kind: ApplicationType):
    assert redirect_uri_fault(uri, kind) is None


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize("fragment", [True, False])
def test_the_address_of_a_clients_server_begins_with_https(loopback: bool, fragment: bool):
    def fault(uri: str) -> str | None:
        return server_uri_fault(uri, loopback=loopback, fragment=fragment)

    assert fault("https://portal.example.org:8443/keys?x=y") is None
    for uri in (
        "",
        "/keys",
        "https:/keys",
        "javascript:alert(1)",
        "org.example.app://keys",
        "ftp://portal.example.org",
    ):
        assert fault(uri) == "it must begin with https://"
    for uri in ("https://", "https://:1/", "https://*.example.org/", "https://a@b.example/", "https://x.example/ "):
        assert fault(uri) is not None
    assert fault("http://portal.example.org/keys") is not None
    assert (fault("http://localhost:9000/keys") is None) is loopback
    assert (fault("https://portal.example.org/keys#x") is None) is fragment


@pytest.mark.parametrize("uri", ["org.example.app:/cb", "org.example.app://cb", "com.example.app2:/oauth2redirect?x=y"])
def test_a_reversed_domain_scheme_is_for_native_applications_rfc8252_s7_1(uri: str):
    assert redirect_uri_fault(uri, NATIVE) is None
    assert redirect_uri_fault(uri, WEB) == "only native applications may use a scheme of their own"


@pytest.mark.parametrize(
    "uri", ["myapp:/cb", "intent://x/cb", "chrome-extension://abc/cb", "localhost:9000/cb", "tel:1"]
)
def test_a_scheme_that_is_no_reversed_domain_is_refused_rfc8252_s7_1(uri: str):
    fault = redirect_uri_fault(uri, NATIVE)
    assert fault is not None
    assert "RFC 8252" in fault


SCHEMES = ["javascript", "data", "vbscript", "file", "blob", "about", "ftp", "ws", "wss", "mailto"]


@pytest.mark.parametrize("kind", ApplicationType)
@pytest.mark.parametrize("scheme", [*SCHEMES, "JavaScript", "DATA"])
def test_a_dangerous_scheme_is_never_registered_oidc_registration_s2(scheme: str, kind: ApplicationType):
    for rest in ("alert(1)", "//portal.example.org/cb", "/cb"):
        assert redirect_uri_fault(f"{scheme}:{rest}", kind) == "its scheme is not allowed"


@pytest.mark.parametrize("kind", ApplicationType)
@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("", "is empty"),
        pytest.param("x" * 2049, "too long", id="enormous"),
        ("https://portal.example.org/a b", "percent-encoded"),
        ("https://portal.example.org/é", "percent-encoded"),
        ("https://pörtal.example.org/", "percent-encoded"),
        ("https://evil.example\\@portal.example.org/", "percent-encoded"),
        ("java\tscript:alert(1)", "percent-encoded"),
        (" https://portal.example.org/", "percent-encoded"),
        ("https://portal.example.org/\r\nSet-Cookie:a=b", "percent-encoded"),
        ("https://portal.example.org/\x00", "percent-encoded"),
        ("https://portal.example.org/<script>", "percent-encoded"),
        ('https://portal.example.org/"', "percent-encoded"),
        ("https://[::1", "not a valid URI"),
        ("https://[evil.example]/", "not a valid URI"),
        ("https://portal.example.org:99999/", "not a valid URI"),
        ("https://portal.example.org:x/", "not a valid URI"),
        ("https://portal.example.org/cb#", "fragment"),
        ("https://portal.example.org/cb#x", "fragment"),
        ("org.example.app:/cb#x", "fragment"),
        ("//portal.example.org/cb", "scheme"),
        ("/cb", "scheme"),
        ("cb", "scheme"),
        ("https://*.example.org/cb", "wildcards"),
        ("https://user@portal.example.org/cb", "user names"),
        ("https://user:password@portal.example.org/cb", "user names"),
        ("https://@portal.example.org/cb", "user names"),
        ("http://127.0.0.1:80@evil.example/cb", "user names"),
        ("org.example.app://user@host/cb", "user names"),
        ("https:///cb", "names no host"),
        ("https:cb", "names no host"),
        ("https://:443/cb", "names no host"),
        ("https://portal.example.org:0/cb", "names no host"),
        ("https://portal%2eexample.org/cb", "host is percent-encoded"),
        ("https://evil.example%00.portal.example.org/cb", "host is percent-encoded"),
        ("https://[fe80::1%25eth0]/cb", "host is percent-encoded"),
        ("http://portal.example.org/cb", "plain http"),
        ("http://localhost.evil.example/cb", "plain http"),
        ("http://localhost./cb", "plain http"),
        ("http://127.0.0.1.evil.example/cb", "plain http"),
        ("http://127.0.0.2/cb", "plain http"),
        ("http://127.1/cb", "plain http"),
        ("http://2130706433/cb", "plain http"),
        ("http://0.0.0.0/cb", "plain http"),
        ("http://[::ffff:127.0.0.1]/cb", "plain http"),
        ("http://[::2]/cb", "plain http"),
    ],
)
def test_a_uri_that_readers_might_read_differently_or_that_leaks_is_not_registered_rfc9700_s2_1(
    uri: str, fault: str, kind: ApplicationType
):
    assert fault in (redirect_uri_fault(uri, kind) or "nothing was found")


@pytest.mark.parametrize("uri", ["https://portal.example.org/*", "https://portal.example.org/cb?x=*"])
def test_an_asterisk_in_path_or_query_stands_for_itself(uri: str):
    client = make_client(redirect_uris=(uri,))
    assert redirect_uri_fault(uri, WEB) is None
    refused(client, uri.replace("*", "y"))


def test_the_longest_uri_has_2048_characters():
    assert is_safe_uri_text("x" * 2048)
    assert not is_safe_uri_text("x" * 2049)


@given(st.text() | st.text(alphabet="https://[]@:.%\\*#?1aé"), st.sampled_from(ApplicationType))
def test_any_text_may_be_judged_and_what_is_registered_is_safe_to_put_into_a_header(uri: str, kind: ApplicationType):
    if redirect_uri_fault(uri, kind) is None:
        assert uri.isascii()
        assert uri.isprintable()
        assert not set(uri) & set(' #"<>\\^`{|}')
        assert urlsplit(uri).username is None


# ── What follows ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("uri", "impersonable"),
    [
        ("http://localhost:9000/cb", True),
        ("http://127.0.0.1:9000/cb", True),
        ("http://[::1]:9000/cb", True),
        ("org.example.app:/cb", True),
        ("https://portal.example.org/cb", False),
        ("https://localhost.example.org/cb", False),
    ],
)
def test_any_program_could_pose_as_a_client_on_loopback_or_a_private_scheme_rfc8252_s8_6(uri: str, impersonable: bool):
    assert is_impersonable(RedirectUri(uri, given=True)) is impersonable


def test_the_closest_registered_uri_is_the_one_most_alike():
    registered = ("https://other.example/x", REDIRECT_URI, "org.example.app:/cb")
    assert closest(f"{REDIRECT_URI}s", registered) == REDIRECT_URI
    assert closest("", registered) in registered
    assert closest(REDIRECT_URI, ()) is None


def test_differences_mark_what_differs_and_lose_nothing():
    pieces = differences("https://portal.example.org/callbacks", REDIRECT_URI)
    assert pieces == [(REDIRECT_URI, False), ("s", True)]
    assert differences(REDIRECT_URI, REDIRECT_URI) == [(REDIRECT_URI, False)]
    assert differences("", REDIRECT_URI) == []


@given(st.text(max_size=50), st.text(max_size=50))
def test_differences_of_any_texts_join_to_the_text_itself(text: str, other: str):
    assert "".join(piece for piece, _ in differences(text, other)) == text
