"""Logout tokens."""

from datetime import timedelta
from typing import Any

from idp.protocol.logout_token import TYPE, logout_token_claims
from tests.support.clock import START
from tests.support.factories import ISSUER


def claims(**changes: Any) -> dict[str, Any]:
    given = {"issuer": ISSUER, "client_id": "portal", "sub": "u_alice", "sid": "s_browser", "jti": "t_1", "now": START}
    return logout_token_claims(**{**given, **changes})


def test_a_logout_token_says_whose_session_ended_backchannel_logout_s2_4():
    said = claims()
    assert (said["iss"], said["aud"], said["sub"], said["sid"]) == (ISSUER, "portal", "u_alice", "s_browser")
    assert (said["jti"], said["iat"]) == ("t_1", int(START.timestamp()))


def test_its_event_is_an_empty_object_backchannel_logout_s2_4():
    assert claims()["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}


def test_it_lives_for_two_minutes_at_most_backchannel_logout_s4():
    now = START + timedelta(milliseconds=999)
    assert 0 < claims(now=now)["exp"] - now.timestamp() <= 120


def test_it_never_has_a_nonce_and_says_what_it_is_backchannel_logout_s2_4():
    assert "nonce" not in claims()
    assert TYPE == "logout+jwt"
