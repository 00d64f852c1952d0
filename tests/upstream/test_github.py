"""GitHub, which speaks plain OAuth 2.0: what is believed of its API, and what of its answers."""

from dataclasses import replace
from typing import Any

import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.upstream.circuit import FAILURES
from idp.upstream.connector import Connector
from tests.support.bent import ABSENT, Answer, body, failing, html, pkce_challenge
from tests.support.github import GitHub, github_server, hub
from tests.upstream.connecting import (
    CALLBACK,
    LEFT,
    Side,
    is_refused,
    query,
    side,
    steps,
)

__all__ = ["github_server", "hub", "side"]

GITHUB = ProviderKind.GITHUB


@pytest.fixture
def connector(side: Side, hub: GitHub) -> Connector:
    return side.connect(hub, GITHUB)


# ── Going there ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_browser_takes_along_pkce_and_state_rfc6749_s4_1_1(connector: Connector, hub: GitHub) -> None:
    url = await connector.authorization_url(LEFT)
    assert url.startswith(f"{hub.issuer}/login/oauth/authorize?")
    assert query(url) == {
        "response_type": "code",
        "client_id": hub.client_id,
        "redirect_uri": CALLBACK,
        "scope": "read:user user:email",
        "state": LEFT.state,
        "code_challenge": pkce_challenge(LEFT.code_verifier),
        "code_challenge_method": "S256",
    }
    assert query(await connector.authorization_url(replace(LEFT, prompt=("login",))))["prompt"] == "select_account"


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ("openid profile email", "read:user user:email"),
        ("", "read:user user:email"),
        ("user:email read:org", "user:email read:org"),
    ],
)
async def test_the_scope_is_githubs_own(side: Side, hub: GitHub, scope: str, asked: str) -> None:
    assert query(await side.connect(hub, GITHUB, scope=scope).authorization_url(LEFT))["scope"] == asked


async def test_github_itself_has_its_api_at_another_host(side: Side, hub: GitHub) -> None:
    for issuer in ("https://github.com", "https://github.com/"):
        url = await side.connect(hub, GITHUB, issuer=issuer).authorization_url(LEFT)
        assert url.startswith("https://github.com/login/oauth/authorize?")


# ── Coming back ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_whoever_comes_back_is_the_number_of_the_account(side: Side, connector: Connector, hub: GitHub) -> None:
    identity = await side.identify(connector)
    assert identity.key == (hub.issuer, "583231")
    assert identity.proven_email == "jane@lab.example"
    assert identity.claims == {
        "preferred_username": "octojane",
        "name": "Jane Doe",
        "picture": "https://avatars.example/u/583231?v=4",
        "profile": "https://github.example/octojane",
        "email": "jane@lab.example",
        "email_verified": True,
    }
    assert (identity.auth_time, identity.acr, identity.amr, identity.id_token) == (None, None, (), None)
    asked = hub.last("access_token")
    assert asked.headers["accept"] == "application/json"
    assert asked.form["code_verifier"] == LEFT.code_verifier
    assert hub.last("user").headers["accept"] == "application/vnd.github+json"
    # GitHub refuses whoever does not say its name.
    assert hub.last("user").headers["user-agent"] == "lab-id"


async def test_an_account_that_was_given_the_name_of_another_is_another(
    side: Side, connector: Connector, hub: GitHub
) -> None:
    first = await side.identify(connector)
    hub.user["id"] = 999
    second = await side.identify(connector)
    assert first.claims["preferred_username"] == second.claims["preferred_username"]
    assert first.key != second.key


