"""The setup test of a provider: every step says whether it is well, and what to change if not."""

import json
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import Response

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.upstream.circuit import FAILURES
from idp.upstream.connector import Finding
from tests.support.bent import ABSENT, Answer, body, failing, html
from tests.support.evil_provider import EvilProvider, evil, evil_server
from tests.upstream.conftest import Site
from tests.upstream.connecting import CALLBACK, LEFT, Side, side, steps

__all__ = ["evil", "evil_server", "side"]

OIDC, GOOGLE = ProviderKind.OIDC, ProviderKind.GOOGLE
ALL = ["discovery", "issuer", "endpoints", "algorithms", "pkce", "keys", "clock", "callback", "client"]

NOT_CHECKED = "callback (not checked)"
REGISTER = "Register exactly this address: the redirect URIs of this client at the provider."


async def probe(
    side: Side, evil: EvilProvider, kind: ProviderKind = OIDC, *, late: float = 0, **changes: Any
) -> dict[str, Finding]:
    now = system_clock() + timedelta(seconds=late)
    return steps(await side.connect(evil, kind, **changes).probe(redirect_uri=CALLBACK, now=now))


async def test_a_provider_that_is_well_set_up_passes_every_step(side: Side, evil: EvilProvider) -> None:
    found = await probe(side, evil)
    assert list(found) == ALL
    assert all(finding.ok for finding in found.values())
    assert found["issuer"].text == f"The issuer is {evil.issuer}."
    assert found["callback"].text == f"{CALLBACK} is registered: the provider answers there."
    assert found["algorithms"].text == "ID tokens are signed with RS256."
    assert found["keys"].text == "1 of its keys can be used here."
    assert found["client"].text == "The provider knows the client, and takes its secret."


async def test_the_address_to_register_is_always_told_exactly(side: Side, evil: EvilProvider) -> None:
    evil.bend["discovery"] = failing()
    found = await probe(side, evil)
    assert list(found) == ["discovery", NOT_CHECKED]
    assert found[NOT_CHECKED].text == f"Only a sign-in shows whether {CALLBACK} is registered."
    assert found[NOT_CHECKED].advice == REGISTER


async def test_the_advice_for_google_names_the_places_of_its_console(side: Side, evil: EvilProvider) -> None:
    evil.set_redirect_uris("https://id.example.org/login/google/callback")
    found = await probe(side, evil, GOOGLE, secret="another")
    place = "Google Cloud console → Google Auth Platform → Clients → your OAuth 2.0 client"
    assert found["callback"].advice == f"Register exactly this address: {place} → Authorized redirect URIs."
    origin = found["origin (not checked)"]
    assert origin.text == "http://localhost:8000"
    assert f"{place} → Authorized JavaScript origins" in origin.advice
    assert found["client"].advice.endswith(f"with {place}.")


# ── Discovery ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("answer", [html(), html(404), failing(), body("[]"), body("{"), body('{"a":NaN}')])
async def test_an_issuer_without_metadata_is_probably_written_wrongly(
    side: Side, evil: EvilProvider, answer: Answer
) -> None:
    evil.bend["discovery"] = answer
    discovery = (await probe(side, evil))["discovery"]
    assert not discovery.ok
    assert discovery.text.startswith(f"{evil.issuer}/.well-known/openid-configuration answers with status ")
    assert "/.well-known/openid-configuration" in discovery.advice


async def test_a_provider_out_of_reach_is_told_with_what_may_be_in_the_way(side: Side, evil: EvilProvider) -> None:
    discovery = (await probe(side, evil, issuer="http://10.0.0.1"))["discovery"]
    assert not discovery.ok
    assert discovery.text == "http://10.0.0.1 is not https, and IDP_OUTBOUND_ALLOW does not name it."
    assert "firewall" in discovery.advice


