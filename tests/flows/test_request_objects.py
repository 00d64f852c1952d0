"""Request objects by value and by reference, right and forged (RFC 9101, OpenID Connect Core §6)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from idp.domain.signing_key import SigningAlgorithm
from tests.outbound.conftest import Peer, Serve
from tests.support.app import ISSUER, App, Browser, Start, answer_of, decoded
from tests.support.assertion import compact, jwks, private_key, public_jwk, signed
from tests.support.clock import START

URI = "https://portal.example.org/callback"
EVIL = "https://evil.example/callback"
NOW = int(START.timestamp())
ALGS = [str(alg) for alg in SigningAlgorithm]


def request_object(
    *, key: str = "key-1", alg: str = "ES256", header: dict[str, Any] | None = None, **claims: Any
) -> str:
    """Return an object of the portal for five minutes; a claim of None is left out, a header of None too."""
    full = {"iss": "portal", "aud": ISSUER, "exp": NOW + 300, "client_id": "portal", "response_type": "code", **claims}
    head = {"alg": alg, "kid": key, "typ": "oauth-authz-req+jwt", **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    full = {name: value for name, value in full.items() if value is not None}
    return compact(head, full, None if alg == "none" else private_key(key, alg))


def unsigned(**claims: Any) -> str:
    return request_object(alg="none", header={"kid": None, "typ": None}, **claims)


@pytest.fixture
async def signer(app: App) -> None:
    """The portal has registered a key."""
    await app.change("clients", ["portal"], jwks=jwks("key-1"))


@pytest.fixture
async def lax(app: App) -> None:
    """The portal has registered that it signs nothing."""
    await app.change("clients", ["portal"], request_object_signing_alg="none")


def is_page(response: httpx2.Response) -> bool:
    return response.status_code == 400 and "location" not in response.headers and "text/html" in str(response.headers)


async def refusal(browser: Browser, **changes: str | None) -> str | None:
    answer = answer_of(await browser.request(**changes))
    assert answer.location.startswith(f"{URI}?")
    assert answer.params["iss"] == ISSUER
    assert "code" not in answer.params
    return answer.error


# ── Signed ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("alg", ALGS)
async def test_a_signed_object_counts_with_each_algorithm_rfc9101_s6_2(app: App, browser: Browser, alg: str) -> None:
    await app.change("clients", ["portal"], jwks={"keys": [public_jwk("key-1", alg)]}, request_object_signing_alg=alg)

    sent = request_object(alg=alg, state="inner", nonce="inner", scope="openid email")
    answer = await browser.authorize(request=sent)

    assert answer.params["state"] == "inner"
    tokens = (await app.redeem(answer)).json()
    assert (decoded(tokens["id_token"])[1]["nonce"], tokens["scope"]) == ("inner", "openid email")


@pytest.mark.usefixtures("signer")
async def test_everything_but_the_client_may_live_only_inside_oidc_core_s6_1(app: App, browser: Browser) -> None:
    sent = request_object(**app.authorization_request(state="inner", nonce="inner"))
    first = await browser.finish(await browser.get("/authorize", client_id="portal", request=sent))
    assert first.params["state"] == "inner"
    assert decoded((await app.redeem(first)).json()["id_token"])[1]["nonce"] == "inner"

    both = await browser.authorize(request=request_object(state="inner"), state=None, nonce=None)
    assert both.params["state"] == "inner"
    assert "nonce" not in decoded((await app.redeem(both)).json()["id_token"])[1]


@pytest.mark.usefixtures("signer")
@pytest.mark.parametrize(
    "header", [{"typ": None}, {"typ": "JWT"}, {"kid": None}, {"kid": "unknown"}, {"jku": "https://evil.example/jwks"}]
)
async def test_the_signature_is_what_counts_not_the_rest_of_the_header_rfc7515_s4_1_4(
    browser: Browser, header: dict[str, Any]
) -> None:
    assert (await browser.authorize(request=request_object(header=header))).error is None


FORGED: dict[str, Callable[[], str]] = {
    "a foreign key": lambda: request_object(key="key-2"),
    "a foreign key under the right name": lambda: request_object(key="key-2", header={"kid": "key-1"}),
    "a key that it brings along": lambda: request_object(key="key-2", header={"jwk": public_jwk("key-2")}),
    "the public key as a secret": lambda: _maced(json.dumps(public_jwk("key-1"))),
    "another algorithm's header": lambda: request_object(alg="RS256", key="key-2", header={"kid": "key-1"}),
    "no signature under a signed header": lambda: request_object().rpartition(".")[0] + ".",
    "a critical extension": lambda: request_object(header={"crit": ["b64"], "b64": False}),
    "an access token": lambda: request_object(header={"typ": "at+jwt"}),
    "a type that is a list": lambda: request_object(header={"typ": ["JWT"]}),
    "a client assertion": lambda: signed("portal"),
    "a client assertion by its type": lambda: request_object(header={"typ": "client-authentication+jwt"}),
    "another client's": lambda: request_object(iss="other"),
    "for another server": lambda: request_object(aud="https://else.example"),
    "expired": lambda: request_object(exp=NOW),
    "not yet valid": lambda: request_object(nbf=NOW + 60),
    "a time that is no number": lambda: request_object(exp="tomorrow"),
    "another client_id": lambda: request_object(client_id="other"),
    "another response_type": lambda: request_object(response_type="code id_token"),
    "an object within": lambda: request_object(request=request_object()),
    "a reference within": lambda: request_object(request_uri="https://portal.example.org/r"),
    "a list": lambda: request_object(state=["a", "b"]),
    "no JWT": lambda: "x",
    "a JWE": lambda: "a.b.c.d.e",
    "too large": lambda: request_object(padding="x" * 20_000),
}


def _maced(secret: str) -> str:
    claims = {"iss": "portal", "aud": ISSUER, "exp": NOW + 300}
    return compact({"alg": "HS256"}, claims, secret.encode())


@pytest.mark.usefixtures("signer")
async def test_what_does_not_count_is_refused_by_redirect_and_by_a_page_where_the_redirect_uri_is_bad_rfc9101_s6(
    browser: Browser,
) -> None:
    await browser.authorize()
    for what, forge in FORGED.items():
        sent = forge()
        # By POST, since no address is as long as some of them.
        form = browser.app.authorization_request(request=sent)
        assert answer_of(await browser.http.post("/authorize", data=form)).error == "invalid_request_object", what
        assert is_page(await browser.http.post("/authorize", data={**form, "redirect_uri": EVIL})), what


async def test_our_own_tokens_are_no_request_objects_rfc9101_s10_8(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()
    keys = (await app.http().get("/jwks")).json()
    # Even for a client that registers our keys as its own.
    await app.change("clients", ["portal"], jwks=keys)

    for token in (tokens["id_token"], tokens["access_token"]):
        assert await refusal(browser, request=token) == "invalid_request_object"


async def test_only_the_registered_algorithm_counts_oidc_registration_s2(app: App, browser: Browser) -> None:
    keys = {"keys": [public_jwk("key-1"), public_jwk("key-2", "EdDSA")]}
    await app.change("clients", ["portal"], jwks=keys, request_object_signing_alg="EdDSA")

    assert await refusal(browser, request=request_object()) == "invalid_request_object"
    assert (await browser.authorize(request=request_object(key="key-2", alg="EdDSA"))).error is None


async def test_a_client_without_keys_signs_for_nobody_rfc9101_s6_2(app: App, browser: Browser) -> None:
    assert await refusal(browser, request=request_object()) == "invalid_request_object"
    await app.change("clients", ["portal"], jwks={"keys": [public_jwk("key-1", use="enc")]})
    assert await refusal(browser, request=request_object()) == "invalid_request_object"


# ── Unsigned ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("lax")
async def test_an_unsigned_object_counts_where_that_is_registered_and_no_signed_one_oidc_core_s6_1(
    app: App, browser: Browser
) -> None:
    answer = await browser.authorize(request=unsigned(state="inner", max_age=600))
    assert answer.params["state"] == "inner"

    await app.change("clients", ["portal"], jwks=jwks("key-1"))
    assert await refusal(browser, request=request_object()) == "invalid_request_object"


async def test_an_unsigned_object_is_not_supported_otherwise_whatever_else_is_wrong_with_it_oidc_core_s6_1(
    app: App, browser: Browser
) -> None:
    objects = [unsigned(), unsigned(iss="other", exp=1), unsigned(redirect_uri=EVIL), request_object().split(".")[1]]
    objects[-1] = f"eyJhbGciOiJub25lIn0.{objects[-1]}.c2lnbmF0dXJl"
    for changes in ({}, {"jwks": jwks("key-1"), "request_object_signing_alg": "ES256"}):
        await app.change("clients", ["portal"], **changes)
        for sent in objects:
            assert await refusal(browser, request=sent) == "request_not_supported"
            assert is_page(await browser.request(request=sent, redirect_uri=EVIL))


# ── Where the answer goes ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("signer")
async def test_a_good_redirect_uri_inside_wins_over_a_bad_one_outside_rfc9101_s6_3(app: App, browser: Browser) -> None:
    answer = await browser.authorize(request=request_object(redirect_uri=URI), redirect_uri=EVIL)
    assert answer.location.startswith(f"{URI}?")
    assert (await app.redeem(answer)).status_code == 200

    refused = request_object(redirect_uri=URI, prompt="none", max_age="x", state="inner")
    inner = answer_of(await browser.request(request=refused, redirect_uri=EVIL))
    assert (inner.error, inner.params["state"]) == ("invalid_request", "inner")


@pytest.mark.usefixtures("signer")
async def test_a_bad_redirect_uri_inside_is_a_page_although_the_one_outside_is_good_rfc9101_s6_3(
    browser: Browser,
) -> None:
    await browser.authorize()
    for bad in (EVIL, f"{URI}/x", f"{URI}?a=b", f"{URI}#"):
        assert is_page(await browser.request(request=request_object(redirect_uri=bad)))


@pytest.mark.usefixtures("signer")
async def test_a_refused_object_is_answered_in_the_mode_that_stands_beside_it_rfc9101_s7(browser: Browser) -> None:
    posted = await browser.request(request="x", response_mode="form_post")
    answer = answer_of(posted)
    assert (posted.status_code, answer.location, answer.error) == (200, URI, "invalid_request_object")


# ── Together with other parameters ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("signer")
async def test_two_objects_are_an_invalid_request_rfc9101_s5(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], request_uris=("https://portal.example.org/r",))
    sent = request_object()
    both = await refusal(browser, request=sent, request_uri="https://portal.example.org/r")
    assert both == "invalid_request"

    plain = list(app.authorization_request().items())
    for twice in ([("request", sent)] * 2, [("request_uri", "https://portal.example.org/r")] * 2):
        response = await browser.http.get("/authorize", params=httpx2.QueryParams([*plain, *twice]))
        assert answer_of(response).error == "invalid_request"


@pytest.mark.usefixtures("signer")
async def test_what_came_twice_beside_the_object_stays_refused_unless_it_stands_inside_rfc6749_s3_1(
    app: App, browser: Browser
) -> None:
    pairs = [*app.authorization_request(prompt="none").items(), ("state", "second")]
    for sent, error in ((request_object(), "invalid_request"), (request_object(state="inner"), "login_required")):
        response = await browser.http.get("/authorize", params=httpx2.QueryParams([*pairs, ("request", sent)]))
        assert answer_of(response).error == error


@pytest.mark.usefixtures("signer")
async def test_prompt_and_max_age_inside_count_oidc_core_s6_1(app: App, browser: Browser) -> None:
    silent = request_object(prompt="none")
    assert answer_of(await browser.http.get("/authorize", params=app.authorization_request(request=silent))).error == (
        "login_required"
    )
    await browser.authorize()
    # Inside wins: the browser of who is signed in shows no page, although one is asked for beside the object.
    assert answer_of(await browser.request(request=silent, prompt="login")).error is None
    assert (await browser.request(request=request_object(max_age=0))).url.path == "/login"
    asked = request_object(claims={"id_token": {"email": None}}, scope="openid")
    assert "email" in decoded((await browser.tokens(request=asked))["id_token"])[1]


@pytest.mark.usefixtures("signer")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_parameters_survive_the_pages_although_the_object_expires_meanwhile_rfc9101_s6(
    app: App, browser: Browser, method: str
) -> None:
    sent = app.authorization_request(request=request_object(state="inner", nonce="inner", scope="openid email"))
    opened = await (
        browser.http.get("/authorize", params=sent) if method == "GET" else browser.http.post("/authorize", data=sent)
    )
    page = await browser.follow(opened)
    app.clock.advance(seconds=600)
    consent = await browser.sign_in(page)
    assert consent.url.path == "/consent"
    app.clock.advance(seconds=600)

    answer = await browser.finish(consent)

    assert answer.params["state"] == "inner"
    tokens = (await app.redeem(answer)).json()
    assert (tokens["scope"], decoded(tokens["id_token"])[1]["nonce"]) == ("openid email", "inner")
    # But a new request with it comes too late.
    assert await refusal(browser, request=sent["request"]) == "invalid_request_object"


# ── Clients that promised to sign ───────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def strict(app: App) -> None:
    await app.change("clients", ["portal"], jwks=jwks("key-1"), require_signed_request_object=True)


@pytest.mark.usefixtures("strict")
async def test_of_who_promised_to_sign_nothing_beside_the_object_counts_rfc9101_s6_3(
    app: App, browser: Browser
) -> None:
    inside = app.authorization_request(state="inner", nonce=None, scope="openid")
    sent = request_object(**inside)
    tampered = {"state": "evil", "nonce": "evil", "redirect_uri": EVIL, "scope": "openid email", "prompt": "none"}
    answer = await browser.authorize(request=sent, **tampered)

    assert answer.params["state"] == "inner"
    tokens = (await app.redeem(answer)).json()
    assert tokens["scope"] == "openid"
    assert "nonce" not in decoded(tokens["id_token"])[1]
    without = request_object(**{**inside, "redirect_uri": URI}, response_mode="form_post")
    assert answer_of(await browser.request(request=without, response_mode="fragment")).location == URI


@pytest.mark.usefixtures("strict")
async def test_who_promised_to_sign_is_answered_without_an_object_by_a_refusal_rfc9101_s10_5(
    app: App, browser: Browser
) -> None:
    assert await refusal(browser) == "invalid_request"
    assert await refusal(browser, request=unsigned()) == "request_not_supported"
    # What is missing inside is missing, be it beside the object.
    bare = answer_of(await browser.request(request=request_object(redirect_uri=URI, response_type=None)))
    assert bare.error == "invalid_request"
    posted = await browser.http.post("/authorize", data=app.authorization_request())
    assert answer_of(posted).error == "invalid_request"


# ── By reference ────────────────────────────────────────────────────────────────────────────────────────────────────
def http(body: str | bytes, status: int = 200, *headers: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + raw


Publish = Callable[..., Awaitable[tuple[Browser, str, Peer]]]


@pytest.fixture
async def publish(start: Start, serve: Serve) -> Publish:
    """Start a server of one answer, and a node that may reach it and knows its address as the portal's."""

    async def publish(answer: Any, *, suffix: str = "", allowed: bool = True) -> tuple[Browser, str, Peer]:
        peer = await serve(answer, tls=None)
        uri = f"http://127.0.0.1:{peer.port}/r.jwt"
        allow = {"outbound_allow": f"127.0.0.1:{peer.port}"} if allowed else {}
        app = await start(outbound_timeout_seconds="0.5", **allow)
        await app.change("clients", ["portal"], jwks=jwks("key-1"), request_uris=(f"{uri}{suffix}",))
        return app.browser(), uri, peer

    return publish