@pytest.mark.parametrize(
    ("emails", "email", "proven"),
    [
        ([{"email": "Jane@Lab.example", "primary": True, "verified": True}], "jane@lab.example", True),
        ([{"email": "jane@lab.example", "primary": True, "verified": False}], "jane@lab.example", False),
        ([{"email": "jane@lab.example", "primary": True, "verified": "true"}], "jane@lab.example", False),
        ([{"email": "jane@lab.example", "primary": True}], "jane@lab.example", False),
        ([{"email": "jane@lab.example", "primary": False, "verified": True}], None, False),
        ([{"email": "jane", "primary": True, "verified": True}], None, False),
        ([{"primary": True, "verified": True}], None, False),
        (["jane@lab.example", None, 1], None, False),
        ([], None, False),
        ({"email": "jane@lab.example", "primary": True, "verified": True}, None, False),
    ],
)
async def test_the_address_is_the_primary_one_and_proven_only_if_github_verified_it(
    side: Side, connector: Connector, hub: GitHub, emails: Any, email: str | None, proven: bool
) -> None:
    # The public one of the profile is what somebody typed there.
    hub.user["email"] = "boss@lab.example"
    hub.emails = emails
    identity = await side.identify(connector)
    assert (identity.email, identity.proven_email) == (email, email if proven else None)


async def test_without_the_scope_for_addresses_there_is_none(side: Side, hub: GitHub) -> None:
    identity = await side.identify(side.connect(hub, GITHUB, scope="read:user"))
    assert (identity.sub, identity.email, "email" in identity.claims) == ("583231", None, False)


@pytest.mark.parametrize("number", [ABSENT, None, "583231", True, 0, -1, 1.5, 10**18, [583231]])
async def test_a_user_without_a_number_is_nobody(side: Side, connector: Connector, hub: GitHub, number: Any) -> None:
    hub.user = {name: value for name, value in {**hub.user, "id": number}.items() if value is not ABSENT}
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, "no number")


async def test_texts_of_a_profile_that_are_none_are_left_out(side: Side, connector: Connector, hub: GitHub) -> None:
    hub.user |= {"name": None, "avatar_url": 1, "html_url": "", "login": ["a"]}
    assert (await side.identify(connector)).claims.keys() == {"email", "email_verified"}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"error": "access_denied"}, UpstreamFault.DENIED),
        ({"error": "redirect_uri_mismatch"}, UpstreamFault.REFUSED),
        ({"code": None}, UpstreamFault.INVALID),
        ({"iss": "https://evil.example"}, UpstreamFault.INVALID),
        ({"iss": "https://evil.example", "error": "access_denied"}, UpstreamFault.INVALID),
    ],
)
async def test_an_answer_without_a_code_or_of_another_provider_is_refused_rfc9207_s2_4(
    side: Side, connector: Connector, hub: GitHub, answer: dict[str, str | None], fault: UpstreamFault
) -> None:
    assert (await side.refusal(connector, **answer)).fault is fault
    assert hub.count("access_token") == 0


@pytest.mark.parametrize("path", ["", "/login/oauth"])
async def test_github_names_itself_in_either_way_rfc9207_s2(
    side: Side, connector: Connector, hub: GitHub, path: str
) -> None:
    assert (await side.identify(connector, iss=f"{hub.issuer}{path}")).sub == "583231"


@pytest.mark.parametrize(
    "error", ["bad_verification_code", "incorrect_client_credentials", "redirect_uri_mismatch", "unverified_user_email"]
)
async def test_a_refused_code_comes_with_status_200_and_signs_nobody_in(
    side: Side, connector: Connector, hub: GitHub, error: str
) -> None:
    hub.refuse_token(error)
    assert is_refused(await side.refusal(connector), UpstreamFault.REFUSED, error)
    assert hub.count("user") == 0


async def test_a_code_of_somebody_else_is_of_no_use_rfc9700_s4_5(side: Side, connector: Connector, hub: GitHub) -> None:
    stolen = await side.browser.answer(await connector.authorization_url(replace(LEFT, code_verifier="w" * 43)))
    refused = await side.refusal(connector, code=stolen["code"])
    assert is_refused(refused, UpstreamFault.REFUSED, "bad_verification_code")