@pytest.mark.parametrize(
    ("issuer", "called"),
    [
        ("https://other.example", "https://other.example"),
        (ABSENT, "no issuer at all"),
        (["a"], "no issuer at all"),
        ("a\x1b[31mb", "a[31mb"),
        ("x" * 300, "x" * 200),
    ],
)
async def test_another_issuer_is_told_in_the_providers_words_discovery_s4_3(
    side: Side, evil: EvilProvider, issuer: Any, called: str
) -> None:
    evil.metadata["issuer"] = issuer
    found = await probe(side, evil)
    assert found["issuer"].text == f"The provider calls itself {called}."
    assert evil.issuer in found["issuer"].advice
    # The rest is tested all the same.
    assert list(found) == ALL
    assert not found["issuer"].ok
    assert found["client"].ok


async def test_endpoints_that_cannot_be_used_are_named(side: Side, evil: EvilProvider) -> None:
    evil.metadata["token_endpoint"] = "ftp://a.example/token"
    found = await probe(side, evil)
    assert list(found) == ["discovery", "issuer", "endpoints", NOT_CHECKED]
    assert found["endpoints"].text == "token_endpoint in the metadata does not begin with https://."


@pytest.mark.parametrize(
    ("metadata", "step", "text"),
    [
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "algorithms", "no algorithm that is known"),
        ({"code_challenge_methods_supported": ["plain"]}, "pkce", "without S256"),
        ({"code_challenge_methods_supported": "S256"}, "pkce", "without S256"),
    ],
)
async def test_what_the_provider_lists_is_compared_with_what_we_need(
    side: Side, evil: EvilProvider, metadata: dict[str, Any], step: str, text: str
) -> None:
    evil.metadata |= metadata
    finding = (await probe(side, evil))[step]
    assert not finding.ok
    assert text in finding.text
    assert finding.advice


async def test_pkce_that_is_not_listed_is_no_fault_rfc8414_s2(side: Side, evil: EvilProvider) -> None:
    evil.metadata["code_challenge_methods_supported"] = ABSENT
    pkce = (await probe(side, evil))["pkce"]
    assert (pkce.ok, pkce.text) == (True, "PKCE is not listed in the metadata; it is sent all the same.")


