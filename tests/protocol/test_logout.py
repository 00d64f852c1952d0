"""RP-initiated logout."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.protocol.errors import InvalidRequest
from idp.protocol.logout import LogoutDecision, LogoutHint, decide_logout, read_logout_hint
from tests.support.factories import ISSUER, make_client, make_session

AFTER = "https://portal.example.org/bye"
CLIENT = make_client(post_logout_redirect_uris=(AFTER, f"{AFTER}?tenant=1"))
HINT = LogoutHint("portal", "u_alice", "s_browser")
ASK = LogoutDecision(confirmed=False, location=None)


def decide(**changes: Any) -> LogoutDecision:
    request = {
        "client": CLIENT,
        "hint": HINT,
        "session": make_session(),
        "post_logout_redirect_uri": AFTER,
        "state": None,
    }
    return decide_logout(**{**request, **changes})


# ── The hint ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_verified_id_token_names_client_user_and_session_rp_initiated_logout_s2():
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "sid": "s_browser"}
    assert read_logout_hint(claims, issuer=ISSUER) == HINT


def test_an_expired_hint_counts_rp_initiated_logout_s2():
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "sid": "s_browser", "exp": 1}
    assert read_logout_hint(claims, issuer=ISSUER) == HINT


@pytest.mark.parametrize("sid", [None, 1, ["s_browser"]])
def test_a_hint_without_a_session_names_none(sid: Any):
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "sid": sid}
    assert read_logout_hint(claims, issuer=ISSUER).sid is None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"aud": None},
        {"aud": ["portal"]},
        {"aud": 1},
        {"sub": None},
        {"sub": 1},
    ],
)
def test_a_hint_of_another_issuer_or_shape_is_refused_rp_initiated_logout_s4(changes: dict[str, Any]):
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "sid": "s_browser", **changes}
    with pytest.raises(InvalidRequest):
        read_logout_hint(claims, issuer=ISSUER)


# ── The decision ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_hint_of_this_session_signs_out_at_once_and_leads_back_rp_initiated_logout_s3():
    assert decide() == LogoutDecision(confirmed=True, location=AFTER)


def test_without_a_uri_our_own_page_follows_rp_initiated_logout_s2():
    assert decide(post_logout_redirect_uri=None) == LogoutDecision(confirmed=True, location=None)
    assert decide(post_logout_redirect_uri=None, state="x") == LogoutDecision(confirmed=True, location=None)


@pytest.mark.parametrize("client", [None, CLIENT])
@pytest.mark.parametrize("uri", [None, AFTER])
def test_without_a_hint_the_user_is_asked_and_not_sent_anywhere_rp_initiated_logout_s3(client: Any, uri: str | None):
    assert decide(hint=None, client=client, post_logout_redirect_uri=uri) == ASK


@pytest.mark.parametrize("hint", [LogoutHint("portal", "u_alice", "s_other"), LogoutHint("portal", "u_alice", None)])
def test_a_hint_of_another_session_asks_and_sends_nowhere_rp_initiated_logout_s2(hint: LogoutHint):
    assert decide(hint=hint) == ASK


def test_a_hint_of_another_user_asks_rp_initiated_logout_s2():
    assert decide(hint=LogoutHint("portal", "u_bob", "s_browser")) == ASK


def test_where_nobody_is_signed_in_nobody_is_asked_rp_initiated_logout_s2():
    assert decide(session=None) == LogoutDecision(confirmed=True, location=AFTER)
    assert decide(session=None, hint=None) == LogoutDecision(confirmed=True, location=None)
    assert decide(session=None, hint=None, client=None) == LogoutDecision(confirmed=True, location=None)


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/",
        f"{AFTER}/",
        f"{AFTER}?",
        f"{AFTER}?tenant=2",
        f"{AFTER}?tenant=1&x=y",
        f"{AFTER}#x",
        "https://portal.example.org/",
        "https://portal.example.org@evil.example/bye",
        "HTTPS://portal.example.org/bye",
        f"{AFTER}\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
    ],
)
@pytest.mark.parametrize("hint", [None, HINT])
@pytest.mark.parametrize("session", [None, make_session()])
def test_an_unregistered_or_altered_uri_is_a_page_never_a_redirect_rp_initiated_logout_s3(
    uri: str, hint: Any, session: Any
):
    with pytest.raises(InvalidRequest) as refused:
        decide(post_logout_redirect_uri=uri, hint=hint, session=session)
    assert "not registered" in refused.value.description


def test_a_redirect_uri_is_no_post_logout_redirect_uri_rp_initiated_logout_s3_1():
    with pytest.raises(InvalidRequest):
        decide(post_logout_redirect_uri=make_client().redirect_uris[0])


def test_a_hint_for_a_client_that_is_gone_leads_nowhere_rp_initiated_logout_s3():
    with pytest.raises(InvalidRequest):
        decide(client=None)
    assert decide(client=None, post_logout_redirect_uri=None).confirmed


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_state_is_all_that_is_added_rp_initiated_logout_s3():
    assert decide(state="a b").location == f"{AFTER}?state=a+b"
    assert decide(state="x", post_logout_redirect_uri=f"{AFTER}?tenant=1").location == f"{AFTER}?tenant=1&state=x"
    assert decide(post_logout_redirect_uri=f"{AFTER}?tenant=1").location == f"{AFTER}?tenant=1"


@given(st.text())
def test_any_state_comes_back_unchanged_in_a_clean_header_rp_initiated_logout_s3(state: str):
    location = decide(state=state).location
    assert location is not None
    assert location.isascii()
    assert location.isprintable()
    assert parse_qsl(urlsplit(location).query, keep_blank_values=True) == [("state", state)]
