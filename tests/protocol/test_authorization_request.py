"""The authorization request."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import ClientAuthMethod, GrantType
from idp.protocol.authorization_request import AuthorizationRequest, check_authorization_request
from idp.protocol.authorization_response import Refused
from idp.protocol.parameters import parse_parameters
from idp.protocol.redirect_uri import RedirectUriRefused
from idp.protocol.response_type import RESPONSE_TYPES
from tests.support.factories import (
    CODE_CHALLENGE,
    ISSUER,
    REDIRECT_URI,
    make_authorization_params,
    make_authorization_request,
    make_client,
    make_resource,
)

NAMES = [
    *sorted(make_authorization_params().values.keys() - {"client_id", "redirect_uri"}),
    *("response_mode", "prompt", "max_age", "registration", "login_hint", "id_token_hint", "claims", "resource"),
]


def refusal(client: Any = None, **changes: Any) -> dict[str, str]:
    """The parameters of the answer to a request that is refused by redirect."""
    with pytest.raises(Refused) as refused:
        make_authorization_request(client, **changes)
    return dict(refused.value.reply.refusal(refused.value.error).params)


def repeated(*pairs: tuple[str, str]) -> AuthorizationRequest:
    params = parse_parameters([*make_authorization_params().values.items(), *pairs])
    return check_authorization_request(make_client(), params, issuer=ISSUER, resources={})


# ── A good request ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_request_is_taken_over_as_it_was_sent_oidc_core_s3_1_2_1():
    client = make_client()
    request = make_authorization_request(
        client, prompt="login consent", max_age="60", login_hint="alice", id_token_hint="a.b.c"
    )
    assert request.client is client
    assert request.redirect_uri.uri == REDIRECT_URI
    assert (request.reply.state, request.reply.issuer, request.reply.mode) == ("a-state", ISSUER, "query")
    assert request.scope == ("openid", "profile")
    assert request.code_challenge == CODE_CHALLENGE
    assert request.nonce == "a-nonce"
    assert request.prompt == {"login", "consent"}
    assert request.max_age == timedelta(seconds=60)
    assert (request.login_hint, request.id_token_hint) == ("alice", "a.b.c")


def test_what_was_not_sent_is_not_invented_oidc_core_s3_1_2_1():
    request = make_authorization_request(make_client(require_pkce=False), state=None, nonce=None)
    assert (request.reply.state, request.nonce, request.max_age, request.login_hint) == (None, None, None, None)
    assert request.prompt == frozenset()


def test_unknown_parameters_are_ignored_rfc6749_s3_1():
    assert make_authorization_request(foo="bar", audience="x").scope == ("openid", "profile")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("display", value) for value in ("page", "popup", "touch", "wap", "hologram")),
        *(("ui_locales", "de en"), ("ui_locales", "xx"), ("claims_locales", "de"), ("acr_values", "urn:x 1")),
    ],
)
def test_what_only_expresses_a_preference_never_fails_oidc_core_s3_1_2_1(name: str, value: str):
    assert make_authorization_request(**{name: value}).scope == ("openid", "profile")


@pytest.mark.parametrize("mode", ["query", None])
def test_the_default_response_mode_may_be_spelled_out_oauth_multiple_response_types_s2_1(mode: str | None):
    assert make_authorization_request(response_mode=mode).reply.mode == "query"


# ── Nowhere safe to answer to ───────────────────────────────────────────────────────────────────────────────────────
def test_a_bad_redirect_uri_is_a_page_whatever_else_is_wrong_rfc6749_s4_1_2_1():
    for changes in ({}, {"response_type": None}, {"scope": 'open"id'}, {"request": "a.b.c"}):
        with pytest.raises(RedirectUriRefused):
            make_authorization_request(redirect_uri="https://evil.example/", **changes)


@pytest.mark.parametrize("name", ["redirect_uri", "client_id"])
def test_two_redirect_uris_or_clients_are_a_page_even_when_one_is_right_rfc6749_s3_1(name: str):
    with pytest.raises(RedirectUriRefused) as refused:
        repeated((name, "another"))
    assert refused.value.sent is None


# ── Refused by redirect ─────────────────────────────────────────────────────────────────────────────────────────────
def test_any_other_repetition_is_refused_by_redirect_with_state_and_issuer_rfc6749_s3_1():
    with pytest.raises(Refused) as refused:
        repeated(("nonce", "another"))
    answer = refused.value.reply.refusal(refused.value.error)
    assert answer.params["error"] == "invalid_request"
    assert (answer.params["state"], answer.params["iss"]) == ("a-state", ISSUER)


def test_with_two_states_neither_comes_back_rfc6749_s3_1():
    with pytest.raises(Refused) as refused:
        repeated(("state", "another"))
    assert "state" not in refused.value.reply.refusal(refused.value.error).params


def test_resource_and_audience_may_come_twice_rfc8707_s2():
    assert repeated(("audience", "https://a.example"), ("audience", "https://b.example")).scope
    assert repeated(("resource", ISSUER), ("resource", ISSUER)).scope


def test_a_resource_that_is_not_registered_is_an_invalid_target_rfc8707_s2():
    assert refusal(resource="https://data.example.org")["error"] == "invalid_target"
    assert refusal(resource=f"{ISSUER} https://data.example.org")["error"] == "invalid_target"
    assert refusal(resource=f"{ISSUER}/")["error"] == "invalid_target"


def test_a_request_of_absurd_length_is_an_invalid_request_and_what_is_ignored_does_not_count():
    assert refusal(login_hint="x" * 17_000)["error"] == "invalid_request"
    assert repeated(("junk", "x" * 60_000)).scope


def test_a_missing_response_type_is_an_invalid_request_rfc6749_s4_1_2_1():
    answer = refusal(response_type=None)
    assert (answer["error"], answer["state"], answer["iss"]) == ("invalid_request", "a-state", ISSUER)


@pytest.mark.parametrize(
    "response_type", ["token", "none", "CODE", "code ", "code code", "code  token", "code id_token token token"]
)
def test_another_response_type_is_unsupported_rfc6749_s4_1_2_1(response_type: str):
    assert refusal(response_type=response_type)["error"] == "unsupported_response_type"


@pytest.mark.parametrize(
    "changes", [{"response_types": ()}, {"grant_types": (GrantType.CLIENT_CREDENTIALS,)}, {"grant_types": ()}]
)
def test_a_client_that_is_not_registered_for_a_response_type_is_unauthorized_rfc6749_s4_1_2_1(changes: dict[str, Any]):
    assert refusal(make_client(**changes))["error"] == "unauthorized_client"
    for response_type in ("id_token", "id_token token", "code id_token", "code token", "token id_token code"):
        assert refusal(response_type=response_type)["error"] == "unauthorized_client"


@pytest.mark.parametrize("mode", ["query.jwt", "jwt", "web_message", "QUERY", "query "])
def test_an_unknown_response_mode_is_an_error_not_another_mode_oauth_multiple_response_types_s2_1(mode: str):
    assert refusal(response_mode=mode)["error"] == "invalid_request"


def test_self_issued_registration_is_refused_never_silently_ignored_oidc_core_s3_1_2_6():
    assert refusal(registration="{}")["error"] == "registration_not_supported"


# ── Implicit and hybrid ─────────────────────────────────────────────────────────────────────────────────────────────
EVERYTHING = make_client(response_types=RESPONSE_TYPES, grant_types=(GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT))


@pytest.mark.parametrize("response_type", RESPONSE_TYPES)
def test_each_registered_response_type_is_taken_in_any_order_oauth_multiple_response_types_s5(response_type: str):
    for words in permutations(response_type.split()):
        request = make_authorization_request(EVERYTHING, response_type=" ".join(words))
        assert request.response_type == set(words)


@pytest.mark.parametrize("response_type", RESPONSE_TYPES[1:])
def test_what_comes_from_here_itself_stands_in_the_fragment_errors_too_oidc_core_s3_2_2_6(response_type: str):
    assert make_authorization_request(EVERYTHING, response_type=response_type).reply.mode == "fragment"
    with pytest.raises(Refused) as refused:
        make_authorization_request(EVERYTHING, response_type=response_type, prompt="bogus")
    location = refused.value.reply.refusal(refused.value.error).location
    assert location.startswith(f"{REDIRECT_URI}#error=invalid_request&")


@pytest.mark.parametrize("response_type", RESPONSE_TYPES[1:])
def test_tokens_never_travel_in_the_query_oauth_multiple_response_types_s3(response_type: str):
    with pytest.raises(Refused) as refused:
        make_authorization_request(EVERYTHING, response_type=response_type, response_mode="query")
    assert refused.value.reply.mode == "fragment"
    assert refused.value.error.error == "invalid_request"


@pytest.mark.parametrize("mode", ["fragment", "form_post"])
@pytest.mark.parametrize("response_type", RESPONSE_TYPES)
def test_the_other_modes_are_there_for_every_response_type_oauth_form_post_s2(response_type: str, mode: str):
    request = make_authorization_request(EVERYTHING, response_type=response_type, response_mode=mode)
    assert request.reply.mode == mode


@pytest.mark.parametrize(("mode", "expected"), [("form_post", "form_post"), ("fragment", "fragment"), (None, "query")])
def test_without_a_response_type_the_mode_that_was_asked_for_counts_rfc6749_s3_1_1(mode: str | None, expected: str):
    with pytest.raises(Refused) as refused:
        make_authorization_request(response_type=None, response_mode=mode)
    assert refused.value.reply.mode == expected


@pytest.mark.parametrize("response_type", ["id_token", "id_token token", "code id_token", "code id_token token"])
def test_a_nonce_is_required_where_an_id_token_comes_from_here_oidc_core_s3_2_2_1(response_type: str):
    with pytest.raises(Refused) as refused:
        make_authorization_request(EVERYTHING, response_type=response_type, nonce=None)
    assert (refused.value.error.error, refused.value.reply.mode) == ("invalid_request", "fragment")


@pytest.mark.parametrize("response_type", ["code", "code token"])
def test_a_nonce_is_optional_elsewhere_oidc_core_s3_3_2_1(response_type: str):
    assert make_authorization_request(EVERYTHING, response_type=response_type, nonce=None).nonce is None


@pytest.mark.parametrize("response_type", ["id_token", "id_token token"])
def test_pkce_is_never_demanded_where_no_code_is_issued_rfc7636_s4(response_type: str):
    without = {"code_challenge": None, "code_challenge_method": None}
    assert make_authorization_request(EVERYTHING, response_type=response_type, **without).code_challenge is None
    # What is sent nevertheless means nothing.
    sent = make_authorization_request(EVERYTHING, response_type=response_type, code_challenge_method="plain")
    assert sent.code_challenge is None


@pytest.mark.parametrize("response_type", ["code id_token", "code token", "code id_token token"])
def test_pkce_is_demanded_wherever_there_is_a_code_rfc9700_s2_1_1(response_type: str):
    without = {"code_challenge": None, "code_challenge_method": None}
    assert refusal(EVERYTHING, response_type=response_type, **without)["error"] == "invalid_request"


def test_an_id_token_needs_the_scope_openid_oidc_core_s3_1_2_1():
    assert refusal(EVERYTHING, response_type="id_token", scope="profile")["error"] == "invalid_scope"


# ── Resources, and scopes that were given before ────────────────────────────────────────────────────────────────────
def test_a_registered_resource_of_which_the_client_has_a_scope_is_taken_rfc8707_s2():
    client, data = make_client(scope="openid data:read"), make_resource()
    request = make_authorization_request(client, resources=[data], resource=f"{data.audience} {ISSUER} {ISSUER}")
    assert request.resources == (data.audience, ISSUER)


def test_whether_a_resource_is_unknown_or_not_for_this_client_is_not_told_rfc8707_s2():
    unknown = refusal(resource="https://data.example.org")
    foreign = refusal(resource="https://data.example.org", resources=[make_resource()])
    assert unknown == foreign
    assert unknown["error"] == "invalid_target"


def test_absurdly_many_resources_are_refused_rfc8707_s2():
    assert refusal(resource=" ".join(f"https://{n}.example" for n in range(11)))["error"] == "invalid_target"


def test_earlier_scopes_are_joined_only_for_clients_that_nobody_can_pose_as():
    assert make_authorization_request(include_granted_scopes="true").include_granted_scopes
    assert not make_authorization_request(include_granted_scopes="yes").include_granted_scopes
    public = make_client(token_endpoint_auth_method=ClientAuthMethod.NONE)
    assert not make_authorization_request(public, include_granted_scopes="true").include_granted_scopes


@pytest.mark.parametrize(
    "prompt", ["none login", "login none", "none consent", "none select_account", "none login consent select_account"]
)
def test_prompt_none_stands_alone_oidc_core_s3_1_2_1(prompt: str):
    answer = refusal(prompt=prompt)
    assert answer["error"] == "invalid_request"
    assert answer["error_description"] == "prompt=none cannot be combined with other values."


@pytest.mark.parametrize("prompt", ["create", "LOGIN", "login,consent", "login create", "none create", "nonelogin"])
def test_an_unknown_prompt_is_an_error_oidc_core_s3_1_2_1(prompt: str):
    answer = refusal(prompt=prompt)
    assert (answer["error"], answer["error_description"]) == ("invalid_request", "prompt holds an unknown value.")


@pytest.mark.parametrize(
    ("prompt", "values"),
    [
        ("none", {"none"}),
        ("none none", {"none"}),
        ("login", {"login"}),
        ("select_account  consent login", {"select_account", "consent", "login"}),
        (" ", set()),
    ],
)
def test_known_prompts_are_accepted_oidc_core_s3_1_2_1(prompt: str, values: set[str]):
    assert make_authorization_request(prompt=prompt).prompt == values


@pytest.mark.parametrize(
    "max_age",
    ["-1", "+1", "1.5", "1e3", "abc", " 1", "1 ", "٣", "²", "0x10", "1" * 11, pytest.param("9" * 9999, id="enormous")],
)
def test_a_max_age_that_is_no_number_of_seconds_is_invalid_oidc_core_s3_1_2_1(max_age: str):
    assert refusal(max_age=max_age)["error"] == "invalid_request"


@pytest.mark.parametrize(("max_age", "seconds"), [("0", 0), ("007", 7), ("9999999999", 9_999_999_999)])
def test_a_max_age_in_seconds_is_accepted_oidc_core_s3_1_2_1(max_age: str, seconds: int):
    assert make_authorization_request(max_age=max_age).max_age == timedelta(seconds=seconds)


def test_the_registered_default_max_age_counts_where_none_is_sent_oidc_registration_s2():
    client = make_client(default_max_age=0)
    assert make_authorization_request(client).max_age == timedelta()
    assert make_authorization_request(client, max_age="30").max_age == timedelta(seconds=30)


@pytest.mark.parametrize("length", [64, 384, 1024])
def test_a_long_nonce_is_never_truncated_oidc_core_s3_1_2_1(length: int):
    assert make_authorization_request(nonce="n" * length).nonce == "n" * length


def test_an_absurdly_long_nonce_is_an_error_oidc_core_s3_1_2_1():
    assert refusal(nonce="n" * 1025)["error"] == "invalid_request"


@pytest.mark.parametrize("length", [128, 4096])
def test_a_long_state_comes_back_unchanged_rfc6749_s4_1_2(length: int):
    assert make_authorization_request(state="s" * length).reply.success().params["state"] == "s" * length


def test_an_absurdly_long_state_is_an_error_that_does_not_repeat_it():
    answer = refusal(state="s" * 4097)
    assert (answer["error"], "state" in answer) == ("invalid_request", False)


@pytest.mark.parametrize("scope", [None, "", "unregistered", 'open"id'])
def test_a_scope_of_which_nothing_is_left_is_invalid_rfc6749_s3_3(scope: str | None):
    assert refusal(scope=scope)["error"] == "invalid_scope"


def test_a_missing_challenge_is_an_invalid_request_at_the_authorization_endpoint_rfc7636_s4_4_1():
    answer = refusal(code_challenge=None, code_challenge_method=None)
    assert answer["error"] == "invalid_request"
    assert (answer["state"], answer["iss"]) == ("a-state", ISSUER)


def test_a_public_client_cannot_be_talked_out_of_pkce_rfc9700_s2_1_1():
    client = make_client(require_pkce=False, token_endpoint_auth_method=ClientAuthMethod.NONE)
    assert refusal(client, code_challenge=None, code_challenge_method=None)["error"] == "invalid_request"


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.sampled_from(["code", "none", "S256", "0", "query"])))
def test_any_request_passes_or_is_refused_by_redirect_with_its_state_rfc6749_s4_1_2_1(sent: dict[str, str]):
    params = parse_parameters([("redirect_uri", REDIRECT_URI), *sent.items()])
    try:
        request = check_authorization_request(make_client(), params, issuer=ISSUER, resources={})
        assert (request.reply.state, request.nonce) == (params.get("state"), params.get("nonce"))
    except Refused as refused:
        answer = refused.reply.refusal(refused.error)
        assert answer.params.get("state") == params.get("state")
        begins = {"query": "?error=", "fragment": "#error=", "form_post": ""}
        assert answer.location.startswith(REDIRECT_URI + begins[answer.mode])
