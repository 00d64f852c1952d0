"""RP-initiated and front-channel logout."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import ClientStatus
from idp.protocol.errors import InvalidRequest
from idp.protocol.logout import (
    LogoutDecision,
    LogoutHint,
    decide_logout,
    frontchannel_logout_address,
    read_logout_hint,
)
from tests.support.factories import ISSUER, make_client, make_session

AFTER = "https://portal.example.org/bye"
CLIENT = make_client(post_logout_redirect_uris=(AFTER, f"{AFTER}?tenant=1"))
HINT = LogoutHint("portal", "u_alice", "s_browser")
SESSION = make_session()
OTHERS = make_session(id="s_bob", user_id="u_bob")


def decide(**changes: Any) -> LogoutDecision:
    request = {
        "client": CLIENT,
        "hint": HINT,
        "sessions": [SESSION],
        "hint_of": lambda session: LogoutHint("portal", session.user_id, session.id),
        "post_logout_redirect_uri": AFTER,
        "state": None,
    }
    return decide_logout(**{**request, **changes})


def asks(decision: LogoutDecision) -> bool:
    """Whether the user is asked and no redirect follows."""
    return not decision.confirmed and not decision.meant


# ── The hint ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_verified_id_token_names_client_user_and_session_rp_initiated_logout_s2():
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "iat": 1, "sid": "s_browser"}
    assert read_logout_hint(claims, issuer=ISSUER) == HINT


def test_an_expired_hint_counts_rp_initiated_logout_s2():
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "iat": 1, "sid": "s_browser", "exp": 1}
    assert read_logout_hint(claims, issuer=ISSUER) == HINT


@pytest.mark.parametrize("sid", [None, 1, ["s_browser"]])
def test_a_hint_without_a_session_names_none(sid: Any):
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "iat": 1, "sid": sid}
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
        # What userinfo signs has no time.
        {"iat": None},
    ],
)
def test_a_hint_of_another_issuer_or_shape_is_refused_rp_initiated_logout_s4(changes: dict[str, Any]):
    claims = {"iss": ISSUER, "aud": "portal", "sub": "u_alice", "iat": 1, "sid": "s_browser", **changes}
    with pytest.raises(InvalidRequest):
        read_logout_hint(claims, issuer=ISSUER)


# ── The decision ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_hint_of_this_session_signs_out_at_once_and_leads_back_rp_initiated_logout_s3():
    assert decide() == LogoutDecision(confirmed=True, ending=(SESSION,), location=AFTER, meant=True)


def test_without_a_uri_our_own_page_follows_rp_initiated_logout_s2():
    for state in (None, "x"):
        decision = decide(post_logout_redirect_uri=None, state=state)
        assert (decision.confirmed, decision.location) == (True, None)


@pytest.mark.parametrize("client", [None, CLIENT])
@pytest.mark.parametrize("uri", [None, AFTER])
def test_without_a_hint_the_user_is_asked_and_not_sent_anywhere_rp_initiated_logout_s3(client: Any, uri: str | None):
    decision = decide(hint=None, client=client, post_logout_redirect_uri=uri)
    assert asks(decision)
    # A link to it on our page is another matter: it is registered, and whoever follows it sees where it leads.
    assert decision.location == (uri if client else None)


@pytest.mark.parametrize("hint", [LogoutHint("portal", "u_alice", "s_other"), LogoutHint("portal", "u_alice", None)])
def test_a_hint_of_another_session_asks_and_sends_nowhere_rp_initiated_logout_s2(hint: LogoutHint):
    assert asks(decide(hint=hint))


def test_a_hint_of_another_user_asks_rp_initiated_logout_s2():
    assert asks(decide(hint=LogoutHint("portal", "u_bob", "s_browser")))


def test_a_hint_ends_exactly_the_account_that_it_names_active_or_not():
    for sessions in ([SESSION, OTHERS], [OTHERS, SESSION]):
        assert decide(sessions=sessions).ending == (SESSION,)
        assert decide(sessions=sessions, hint=LogoutHint("portal", "u_bob", "s_bob")).ending == (OTHERS,)


def test_who_is_asked_is_asked_about_every_account_of_the_browser():
    assert decide(sessions=[SESSION, OTHERS], hint=None).ending == (SESSION, OTHERS)
    assert decide(sessions=[SESSION, OTHERS], hint=LogoutHint("portal", "u_alice", "s_bob")).ending == (SESSION, OTHERS)


def test_a_hint_names_people_and_sessions_as_its_client_knows_them_core_s8_1():
    def pairwise(session: Any) -> LogoutHint:
        return LogoutHint("portal", f"pairwise-{session.user_id}", f"pairwise-{session.id}")

    assert decide(hint=pairwise(SESSION), hint_of=pairwise).ending == (SESSION,)
    for hint in (HINT, replace(HINT, sub="pairwise-u_alice"), replace(HINT, sid="pairwise-s_browser")):
        assert asks(decide(hint=hint, hint_of=pairwise))


def test_where_nobody_is_signed_in_nobody_is_asked_rp_initiated_logout_s2():
    assert decide(sessions=[]) == LogoutDecision(confirmed=True, ending=(), location=AFTER, meant=True)
    for client in (None, CLIENT):
        decision = decide(sessions=[], hint=None, client=client)
        assert (decision.confirmed, decision.meant, decision.ending) == (True, False, ())


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
@pytest.mark.parametrize("sessions", [[], [SESSION]])
def test_an_unregistered_or_altered_uri_is_a_page_never_a_redirect_rp_initiated_logout_s3(
    uri: str, hint: Any, sessions: Any
):
    with pytest.raises(InvalidRequest) as refused:
        decide(post_logout_redirect_uri=uri, hint=hint, sessions=sessions)
    assert "not registered" in refused.value.description


def test_a_redirect_uri_is_no_post_logout_redirect_uri_rp_initiated_logout_s3_1():
    with pytest.raises(InvalidRequest):
        decide(post_logout_redirect_uri=make_client().redirect_uris[0])


def test_a_hint_for_a_client_that_is_gone_leads_nowhere_rp_initiated_logout_s3():
    with pytest.raises(InvalidRequest):
        decide(client=None)
    # Nor does it end anything by itself: the client was removed or switched off.
    assert asks(decide(client=None, post_logout_redirect_uri=None, hint_of=lambda session: None))
    assert decide(client=None, post_logout_redirect_uri=None, sessions=[]).confirmed


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


# ── Front-channel ───────────────────────────────────────────────────────────────────────────────────────────────────
def frame(uri: str | None, **changes: Any) -> str | None:
    return frontchannel_logout_address(make_client(frontchannel_logout_uri=uri, **changes), issuer=ISSUER, sid="s_1")


@pytest.mark.parametrize("required", [True, False])
def test_a_frame_gets_issuer_and_session_frontchannel_logout_s3(required: bool):
    address = frame("https://portal.example.org/out", frontchannel_logout_session_required=required)
    assert address == "https://portal.example.org/out?iss=https%3A%2F%2Fidp.example.org&sid=s_1"


def test_a_query_of_the_registered_uri_is_kept_frontchannel_logout_s2():
    address = frame("https://portal.example.org/out?tenant=1")
    assert address == "https://portal.example.org/out?tenant=1&iss=https%3A%2F%2Fidp.example.org&sid=s_1"


@pytest.mark.parametrize("uri", [None, "javascript:alert(1)", "https://a;script-src/out", "org.example.app:/out"])
def test_what_is_no_web_address_is_not_framed(uri: str | None):
    assert frame(uri) is None


def test_a_client_that_was_switched_off_is_not_framed():
    assert frame("https://portal.example.org/out", status=ClientStatus.DISABLED) is None
