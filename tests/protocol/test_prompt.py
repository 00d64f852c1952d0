"""What the user must still do before an authorization request is answered."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import ApplicationType, Client, ClientAuthMethod
from idp.domain.consent import Consent
from idp.domain.interaction import Interaction
from idp.domain.session import Session
from idp.protocol.errors import (
    AccountSelectionRequired,
    ConsentRequired,
    InteractionRequired,
    LoginRequired,
    OAuthError,
    UnmetAuthenticationRequirements,
)
from idp.protocol.prompt import Freshness, Situation, Step, consent_tokens, next_step
from tests.support.clock import START
from tests.support.factories import (
    make_authorization_request,
    make_client,
    make_consent,
    make_interaction,
    make_session,
)

SECOND = timedelta(seconds=1)
NOW = START + timedelta(hours=1)
TRUSTED = make_client(trusted=True)
# Begun after the session of the factories: only a later sign-in is one for this request.
WAITING = make_interaction(created_at=START + SECOND)
SIGNED_IN_SINCE = make_session(auth_time=START + 2 * SECOND)
# The sign-in happened within this request.
SIGNED_IN = replace(WAITING, session_id=SIGNED_IN_SINCE.id)
CONSENTED = replace(SIGNED_IN, user_id="u_alice", consented_at=NOW)


def step(
    session: Session | None = None,
    consent: Consent | None = None,
    interaction: Interaction | None = None,
    *,
    client: Client | None = None,
    hinted_sub: str | None = None,
    others: int = 0,
    unconnected: bool = False,
    acr_offered: bool = False,
    second_factor: bool = False,
    now: datetime = NOW,
    **params: str,
) -> Step:
    named = None if hinted_sub is None else session is not None and session.user_id == hinted_sub
    situation = Situation(
        session=session,
        accounts=(session is not None) + others,
        consent=consent,
        interaction=interaction,
        hinted=named,
        unconnected=unconnected,
        acr_offered=acr_offered,
        second_factor=second_factor,
    )
    return next_step(make_authorization_request(client, **params), situation, now=now)


def silent_refusal(*situation: Any, **changes: Any) -> OAuthError:
    with pytest.raises(OAuthError) as refused:
        step(*situation, prompt="none", **changes)
    return refused.value


# ── The plain course ────────────────────────────────────────────────────────────────────────────────────────────────
def test_sign_in_then_consent_then_the_answer_oidc_core_s3_1_2():
    assert step() is Step.LOGIN
    assert step(make_session()) is Step.CONSENT
    assert step(make_session(), make_consent()) is Step.ANSWER


def test_who_signed_in_and_consented_within_the_request_is_answered_oidc_core_s3_1_2_4():
    assert step(None, None, WAITING) is Step.LOGIN
    assert step(SIGNED_IN_SINCE, None, WAITING) is Step.CONSENT
    assert step(SIGNED_IN_SINCE, make_consent(), CONSENTED) is Step.ANSWER


def test_a_consent_that_was_withdrawn_since_is_asked_for_again_oidc_core_s3_1_2_4():
    assert step(SIGNED_IN_SINCE, None, CONSENTED) is Step.CONSENT
    assert step(SIGNED_IN_SINCE, make_consent(scopes=("openid",)), CONSENTED, prompt="consent") is Step.CONSENT


# ── prompt=none ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_prompt_none_answers_silently_where_nothing_is_needed_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), prompt="none") is Step.ANSWER


def test_prompt_none_without_a_session_is_login_required_oidc_core_s3_1_2_6():
    assert isinstance(silent_refusal(None, make_consent()), LoginRequired)
    assert isinstance(silent_refusal(None, make_consent(), WAITING), LoginRequired)


def test_prompt_none_without_consent_is_consent_required_oidc_core_s3_1_2_6():
    assert isinstance(silent_refusal(make_session()), ConsentRequired)


def test_prompt_none_with_too_old_a_sign_in_is_login_required_oidc_core_s3_1_2_1():
    assert isinstance(silent_refusal(make_session(), make_consent(), max_age="60"), LoginRequired)


def test_prompt_none_for_another_user_than_the_hint_names_is_login_required_oidc_core_s3_1_2_1():
    assert isinstance(silent_refusal(make_session(), make_consent(), hinted_sub="u_bob"), LoginRequired)


# ── prompt=login ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("prompt", ["login", "login consent"])
def test_prompt_login_asks_even_who_is_signed_in_oidc_core_s3_1_2_1(prompt: str):
    assert step(make_session(), make_consent(), prompt=prompt) is Step.LOGIN
    assert step(make_session(), make_consent(), WAITING, prompt=prompt) is Step.LOGIN


def test_prompt_login_is_satisfied_only_by_a_sign_in_since_the_request_began_oidc_core_s3_1_2_1():
    before = make_session(auth_time=WAITING.created_at - SECOND / 1000)
    since = make_session(auth_time=WAITING.created_at)
    assert step(before, make_consent(), SIGNED_IN, prompt="login") is Step.LOGIN
    assert step(since, make_consent(), SIGNED_IN, prompt="login") is Step.ANSWER


def test_a_later_sign_in_elsewhere_does_not_satisfy_prompt_login_oidc_core_s3_1_2_1():
    assert step(SIGNED_IN_SINCE, make_consent(), WAITING, prompt="login") is Step.LOGIN
    elsewhere = replace(WAITING, session_id="s_of_another_browser")
    assert step(SIGNED_IN_SINCE, make_consent(), elsewhere, prompt="login") is Step.LOGIN


# ── Several accounts ────────────────────────────────────────────────────────────────────────────────────────────────
SELECTED = replace(WAITING, selected_session_id=make_session().id)


def test_prompt_select_account_lists_whoever_is_signed_in_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), prompt="select_account") is Step.SELECT_ACCOUNT
    assert step(make_session(), make_consent(), others=2, prompt="select_account consent") is Step.SELECT_ACCOUNT
    assert step(None, prompt="select_account") is Step.LOGIN


def test_the_choice_of_an_account_satisfies_it_and_so_does_a_sign_in_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), SELECTED, prompt="select_account") is Step.ANSWER
    assert step(SIGNED_IN_SINCE, make_consent(), SIGNED_IN, prompt="select_account") is Step.ANSWER
    of_another = replace(SELECTED, selected_session_id="s_other")
    assert step(make_session(), make_consent(), of_another, prompt="select_account") is Step.SELECT_ACCOUNT


def test_who_was_chosen_still_signs_in_where_that_is_asked_for_too_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), prompt="select_account login") is Step.SELECT_ACCOUNT
    assert step(make_session(), make_consent(), SELECTED, prompt="select_account login") is Step.LOGIN


def test_with_accounts_of_which_none_is_in_use_one_is_chosen_oidc_core_s3_1_2_6():
    assert step(None, others=2) is Step.SELECT_ACCOUNT
    assert step(None, others=2, prompt="login") is Step.LOGIN
    assert isinstance(silent_refusal(None, others=1), AccountSelectionRequired)


def test_a_hint_chooses_by_itself_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), others=2, hinted_sub="u_alice", prompt="select_account") is Step.ANSWER
    assert step(None, others=2, hinted_sub="u_bob") is Step.LOGIN
    assert isinstance(silent_refusal(None, others=2, hinted_sub="u_bob"), LoginRequired)


# ── acr ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def demanding(*values: str, essential: bool = True) -> dict[str, str]:
    return {"claims": json.dumps({"id_token": {"acr": {"essential": essential, "values": values}}})}


def test_an_essential_acr_is_met_or_refused_oidc_core_s5_5_1_1():
    session = make_session(acr="1")
    assert step(session, make_consent(), **demanding("2", "1")) is Step.ANSWER
    with pytest.raises(UnmetAuthenticationRequirements):
        step(session, make_consent(), **demanding("gold"))
    for value in ("gold", "2"):
        assert isinstance(silent_refusal(session, make_consent(), **demanding(value)), InteractionRequired)


@pytest.mark.parametrize("second_factor", [False, True])
def test_two_factors_that_are_demanded_are_asked_for_also_of_who_has_yet_to_set_one_up_rfc9470_s4(second_factor: bool):
    situation = {"second_factor": second_factor, **demanding("2", "gold")}
    assert step(make_session(acr="1"), make_consent(), **situation) is Step.STEP_UP
    assert step(SIGNED_IN_SINCE, make_consent(), SIGNED_IN, **situation) is Step.STEP_UP
    assert step(make_session(acr="2"), make_consent(), **situation) is Step.ANSWER


def test_who_has_a_second_factor_here_is_not_sent_to_a_provider_for_it():
    wish = demanding("2")
    assert step(make_session(), make_consent(), acr_offered=True, second_factor=True, **wish) is Step.STEP_UP


@pytest.mark.parametrize(
    ("wish", "asked"),
    [
        ({"acr_values": "2"}, True),
        ({"acr_values": "gold 2 1"}, True),
        (demanding("2", essential=False), True),
        ({"acr_values": "1 2"}, False),
        ({"acr_values": "gold"}, False),
        ({"acr_values": "2", **demanding("1", essential=False)}, False),
    ],
)
def test_two_factors_that_are_preferred_are_asked_for_where_that_takes_only_a_code_rfc9470_s4(
    wish: dict[str, str], asked: bool
):
    consent = make_consent()
    assert step(make_session(acr="1"), consent, second_factor=True, **wish) is (Step.STEP_UP if asked else Step.ANSWER)
    assert step(make_session(acr="2"), consent, second_factor=True, **wish) is Step.ANSWER
    assert step(make_session(acr="1"), consent, second_factor=True, prompt="none", **wish) is Step.ANSWER


def test_a_single_value_is_preferred_as_well_and_a_client_may_have_one_of_its_own_oidc_registration_s2():
    consent, session = make_consent(), make_session(acr="1")
    single = json.dumps({"id_token": {"acr": {"value": "2"}}})
    assert step(session, consent, second_factor=True, claims=single) is Step.STEP_UP
    client = make_client(default_acr_values=("2",))
    assert step(session, consent, client=client, second_factor=True) is Step.STEP_UP
    assert step(session, consent, client=client, second_factor=True, acr_values="1") is Step.ANSWER


def test_a_voluntary_acr_never_fails_oidc_core_s5_5_1_1():
    assert step(make_session(acr="1"), make_consent(), acr_values="2") is Step.ANSWER
    assert step(make_session(acr="1"), make_consent(), **demanding("2", essential=False)) is Step.ANSWER


# ── max_age ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(), Step.ANSWER), (60 * SECOND, Step.ANSWER), (60 * SECOND + SECOND / 1000, Step.LOGIN)],
)
def test_max_age_asks_when_the_sign_in_is_older_oidc_core_s3_1_2_1(age: timedelta, expected: Step):
    assert step(make_session(), make_consent(), max_age="60", now=START + age) is expected


def test_the_registered_default_max_age_asks_too_oidc_registration_s2():
    client = make_client(default_max_age=60)
    assert step(make_session(), make_consent(), client=client) is Step.LOGIN
    assert step(make_session(), make_consent(), client=client, max_age="7200") is Step.ANSWER


def test_max_age_zero_is_the_same_as_prompt_login_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), max_age="0", now=START) is Step.LOGIN
    assert step(SIGNED_IN_SINCE, make_consent(), SIGNED_IN, max_age="0") is Step.ANSWER


def test_a_sign_in_within_the_request_satisfies_max_age_however_long_consent_took_oidc_core_s3_1_2_1():
    assert step(SIGNED_IN_SINCE, make_consent(), CONSENTED, max_age="1", now=NOW) is Step.ANSWER


# ── id_token_hint ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_hint_of_the_same_user_changes_nothing_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), hinted_sub="u_alice") is Step.ANSWER
    assert step(None, hinted_sub="u_alice") is Step.LOGIN


def test_a_hint_of_another_user_asks_that_user_to_sign_in_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), hinted_sub="u_bob") is Step.LOGIN
    assert step(make_session(), make_consent(), WAITING, hinted_sub="u_bob") is Step.LOGIN


def test_when_somebody_else_signs_in_than_was_hinted_login_is_required_oidc_core_s3_1_2_2():
    with pytest.raises(LoginRequired) as refused:
        step(SIGNED_IN_SINCE, make_consent(), SIGNED_IN, hinted_sub="u_bob")
    assert "another user" in refused.value.description.lower()
    assert step(SIGNED_IN_SINCE, make_consent(), SIGNED_IN, hinted_sub="u_alice") is Step.ANSWER


# ── Consent ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_only_new_scopes_ask_again_oidc_core_s3_1_2_4():
    consent = make_consent(scopes=("openid", "profile"))
    assert step(make_session(), consent, scope="openid") is Step.ANSWER
    assert step(make_session(), consent, scope="profile openid") is Step.ANSWER
    assert step(make_session(), consent, scope="openid email") is Step.CONSENT
    assert step(make_session(), consent, scope="openid offline_access") is Step.CONSENT


def test_single_claims_ask_unless_their_scope_was_given_oidc_core_s5_5():
    asked = {"claims": json.dumps({"userinfo": {"email": None}, "id_token": {"name": None, "phone_number": None}})}
    # The factories' client is registered for profile and email, and not for phone.
    assert consent_tokens(make_authorization_request(scope="openid", **asked)) == (
        "openid",
        "claim email",
        "claim name",
    )
    assert consent_tokens(make_authorization_request(scope="openid email", **asked))[1:] == ("email", "claim name")
    assert step(make_session(), make_consent(scopes=("openid",)), scope="openid", **asked) is Step.CONSENT
    for scopes in (("openid", "claim email", "claim name"), ("openid", "email", "profile")):
        assert step(make_session(), make_consent(scopes=scopes), scope="openid", **asked) is Step.ANSWER


def test_prompt_consent_asks_again_even_a_trusted_client_oidc_core_s3_1_2_1():
    assert step(make_session(), make_consent(), prompt="consent") is Step.CONSENT
    assert step(make_session(), make_consent(), client=TRUSTED, prompt="consent") is Step.CONSENT
    assert step(make_session(), make_consent(), CONSENTED, prompt="consent") is Step.ANSWER


def test_a_trusted_client_skips_consent_offline_access_included():
    assert step(make_session(), client=TRUSTED, scope="openid offline_access") is Step.ANSWER
    assert step(make_session(), client=TRUSTED, prompt="none") is Step.ANSWER


def test_the_consent_of_another_user_in_the_same_browser_does_not_count():
    by_bob = make_interaction(user_id="u_bob", consented_at=NOW)
    assert step(make_session(), None, by_bob) is Step.CONSENT
    assert step(make_session(), make_consent(), by_bob, prompt="consent") is Step.CONSENT


def test_a_request_that_waits_has_no_consent_yet():
    assert step(make_session(), None, make_interaction(user_id="u_alice")) is Step.CONSENT
    assert step(make_session(), None, make_interaction()) is Step.CONSENT


IMPERSONABLE = ["http://127.0.0.1:9000/cb", "http://[::1]/cb", "http://localhost/cb", "org.example.app:/cb"]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("uri", IMPERSONABLE)
def test_a_public_client_on_loopback_or_a_private_scheme_is_asked_each_time_rfc8252_s8_6(uri: str, trusted: bool):
    client = make_client(
        application_type=ApplicationType.NATIVE,
        token_endpoint_auth_method=ClientAuthMethod.NONE,
        redirect_uris=(uri,),
        trusted=trusted,
    )
    request: dict[str, Any] = {"client": client, "redirect_uri": uri}
    assert step(make_session(), make_consent(), **request) is Step.CONSENT
    assert step(make_session(), make_consent(), CONSENTED, **request) is Step.ANSWER
    assert isinstance(silent_refusal(make_session(), make_consent(), **request), ConsentRequired)


def test_a_confidential_client_on_loopback_and_a_public_one_on_https_are_remembered_rfc8252_s8_6():
    on_loopback = make_client(redirect_uris=(IMPERSONABLE[0],))
    assert step(make_session(), make_consent(), client=on_loopback, redirect_uri=IMPERSONABLE[0]) is Step.ANSWER
    public = make_client(token_endpoint_auth_method=ClientAuthMethod.NONE)
    assert step(make_session(), make_consent(), client=public) is Step.ANSWER


# ── Always ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(
    session=st.sampled_from([None, make_session(), SIGNED_IN_SINCE, make_session(user_id="u_bob")]),
    consent=st.sampled_from([None, make_consent(), make_consent(scopes=())]),
    interaction=st.sampled_from([None, WAITING, CONSENTED]),
    hinted_sub=st.sampled_from([None, "u_alice", "u_bob"]),
    prompt=st.sampled_from(["none", "login", "consent", "select_account", "login consent"]),
    max_age=st.sampled_from(["0", "60", "9999999"]),
)
def test_prompt_none_never_asks_and_nobody_is_answered_for_without_signing_in_oidc_core_s3_1_2_3(
    prompt: str, session: Session | None, hinted_sub: str | None, **situation: Any
):
    try:
        decided = step(session, hinted_sub=hinted_sub, prompt=prompt, **situation)
    except (LoginRequired, ConsentRequired, AccountSelectionRequired):
        return
    assert prompt != "none" or decided is Step.ANSWER
    if decided not in {Step.LOGIN, Step.SELECT_ACCOUNT}:
        assert session is not None
        assert hinted_sub in {None, session.user_id}


# ── A sign-in whose time nobody knows, and a provider's API ─────────────────────────────────────────────────────────
def test_a_sign_in_whose_time_nobody_knows_meets_no_demand_oidc_core_s3_1_2_1():
    unknown = replace(SIGNED_IN_SINCE, auth_time_known=False)
    consent = make_consent()
    assert step(unknown, consent) is Step.ANSWER
    assert step(unknown, consent, max_age="3600") is Step.LOGIN
    assert step(unknown, consent, SIGNED_IN, max_age="3600") is Step.LOGIN
    assert step(unknown, consent, client=make_client(require_auth_time=True)) is Step.LOGIN
    wish = json.dumps({"id_token": {"auth_time": {"essential": True}}})
    assert step(unknown, consent, claims=wish) is Step.LOGIN
    assert step(SIGNED_IN_SINCE, consent, claims=wish) is Step.ANSWER
    assert isinstance(silent_refusal(unknown, consent, max_age="3600"), LoginRequired)


def test_an_api_that_is_not_connected_asks_for_a_sign_in_once():
    consent = make_consent()
    assert step(SIGNED_IN_SINCE, consent, unconnected=True) is Step.LOGIN
    assert step(SIGNED_IN_SINCE, consent, SIGNED_IN, unconnected=True) is Step.ANSWER
    assert step(SIGNED_IN_SINCE, consent, unconnected=True, prompt="none") is Step.ANSWER


@pytest.mark.parametrize(
    ("demand", "seconds", "met"),
    [
        (Freshness(anew=True), -1, False),
        (Freshness(anew=True), 0, True),
        (Freshness(max_age=timedelta(seconds=60)), -30, True),
        (Freshness(max_age=timedelta(seconds=60)), -100, False),
        (Freshness(max_age=timedelta(0)), 1, True),
        (Freshness(), -100_000, True),
        (Freshness(), None, False),
    ],
)
def test_a_demand_is_met_by_what_was_told_oidc_core_s2(demand: Freshness, seconds: int | None, met: bool):
    asked, now = NOW.replace(microsecond=700_000), NOW + 10 * SECOND
    told = None if seconds is None else NOW + seconds * SECOND
    assert demand.met(told, since=asked, now=now) is met


def test_an_acr_that_some_way_to_sign_in_gives_is_asked_for_once_oidc_core_s5_5_1_1():
    wish = json.dumps({"id_token": {"acr": {"essential": True, "values": ["2"]}}})
    consent = make_consent()
    assert step(SIGNED_IN_SINCE, consent, acr_offered=True, claims=wish) is Step.LOGIN
    # Whoever came back weaker than that may still set up a second factor here.
    assert step(SIGNED_IN_SINCE, consent, SIGNED_IN, acr_offered=True, claims=wish) is Step.STEP_UP
    assert step(SIGNED_IN_SINCE, consent, claims=wish) is Step.STEP_UP
    silver = demanding("silver")
    assert step(SIGNED_IN_SINCE, consent, acr_offered=True, **silver) is Step.LOGIN
    with pytest.raises(UnmetAuthenticationRequirements):
        step(SIGNED_IN_SINCE, consent, SIGNED_IN, acr_offered=True, **silver)
    assert isinstance(silent_refusal(SIGNED_IN_SINCE, consent, acr_offered=True, claims=wish), InteractionRequired)
