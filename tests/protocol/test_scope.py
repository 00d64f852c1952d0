"""Scopes: what a client asks for and may get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import GrantType, Profile
from idp.domain.lab import LabRole
from idp.protocol.errors import InvalidScope
from idp.protocol.scope import (
    SCOPES_SUPPORTED,
    USER_SCOPES,
    check_client_scope,
    check_narrower,
    check_user_scope,
    is_scope_token,
    parse_scope,
    still_registered,
)
from tests.support.factories import make_client, make_lab_membership

FORBIDDEN = ['"', "\\", "\t", "\n", "\r", "\x00", "\x7f", "é", "\u00a0", "\u2028", "\ud800"]


# ── Syntax ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_scope_tokens_come_once_each_in_their_order_rfc6749_s3_3():
    assert parse_scope("profile openid profile email openid") == ("profile", "openid", "email")


@pytest.mark.parametrize("raw", [None, "", " ", "   "])
def test_no_scope_is_no_token_rfc6749_s3_3(raw: str | None):
    assert parse_scope(raw) == ()


def test_extra_spaces_around_tokens_are_forgiven():
    assert parse_scope("  openid   email ") == ("openid", "email")


def test_every_character_that_a_token_may_have_is_accepted_rfc6749_s3_3():
    everything = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"\\')
    assert parse_scope(everything) == (everything,)
    assert is_scope_token(everything)


@pytest.mark.parametrize("character", FORBIDDEN)
def test_any_other_character_is_invalid_scope_rfc6749_s3_3(character: str):
    assert not is_scope_token(f"a{character}b")
    for token in (f"a{character}b", f"a{character}", character):
        with pytest.raises(InvalidScope) as refused:
            parse_scope(f"openid {token}")
        assert refused.value.description == "The scope is malformed."


def test_an_empty_text_and_two_tokens_are_no_token_rfc6749_s3_3():
    assert not is_scope_token("")
    assert not is_scope_token("openid email")


def test_a_hundred_tokens_are_accepted_and_more_are_refused():
    tokens = [f"s{number}" for number in range(101)]
    assert parse_scope(" ".join(tokens[:100])) == tuple(tokens[:100])
    assert parse_scope(" ".join(tokens[:100] * 3)) == tuple(tokens[:100])
    with pytest.raises(InvalidScope):
        parse_scope(" ".join(tokens))


@given(st.none() | st.text() | st.lists(st.sampled_from(["openid", "email", '"', " ", "x"])).map(" ".join))
def test_any_text_is_parsed_or_invalid_scope_rfc6749_s3_3(raw: str | None):
    try:
        tokens = parse_scope(raw)
    except InvalidScope:
        return
    assert all(map(is_scope_token, tokens))
    assert set(tokens) == {token for token in (raw or "").split(" ") if token}


# ── For a user ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_scope_that_the_client_did_not_register_is_left_out_rfc6749_s3_3():
    client = make_client(scope="openid email")
    assert check_user_scope(client, "email openid profile labs", code=True) == ("email", "openid")


@pytest.mark.parametrize("raw", [None, "", "profile", "OPENID", "openid2", "open", "openid,email"])
def test_a_request_for_nothing_that_can_be_given_is_invalid_scope_rfc6749_s3_3(raw: str | None):
    with pytest.raises(InvalidScope):
        check_user_scope(make_client(scope="openid email"), raw, code=True)


def test_offline_access_is_given_only_to_a_client_that_can_refresh_oidc_core_s11():
    scope = "openid offline_access"
    assert check_user_scope(make_client(), scope, code=True) == ("openid", "offline_access")
    without = make_client(grant_types=(GrantType.AUTHORIZATION_CODE,))
    assert check_user_scope(without, scope, code=True) == ("openid",)
    with pytest.raises(InvalidScope):
        check_user_scope(without, "offline_access", code=True)


def test_plain_oauth_without_openid_is_served_too_rfc6749_s3_3():
    assert check_user_scope(make_client(scope="labs"), "labs", code=True) == ("labs",)


# ── For the client itself ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_service_gets_its_registered_scopes_rfc6749_s4_4_2():
    client = make_client(scope="openid read write")
    assert check_client_scope(client, "write read other", []) == ("write", "read")


def test_a_service_that_asks_for_nothing_gets_no_scope_rfc6749_s4_4_2():
    assert check_client_scope(make_client(scope="read"), None, []) == ()


@pytest.mark.parametrize("scope", sorted(USER_SCOPES))
def test_a_service_gets_no_scope_that_speaks_of_a_person_rfc6749_s4_4_2(scope: str):
    client = make_client(scope=f"{scope} read")
    assert check_client_scope(client, f"{scope} read", []) == ("read",)
    with pytest.raises(InvalidScope):
        check_client_scope(client, scope, [])


def test_user_scopes_are_those_of_openid_connect_oidc_core_s5_4():
    assert set(USER_SCOPES) == {"openid", "profile", "email", "address", "phone", "offline_access"}
    assert set(SCOPES_SUPPORTED) == USER_SCOPES


@pytest.mark.parametrize("raw", ["other", 'rea"d'])
def test_a_service_that_asks_for_nothing_it_may_have_is_refused_rfc6749_s4_4_2(raw: str):
    with pytest.raises(InvalidScope):
        check_client_scope(make_client(scope="read"), raw, [])


# ── On refresh ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("raw", [None, "", " "])
def test_a_refresh_that_names_no_scope_keeps_it_all_rfc6749_s6(raw: str | None):
    assert check_narrower("openid profile email", raw) == ("openid", "profile", "email")


@pytest.mark.parametrize(
    ("raw", "scope"),
    [("email", ("email",)), ("email openid", ("email", "openid")), ("openid openid", ("openid",))],
)
def test_a_refresh_may_ask_for_less_rfc6749_s6(raw: str, scope: tuple[str, ...]):
    assert check_narrower("openid profile email", raw) == scope


@pytest.mark.parametrize("raw", ["openid phone", "phone", "Openid", "offline_access", 'open"id'])
def test_a_refresh_that_asks_for_more_is_invalid_scope_rfc6749_s6(raw: str):
    with pytest.raises(InvalidScope):
        check_narrower("openid profile email", raw)


@given(st.lists(st.sampled_from(["a", "b", "c"])).map(" ".join), st.text("abc \\") | st.none())
def test_a_refresh_never_widens_rfc6749_s6(granted: str, raw: str | None):
    try:
        assert set(check_narrower(granted, raw)) <= set(granted.split())
    except InvalidScope:
        assert raw is not None


# ── What a client is registered for today ───────────────────────────────────────────────────────────────────────────
def test_what_the_client_is_no_longer_registered_for_is_left_out():
    client = make_client(scope="openid profile")
    assert still_registered(client, ("openid", "profile", "email")) == ("openid", "profile")


def test_nothing_may_be_left():
    assert still_registered(make_client(scope="openid"), ("email",)) == ()


# ── Labs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
BIO = make_client(scope="openid offline_access", allowed_labs=("bio",))


@pytest.mark.parametrize("token", ["lab:", "lab:Bio", "lab:bio:owner", "lab:root", "lab:bio:member:x", "lab:bio/x"])
def test_a_malformed_lab_is_an_invalid_scope_labs_answers(token: str):
    with pytest.raises(InvalidScope) as refused:
        check_user_scope(BIO, f"openid {token}", code=True)
    assert refused.value.description == "The scope is malformed."
    for check in (lambda: check_client_scope(BIO, token, []), lambda: check_narrower("labs", token)):
        with pytest.raises(InvalidScope):
            check()


@pytest.mark.parametrize("token", ["lab:chem", "lab:no-such-lab", "lab:chem:viewer"])
def test_a_lab_that_the_client_may_not_see_is_an_invalid_scope_whether_it_exists_or_not(token: str):
    with pytest.raises(InvalidScope) as refused:
        check_user_scope(BIO, f"openid {token}", code=True)
    assert refused.value.description == InvalidScope.default_description


def test_a_lab_needs_no_registration_but_that_the_client_may_see_it():
    assert check_user_scope(BIO, "openid lab:bio lab:bio:viewer", code=True) == ("openid", "lab:bio", "lab:bio:viewer")
    anything = make_client(scope="openid", allowed_labs="*")
    assert check_user_scope(anything, "lab:chem", code=True) == ("lab:chem",)
    assert still_registered(BIO, ("openid", "lab:bio", "lab:chem:admin")) == ("openid", "lab:bio")


def test_at_most_twenty_labs_are_named_at_once():
    anything = make_client(allowed_labs="*")
    labs = [f"lab:lab-{number}" for number in range(21)]
    assert len(check_user_scope(anything, " ".join(labs[:20]), code=True)) == 20
    with pytest.raises(InvalidScope):
        check_user_scope(anything, " ".join(labs), code=True)


@pytest.mark.parametrize(
    ("profile", "scope", "granted"),
    [
        (Profile.WLCG, "openid wlcg.groups", ("openid", "wlcg.groups", "wlcg.groups:/bio/admin")),
        (Profile.WLCG, "openid", ("openid",)),
        (Profile.PLAIN, "openid wlcg.groups", ("openid", "wlcg.groups")),
    ],
)
def test_groups_are_selected_by_clients_of_the_wlcg_profile_wlcg_s3_1(profile: Profile, scope: str, granted: tuple):
    client = make_client(scope=scope, profile=profile, allowed_labs="*")
    assert check_user_scope(client, "openid wlcg.groups wlcg.groups:/bio/admin", code=True) == granted


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("lab:bio", True),
        ("lab:bio:viewer", True),
        ("lab:bio:admin", False),
        ("lab:chem", False),
        ("lab:bio lab:chem", False),
        ("read lab:no-such-lab", False),
    ],
)
def test_a_service_gets_the_labs_that_were_granted_to_it_and_is_refused_others_always(scope: str, granted: bool):
    client, held = make_client(scope="read"), [make_lab_membership("bio", LabRole.MEMBER)]
    if granted:
        assert check_client_scope(client, scope, held) == tuple(scope.split())
    else:
        with pytest.raises(InvalidScope):
            check_client_scope(client, scope, held)


@pytest.mark.parametrize(
    ("granted", "raw"),
    [
        ("openid labs", "lab:bio"),
        ("openid labs", "lab:bio:viewer"),
        ("lab:bio", "lab:bio:member"),
        ("lab:bio:member", "lab:bio:viewer"),
        ("lab:bio:viewer lab:bio:member", "lab:bio:member"),
        ("labs lab:bio:member", "lab:bio:member"),
        ("wlcg.groups", "wlcg.groups:/bio/admin"),
    ],
)
def test_a_refresh_may_ask_for_one_lab_of_all_or_for_a_lower_role_rfc6749_s6(granted: str, raw: str):
    assert check_narrower(granted, raw) == (raw,)


@pytest.mark.parametrize(
    ("granted", "raw"),
    [
        ("openid groups", "lab:bio"),
        ("lab:bio", "lab:chem"),
        ("lab:bio:viewer", "lab:bio"),
        ("lab:bio:viewer", "lab:bio:member"),
        ("labs lab:bio:viewer", "lab:bio"),
        ("lab:bio", "labs"),
        ("wlcg.groups:/bio", "wlcg.groups:/chem"),
        ("openid lab:bio:viewer labs:write", "openid labs:write"),
        ("labs lab:bio labs:write", "labs labs:write"),
    ],
)
def test_a_refresh_that_asks_for_another_lab_or_a_higher_role_is_invalid_scope_rfc6749_s6(granted: str, raw: str):
    with pytest.raises(InvalidScope):
        check_narrower(granted, raw)


def test_without_a_code_there_is_no_offline_access_oidc_core_s11():
    assert check_user_scope(make_client(), "openid offline_access", code=False) == ("openid",)