@pytest.mark.parametrize(
    "answer",
    [
        body("[]"),
        body("{"),
        body('{"keys":{}}'),
        body('{"keys":[]}'),
        body(json.dumps({"keys": [1, {"kty": "oct", "k": "AA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})),
    ],
)
async def test_keys_of_which_none_can_be_used_are_a_fault_rfc7517_s5(
    side: Side, evil: EvilProvider, answer: Answer
) -> None:
    evil.bend["jwks"] = answer
    keys = (await probe(side, evil))["keys"]
    assert (keys.ok, keys.text) == (False, "0 of its keys can be used here.")


async def test_keys_out_of_reach_are_a_fault(side: Side, evil: EvilProvider) -> None:
    evil.metadata["jwks_uri"] = "http://10.0.0.1:8080/jwks"
    keys = (await probe(side, evil))["keys"]
    assert not keys.ok
    assert "IDP_OUTBOUND_ALLOW" in keys.text


# ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("late", "ok"), [(0, True), (-25, True), (25, True), (40, False), (-40, False), (7200, False)])
async def test_a_clock_that_differs_by_half_a_minute_is_told_rfc9110_s6_6_1(
    side: Side, evil: EvilProvider, late: float, ok: bool
) -> None:
    clock = (await probe(side, evil, late=late))["clock"]
    assert clock.ok is ok
    assert bool(clock.advice) is not ok


async def test_a_provider_without_a_time_says_nothing_about_ours(side: Side, evil: EvilProvider, site: Site) -> None:
    site.publish({"error": "invalid_grant"}, path="/token", status="400 Bad Request")
    evil.metadata["token_endpoint"] = site.uri("/token")
    clock = (await probe(side, evil, late=7200))["clock"]
    assert (clock.ok, clock.text) == (True, "The provider does not tell its time.")


async def test_a_token_endpoint_out_of_reach_tells_neither_time_nor_client(side: Side, evil: EvilProvider) -> None:
    evil.metadata["token_endpoint"] = "http://10.0.0.1:8080/token"
    found = await probe(side, evil)
    assert not found["clock"].ok
    assert "is not known" in found["clock"].text
    assert not found["client"].ok
    assert "IDP_OUTBOUND_ALLOW" in found["client"].text


# ── The callback address ────────────────────────────────────────────────────────────────────────────────────────────
def leading(location: str) -> Answer:
    return lambda _request, _usual: Response(status_code=302, headers={"location": location})


async def test_the_provider_is_asked_to_answer_at_our_address_and_to_ask_nobody_oidc_core_s3_1_2_1(
    side: Side, evil: EvilProvider
) -> None:
    evil.bend["authorize"] = leading(f"{CALLBACK}?code=given")
    await probe(side, evil)
    asked = evil.last("authorize")
    assert (asked.query["redirect_uri"], asked.query["client_id"]) == (CALLBACK, evil.client_id)
    assert (asked.query["prompt"], asked.query["scope"]) == ("none", "openid")
    assert len(asked.query["code_challenge"]) == 43
    assert "cookie" not in asked.headers
    # What it gives is nobody's.
    assert all(seen.form.get("code") != "given" for seen in evil.requests)
    assert evil.count("userinfo") == 0


@pytest.mark.parametrize("kind", [OIDC, GOOGLE, ProviderKind.ORCID])
async def test_an_address_that_is_not_registered_is_found_rfc6749_s4_1_2_1(
    side: Side, evil: EvilProvider, kind: ProviderKind
) -> None:
    evil.set_redirect_uris(f"{CALLBACK}/", "https://id.example.org/login/campus/callback")
    callback = (await probe(side, evil, kind))["callback"]
    assert not callback.ok
    assert callback.text.startswith(f"The provider shows a page of status 400 instead of answering at {CALLBACK}: ")
    assert callback.advice.startswith("Register exactly this address: ")
    evil.set_redirect_uris(CALLBACK)
    assert (await probe(side, evil, kind))["callback"].ok


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("?error=login_required&state=s", " with login_required."),
        ("#error=login_required&state=s", " with login_required."),
        ("?code=c&state=s", "."),
        ("?error=%3Cb%3E%0A", "."),
        ("", "."),
    ],
)
async def test_whoever_answers_there_knows_the_address_whatever_it_says_oidc_core_s3_1_2_6(
    side: Side, evil: EvilProvider, answer: str, told: str
) -> None:
    evil.bend["authorize"] = leading(f"{CALLBACK}{answer}")
    callback = (await probe(side, evil))["callback"]
    assert callback.ok
    assert callback.text == f"{CALLBACK} is registered: the provider answers there{told}"
    assert callback.advice == ""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (html(), "the provider shows a page instead of answering there."),
        (leading("/signin?next=secret"), "the provider leads to /signin instead of answering there."),
        (leading(f"{CALLBACK}/?code=c"), f"the provider leads to {CALLBACK}/ instead of answering there."),
        (leading(f"{CALLBACK}.evil.example"), f"the provider leads to {CALLBACK}.evil.example instead"),
        (leading(f"https://a.example/#{CALLBACK}?code=c"), "the provider leads to https://a.example/ instead"),
        (failing(304), "the provider leads to nowhere instead"),
        (body("x" * 300_000, "text/html", 400), "answered with more than 262144 bytes."),
    ],
)
async def test_whoever_answers_elsewhere_shows_nothing_and_it_is_never_called_well(
    side: Side, evil: EvilProvider, answer: Answer, told: str
) -> None:
    evil.bend["authorize"] = answer
    found = await probe(side, evil)
    assert "callback" not in found
    callback = found[NOT_CHECKED]
    assert callback.text.startswith(f"Whether {CALLBACK} is registered could not be checked: ")
    assert told in callback.text
    assert "secret" not in callback.text
    assert (callback.ok, callback.advice) == (True, REGISTER)
    assert found["client"].ok


async def test_an_authorization_endpoint_out_of_reach_leaves_the_address_unknown(
    side: Side, evil: EvilProvider
) -> None:
    evil.metadata["authorization_endpoint"] = "http://10.0.0.1:8080/authorize"
    assert "IDP_OUTBOUND_ALLOW" in (await probe(side, evil))[NOT_CHECKED].text


async def test_what_the_endpoint_has_in_its_own_query_stays_rfc6749_s3_1(side: Side, evil: EvilProvider) -> None:
    evil.metadata["authorization_endpoint"] = f"{evil.issuer}/authorize?realm=staff"
    assert (await probe(side, evil))["callback"].ok
    assert evil.last("authorize").query["realm"] == "staff"


# ── The client ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("answer", "ok", "text", "advice"),
    [
        ({"error": "invalid_grant"}, True, "knows the client", ""),
        ({"error": "invalid_client"}, False, "refuses with invalid_client.", "Compare client id, secret"),
        (
            {"error": "invalid_client", "error_description": "No such <b>\x07client\u202e."},
            False,
            "refuses with invalid_client: No such <b>client.",
            "Compare client id",
        ),
        ({"error": "unauthorized_client"}, False, "refuses with unauthorized_client", "Compare client id"),
        ({"error": "redirect_uri_mismatch"}, False, "redirect_uri_mismatch", f"Register exactly {CALLBACK}: "),
        (
            {"error": "invalid_request", "error_description": "redirect_uri is not registered"},
            False,
            "invalid_request: redirect_uri is not registered.",
            f"Register exactly {CALLBACK}: ",
        ),
        ({"error": "unsupported_grant_type"}, False, "unsupported_grant_type", "It tried a code that nobody gave"),
        ({"error": "temporarily", "error_description": "x" * 500}, False, f"temporarily: {'x' * 200}.", "It tried"),
    ],
)
async def test_a_made_up_code_tells_what_is_wrong_with_the_client_rfc6749_s5_2(
    side: Side, evil: EvilProvider, answer: dict[str, str], ok: bool, text: str, advice: str
) -> None:
    evil.bend["token"] = body(json.dumps(answer), status=400)
    client = (await probe(side, evil))["client"]
    assert client.ok is ok
    assert text in client.text
    assert client.advice.startswith(advice)


