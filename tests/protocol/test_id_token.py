"""ID tokens."""

from datetime import timedelta
from typing import Any

from idp.domain.grant import Grant
from idp.protocol.id_token import TYPE, id_token_claims
from tests.support.clock import START
from tests.support.factories import ISSUER, make_grant

NOW = START + timedelta(hours=1, milliseconds=900)


def claims(
    grant: Grant, *, with_nonce: bool = True, released: dict[str, Any] | None = None, sid: str | None = "s_browser"
) -> dict[str, Any]:
    return id_token_claims(
        grant,
        issuer=ISSUER,
        sub="sub-of-alice",
        sid=sid,
        now=NOW,
        expires_at=NOW + timedelta(minutes=10),
        hashes={"at_hash": "half-a-hash"},
        released=released or {},
        with_nonce=with_nonce,
    )


def test_an_id_token_says_who_signed_in_when_how_and_for_whom_oidc_core_s2():
    grant = make_grant(acr="1", amr=("pwd",), nonce="a-nonce")
    assert claims(grant) == {
        "iss": ISSUER,
        "sub": "sub-of-alice",
        "aud": "portal",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 600,
        "auth_time": int(START.timestamp()),
        "acr": "1",
        "amr": ["pwd"],
        "at_hash": "half-a-hash",
        "sid": "s_browser",
        "nonce": "a-nonce",
    }


def test_an_id_token_is_typed_as_a_plain_jwt_rfc7519_s5_1():
    assert TYPE == "JWT"


def test_times_are_whole_seconds_rfc7519_s2():
    assert {type(claims(make_grant())[name]) for name in ("iat", "exp", "auth_time")} == {int}


def test_a_nonce_is_echoed_exactly_and_never_invented_oidc_core_s3_1_3_7():
    nonce = "n" * 384 + " ü&"
    assert claims(make_grant(nonce=nonce))["nonce"] == nonce
    assert "nonce" not in claims(make_grant(nonce=None))


def test_a_grant_without_a_browser_session_has_no_sid_oidc_front_channel_logout_s3():
    assert "sid" not in claims(make_grant(session_id=None), sid=None)


def test_a_refreshed_id_token_keeps_all_but_the_nonce_oidc_core_s12_2():
    grant = make_grant(nonce="a-nonce")
    first, refreshed = claims(grant), claims(grant, with_nonce=False)
    assert first.pop("nonce") == "a-nonce"
    assert refreshed == first


def test_scope_claims_and_labs_live_in_userinfo_oidc_core_s5_4():
    everything = claims(make_grant(scope="openid profile email address phone labs groups"))
    assert everything.keys() == claims(make_grant(scope="openid")).keys()


def test_what_was_asked_for_by_name_is_there_and_never_in_place_of_the_protocols_own_oidc_core_s5_5():
    forged = dict.fromkeys(("iss", "sub", "aud", "iat", "exp", "auth_time", "acr", "amr", "sid"), "forged")
    token = claims(make_grant(), released={**forged, "email": "alice@example.org"})
    assert token == claims(make_grant()) | {"email": "alice@example.org"}


def test_one_audience_needs_no_azp_oidc_core_s2():
    token = claims(make_grant())
    assert token["aud"] == "portal"
    assert "azp" not in token