async def test_a_registered_reference_is_fetched_once_and_counts_oidc_core_s6_2(publish: Publish) -> None:
    browser, uri, peer = await publish(http(request_object(state="inner", prompt="consent") + "\n"))
    answer = await browser.authorize(request_uri=uri)

    assert answer.params["state"] == "inner"
    assert (await browser.app.redeem(answer)).status_code == 200
    # The pages between work with what was read.
    assert len(peer.requests) == 1
    assert peer.requests[0].startswith("GET /r.jwt HTTP/1.1\r\n")


async def test_a_reference_is_compared_as_a_string_with_its_fragment_oidc_core_s6_2(publish: Publish) -> None:
    browser, uri, peer = await publish(http(request_object(state="inner")), suffix="#a-hash-that-nobody-verifies")

    for other in (uri, f"{uri}#", f"{uri}#other", f"{uri}?#a-hash-that-nobody-verifies", uri.upper(), EVIL):
        assert await refusal(browser, request_uri=other) == "invalid_request_uri"
        assert is_page(await browser.request(request_uri=other, redirect_uri=EVIL))
    assert peer.requests == []
    answer = await browser.authorize(request_uri=f"{uri}#a-hash-that-nobody-verifies")
    assert answer.params["state"] == "inner"


async def test_without_a_registered_reference_there_are_none_oidc_core_s6_2(browser: Browser) -> None:
    assert await refusal(browser, request_uri="https://portal.example.org/r") == "request_uri_not_supported"