@pytest.mark.parametrize("endpoint", ["access_token", "user", "emails"])
@pytest.mark.parametrize(
    ("answer", "may_be_of_one_person"),
    [
        (html(), {"user", "emails"}),
        (body('{"a":'), {"user", "emails"}),
        (body("x" * 300_000), {"access_token", "user", "emails"}),
        (failing(502), set()),
    ],
)
async def test_something_else_than_json_is_no_answer_but_nobodys_profile_makes_github_seem_down(
    side: Side, connector: Connector, hub: GitHub, endpoint: str, answer: Answer, may_be_of_one_person: set[str]
) -> None:
    hub.bend[endpoint] = answer
    fault = UpstreamFault.INVALID if endpoint in may_be_of_one_person else UpstreamFault.DOWN
    assert (await side.refusal(connector)).fault is fault


@pytest.mark.parametrize("user", ["[]", "null", '"jane"', "{}"])
async def test_json_that_is_no_user_is_nobody(side: Side, connector: Connector, hub: GitHub, user: str) -> None:
    hub.bend["user"] = body(user)
    assert (await side.refusal(connector)).fault is UpstreamFault.INVALID


async def test_who_used_up_their_requests_shuts_off_nobody_else(side: Side, connector: Connector, hub: GitHub) -> None:
    hub.rate_limited = True
    for _ in range(FAILURES):
        assert is_refused(await side.refusal(connector), UpstreamFault.REFUSED, "status 403")
    hub.rate_limited = False
    assert (await side.identify(connector)).sub == "583231"


async def test_a_github_that_is_down_is_left_alone(side: Side, connector: Connector, hub: GitHub) -> None:
    hub.bend["access_token"] = failing(503)
    for _ in range(FAILURES):
        assert (await side.refusal(connector)).fault is UpstreamFault.DOWN
    with pytest.raises(UpstreamRefused) as caught:
        await connector.authorization_url(LEFT)
    assert caught.value.fault is UpstreamFault.DOWN


async def test_there_are_no_tokens_that_could_be_renewed(connector: Connector) -> None:
    with pytest.raises(NotImplementedError):
        await connector.api_token("r", scope="repo")


async def test_there_is_nothing_to_sign_out_of(connector: Connector) -> None:
    assert await connector.logout_url("a.b.c", post_logout_redirect_uri="https://id.example/", state="s") is None


# ── The setup test ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_setup_test_finds_everything_well(connector: Connector, hub: GitHub) -> None:
    found = steps(await connector.probe(redirect_uri=CALLBACK, now=system_clock()))
    assert list(found) == ["api", "clock", "callback (not checked)", "client"]
    assert all(finding.ok for finding in found.values())
    callback = found["callback (not checked)"]
    assert callback.text == f"Only a sign-in shows whether {CALLBACK} is registered."
    assert "Authorization callback URL" in callback.advice


@pytest.mark.parametrize(
    ("error", "ok", "advice"),
    [
        ("bad_verification_code", True, ""),
        ("incorrect_client_credentials", False, "Compare client id, secret"),
        ("redirect_uri_mismatch", False, f"Register exactly {CALLBACK}: GitHub → Settings"),
    ],
)
async def test_the_setup_test_says_what_to_change_at_github(
    connector: Connector, hub: GitHub, error: str, ok: bool, advice: str
) -> None:
    hub.refuse_token(error)
    client = steps(await connector.probe(redirect_uri=CALLBACK, now=system_clock()))["client"]
    assert client.ok is ok
    assert client.advice.startswith(advice)


async def test_the_setup_test_says_when_github_cannot_be_reached(side: Side, hub: GitHub) -> None:
    connector = side.connect(hub, GITHUB, issuer="https://github.invalid")
    found = steps(await connector.probe(redirect_uri=CALLBACK, now=system_clock()))
    assert list(found) == ["api", "callback (not checked)", "client"]
    assert not found["api"].ok
    assert "IDP_OUTBOUND_ALLOW" in found["api"].advice
