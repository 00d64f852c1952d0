"""Google: organisations, One Tap, and what its documentation of OpenID Connect says otherwise than the standard."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.upstream.connector import Connector
from tests.support.bent import ABSENT, failing
from tests.support.evil_provider import EvilProvider, Key, evil, evil_server
from tests.upstream.connecting import LEFT, Side, is_refused, named, query, side

__all__ = ["evil", "evil_server", "side"]

GOOGLE = ProviderKind.GOOGLE
NONCE = "a-nonce-of-one-tap"


@pytest.fixture
def google(side: Side, evil: EvilProvider) -> Connector:
    return side.connect(evil, GOOGLE, name="google")


# ── Going there ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ((), "select_account"),
        (("select_account",), "select_account"),
        (("consent",), "consent"),
        (("none",), "none"),
        # Google has no such prompt, and would keep the person on an error page.
        (("login",), "select_account"),
        (("login", "consent"), "consent"),
        (("create",), "select_account"),
    ],
)
async def test_google_is_asked_only_what_it_documents_and_lets_people_choose(
    google: Connector, prompt: tuple[str, ...], asked: str
) -> None:
    assert query(await google.authorization_url(replace(LEFT, prompt=prompt)))["prompt"] == asked


async def test_freshness_is_asked_for_by_everything_that_may_help(google: Connector) -> None:
    asked = query(await google.authorization_url(replace(LEFT, prompt=("login",), max_age=0)))
    assert asked["max_age"] == "0"
    assert asked["claims"] == '{"id_token":{"auth_time":{"essential":true}}}'
    assert "claims" not in query(await google.authorization_url(LEFT))


async def test_how_somebody_signed_in_is_asked_for_where_that_is_translated(side: Side, evil: EvilProvider) -> None:
    google = side.connect(evil, GOOGLE, amr={"mfa": "mfa"})
    assert query(await google.authorization_url(LEFT))["claims"] == '{"id_token":{"amr":{"essential":true}}}'


async def test_a_hint_is_passed_on(google: Connector) -> None:
    asked = query(await google.authorization_url(replace(LEFT, login_hint="jane@lab.example")))
    assert asked["login_hint"] == "jane@lab.example"


@pytest.mark.parametrize(
    ("domains", "hd"),
    [((), None), (("lab.example",), "lab.example"), (("*",), "*"), (("lab.example", "campus.example"), "*")],
)
async def test_the_list_of_accounts_is_cut_to_the_organisations(
    side: Side, evil: EvilProvider, domains: tuple[str, ...], hd: str | None
) -> None:
    google = side.connect(evil, GOOGLE, hosted_domains=domains)
    assert query(await google.authorization_url(LEFT)).get("hd") == hd


@pytest.mark.parametrize(
    ("prompt", "asked"), [((), "select_account consent"), (("none",), "none"), (("login",), "select_account consent")]
)
async def test_access_to_googles_api_is_asked_for_in_googles_way(
    side: Side, evil: EvilProvider, prompt: tuple[str, ...], asked: str
) -> None:
    evil.metadata["scopes_supported"] = ["openid", "email", "profile"]
    google = side.connect(evil, GOOGLE, api_scope="https://www.googleapis.com/auth/drive.readonly")
    parameters = query(await google.authorization_url(replace(LEFT, prompt=prompt, api=True)))
    assert parameters["scope"] == "openid profile email https://www.googleapis.com/auth/drive.readonly"
    assert parameters["prompt"] == asked
    assert parameters["access_type"] == "offline"
    # Or else the refresh token would be good for what the person allowed us for another reason.
    assert "include_granted_scopes" not in parameters
    assert "access_type" not in query(await google.authorization_url(LEFT))


# ── Organisations ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("domains", "hd", "comes_in"),
    [
        ((), ABSENT, True),
        ((), "other.example", True),
        (("lab.example",), "lab.example", True),
        (("Lab.Example",), "lab.example", True),
        (("lab.example",), "LAB.example", True),
        (("campus.example", "lab.example"), "lab.example", True),
        (("*",), "any.example", True),
        (("lab.example",), ABSENT, False),
        (("lab.example",), "evil.example", False),
        (("lab.example",), "sub.lab.example", False),
        (("lab.example",), "lab.example.evil.example", False),
        (("lab.example",), "*", False),
        (("lab.example",), ["lab.example"], False),
        (("lab.example",), "", False),
        (("*",), ABSENT, False),
        (("*",), "", False),
        (("*",), True, False),
    ],
)
async def test_only_people_of_the_named_organisations_come_in_by_what_the_token_says(
    side: Side, evil: EvilProvider, domains: tuple[str, ...], hd: Any, comes_in: bool
) -> None:
    evil.id_token["hd"] = hd
    # Whatever the address or userinfo say.
    evil.user["email"] = "jane@lab.example"
    evil.userinfo["hd"] = "lab.example"
    google = side.connect(evil, GOOGLE, hosted_domains=domains, claims={"name": "name", "nickname": "petname"})
    if comes_in:
        assert (await side.identify(google)).sub == "248289761001"
    else:
        assert is_refused(await side.refusal(google), UpstreamFault.WRONG_DOMAIN, "hd")
    assert evil.count("userinfo") == 1


@pytest.mark.parametrize(
    ("told", "proven"), [(True, True), (False, False), (ABSENT, False), ("true", True), ("false", False)]
)
async def test_an_address_counts_only_where_google_says_that_it_is_verified(
    side: Side, evil: EvilProvider, told: Any, proven: bool
) -> None:
    evil.id_token["email_verified"] = told
    google = side.connect(evil, GOOGLE, assume_email_verified=True)
    identity = await side.identify(google)
    assert (identity.email, identity.proven_email) == ("jane@lab.example", "jane@lab.example" if proven else None)


async def test_userinfo_is_not_asked_for_what_google_does_not_know(
    side: Side, google: Connector, evil: EvilProvider
) -> None:
    evil.id_token |= {"family_name": ABSENT, "locale": ABSENT, "picture": ABSENT}
    await side.identify(google)
    assert evil.count("userinfo") == 0
    evil.id_token["email"] = ABSENT
    assert (await side.identify(google)).email == "jane@lab.example"
    assert evil.count("userinfo") == 1


# ── One Tap ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_one_tap_vouches_by_a_token_that_the_browser_brings(google: Connector, evil: EvilProvider) -> None:
    credential = evil.credential(nonce=NONCE)
    identity = await google.identify_by_token(credential, nonce=NONCE, now=system_clock())
    assert identity.key == (evil.issuer, "248289761001")
    assert (identity.proven_email, identity.claims["name"]) == ("jane@lab.example", "Jane Doe")
    assert (identity.id_token, identity.refresh_token) == (credential, None)
    assert evil.count("token") == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["lab-id", "another"]},
        {"azp": "another-of-the-same-project"},
        {"iss": "https://evil.example"},
        {"iss": "accounts.google.com"},
        {"exp": lambda exp: exp - 2 * 3600},
        {"iat": lambda iat: iat - 700},
        {"iat": lambda iat: iat + 700},
        {"sub": ABSENT},
        {"auth_time": True},
    ],
    ids=named,
)
async def test_one_tap_is_as_strict_as_the_code_flow_core_s3_1_3_7(
    google: Connector, evil: EvilProvider, changes: dict[str, Any]
) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await google.identify_by_token(evil.credential(**{"nonce": NONCE, **changes}), nonce=NONCE, now=system_clock())
    assert caught.value.fault is UpstreamFault.INVALID
    assert caught.value.provider == "google"


async def test_one_tap_needs_no_azp_and_any_organisation_may_be_named(side: Side, evil: EvilProvider) -> None:
    google = side.connect(evil, GOOGLE, name="google", hosted_domains=("lab.example",))
    credential = evil.credential(nonce=NONCE, azp=ABSENT, hd="lab.example")
    assert (await google.identify_by_token(credential, nonce=NONCE, now=system_clock())).claims["hd"] == "lab.example"
    with pytest.raises(UpstreamRefused) as caught:
        await google.identify_by_token(evil.credential(nonce=NONCE), nonce=NONCE, now=system_clock())
    assert caught.value.fault is UpstreamFault.WRONG_DOMAIN


async def test_a_token_of_one_tap_that_google_has_not_signed_is_refused(google: Connector, evil: EvilProvider) -> None:
    evil.key, good = Key.new(), evil.key
    forged = evil.credential(nonce=NONCE)
    evil.key, evil.alg = good, "none"
    for credential in (forged, evil.credential(nonce=NONCE), "", "a.b.c", "x" * 100_000, "ä"):
        with pytest.raises(UpstreamRefused) as caught:
            await google.identify_by_token(credential, nonce=NONCE, now=system_clock())
        assert caught.value.fault is UpstreamFault.INVALID
    # However many of them come, keys are looked for once in a while only.
    assert evil.count("jwks") <= 2


async def test_a_token_of_one_tap_ends(google: Connector, evil: EvilProvider) -> None:
    credential = evil.credential(nonce=NONCE)
    with pytest.raises(UpstreamRefused) as caught:
        await google.identify_by_token(credential, nonce=NONCE, now=system_clock() + timedelta(minutes=11))
    assert is_refused(caught.value, UpstreamFault.INVALID, "too old")


async def test_one_tap_is_down_with_googles_keys(google: Connector, evil: EvilProvider) -> None:
    evil.bend["jwks"] = failing()
    with pytest.raises(UpstreamRefused) as caught:
        await google.identify_by_token(evil.credential(nonce=NONCE), nonce=NONCE, now=system_clock())
    assert caught.value.fault is UpstreamFault.DOWN