async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")


BAD_ANSWERS: dict[str, Any] = {
    "a redirect": http("", 302, "Location: http://127.0.0.1/other"),
    "not found": http("", 404),
    "a failure that holds an object": http(request_object(), 500),
    "a page": http("<!DOCTYPE html><title>Sign in</title>", 200, "Content-Type: text/html"),
    "nothing": http(""),
    "no text": http(b"\xff\xfe\x00"),
    "too large": http(request_object(padding="x" * 20_000)),
    "an end that never comes": slow,
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_what_cannot_be_fetched_is_an_invalid_request_uri_oidc_core_s3_1_2_6(
    publish: Publish, answer: Any
) -> None:
    browser, uri, _ = await publish(answer)
    assert await refusal(browser, request_uri=uri) == "invalid_request_uri"
    assert is_page(await browser.request(request_uri=uri, redirect_uri=EVIL))


async def test_what_is_fetched_is_judged_as_if_it_came_by_value_rfc9101_s6(publish: Publish) -> None:
    browser, uri, _ = await publish(http(request_object(key="key-2")))
    assert await refusal(browser, request_uri=uri) == "invalid_request_object"

    browser, uri, _ = await publish(http(unsigned()))
    assert await refusal(browser, request_uri=uri) == "request_not_supported"

    browser, uri, _ = await publish(http(request_object(redirect_uri=EVIL)))
    assert is_page(await browser.request(request_uri=uri))


async def test_an_address_inside_the_network_is_not_even_dialled_rfc9101_s10_4(publish: Publish) -> None:
    browser, uri, peer = await publish(http(request_object()), allowed=False)

    assert await refusal(browser, request_uri=uri) == "invalid_request_uri"
    assert peer.conversations == []


async def test_keys_behind_an_address_are_fetched_again_when_the_client_signs_with_a_new_one_oidc_core_s10_1_1(
    start: Start, serve: Serve
) -> None:
    published = [json.dumps(jwks("key-1")), json.dumps(jwks("key-1", "key-2"))]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(published[0]))

    peer = await serve(answer, tls=None)
    app = await start(outbound_allow=f"127.0.0.1:{peer.port}")
    await app.change("clients", ["portal"], jwks_uri=f"http://127.0.0.1:{peer.port}/jwks")
    browser = app.browser()
    assert (await browser.authorize(request=request_object())).error is None
    assert urlsplit(peer.requests[0].split(" ")[1]).path == "/jwks"
    assert await refusal(browser, request=request_object(key="key-2")) == "invalid_request_object"

    published.pop(0)
    app.clock.advance(seconds=31)

    assert (await browser.authorize(request=request_object(key="key-2"))).error is None