async def test_a_wrong_secret_is_found(side: Side, evil: EvilProvider) -> None:
    assert not (await probe(side, evil, secret="wrong"))["client"].ok
    assert not (await probe(side, evil, client_id="wrong"))["client"].ok
    evil.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    client = (await probe(side, evil))["client"]
    assert "neither client_secret_basic nor client_secret_post" in client.text
    assert client.advice


@pytest.mark.parametrize("answer", [html(401), html(), failing(503)])
async def test_an_answer_without_a_reason_is_a_fault(side: Side, evil: EvilProvider, answer: Answer) -> None:
    evil.bend["token"] = answer
    client = (await probe(side, evil))["client"]
    assert not client.ok
    assert client.advice.startswith("Compare")


async def test_a_provider_that_takes_any_code_is_called_what_it_is(side: Side, evil: EvilProvider) -> None:
    evil.bend["token"] = body('{"access_token":"a","token_type":"Bearer"}')
    client = (await probe(side, evil))["client"]
    assert not client.ok
    assert "do not use this provider" in client.advice


async def test_the_test_itself_shuts_nobody_off_and_uses_nothing_cached(side: Side, evil: EvilProvider) -> None:
    connector = side.connect(evil, OIDC)
    await side.identify(connector)
    evil.bend["token"] = failing(503)
    for _ in range(FAILURES):
        await probe(side, evil)
    assert (evil.count("discovery"), evil.count("jwks")) == (1 + FAILURES, 1 + FAILURES)
    evil.bend.clear()
    assert (await side.identify(connector, LEFT)).sub == "248289761001"
