"""The `claims` request parameter."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.protocol.claims_request import ClaimsRequest, matching, read_claims_request, registered_wishes
from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters

HELD = {"email": "alice@example.org", "email_verified": True, "name": "Alice"}


def read(claims: Any) -> ClaimsRequest:
    return read_claims_request(Parameters({"claims": claims if isinstance(claims, str) else json.dumps(claims)}))


def test_nothing_asked_for_is_nothing_oidc_core_s5_5():
    assert read_claims_request(Parameters({})).document == {}
    assert read({}).document == {}


def test_both_members_are_read_each_with_its_wishes_oidc_core_s5_5_1():
    asked = {
        "userinfo": {"name": None, "email": {"essential": True}},
        "id_token": {"auth_time": {"essential": True}, "acr": {"values": ["1", "2"]}},
    }
    assert read(asked).document == asked


def test_what_means_nothing_here_is_ignored_oidc_core_s5_5():
    asked = {"vp_token": {"x": 1}, "userinfo": {"http://example.info/claims/groups": None, "name": {"purpose": "x"}}}
    assert read(asked).document == {"userinfo": {"name": {}}}
    assert read({"userinfo": None, "id_token": {}}).document == {}


@pytest.mark.parametrize(
    "malformed",
    [
        *("", "{", "[]", "null", '"x"', "{'a': 1}", "[" * 100_000),
        *('{"userinfo": []}', '{"userinfo": "name"}', '{"userinfo": {"name": true}}', '{"userinfo": {"name": []}}'),
        *('{"id_token": {"acr": {"values": "1"}}}', '{"id_token": {"acr": {"essential": "yes"}}}'),
        *('{"id_token": {"acr": {"value": {"a": 1}}}}', '{"id_token": {"acr": {"value": NaN}}}'),
        *('{"id_token": {"acr": {"value": "\\u0000"}}}', '{"id_token": {"acr": {"values": ["\\ud800"]}}}'),
        '{"id_token": {"acr": {"value": 1' + "0" * 400 + "}}}",
    ],
    ids=lambda text: f"{text[:40]}",
)
def test_a_malformed_request_is_an_invalid_request_oidc_core_s5_5(malformed: str):
    with pytest.raises(InvalidRequest):
        read(malformed)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.floats() | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["userinfo", "id_token", "name", "acr", "value", "values", "essential"]), x
            )
        ),
    )
)
def test_any_json_is_read_or_refused_and_what_is_kept_can_be_stored_oidc_core_s5_5(document: Any):
    try:
        kept = read(document).document
    except InvalidRequest:
        return
    json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()


def test_the_subject_and_the_demanded_acr_are_told_apart_from_mere_wishes_oidc_core_s5_5_1():
    assert read({"id_token": {"sub": {"value": "u_1"}}}).sub == "u_1"
    assert read({"id_token": {"sub": None}}).sub is None
    assert read({"id_token": {"sub": {"value": 7}}}).sub is None
    assert read({"id_token": {"acr": {"essential": True, "values": ["1", "2", 3]}}}).essential_acr == {"1", "2"}
    assert read({"id_token": {"acr": {"essential": True, "value": "1"}}}).essential_acr == {"1"}
    assert read({"id_token": {"acr": {"essential": True}}}).essential_acr == frozenset()
    assert read({"id_token": {"acr": {"values": ["2"]}}}).essential_acr == frozenset()
    assert read({"id_token": {"acr": None}}).essential_acr == frozenset()


def test_what_is_held_is_released_where_it_was_asked_for_oidc_core_s5_5():
    assert matching(HELD, {"email": None, "phone_number": {"essential": True}}) == {"email": "alice@example.org"}
    assert matching(HELD, {}) == {}


def test_a_claim_is_released_only_with_the_value_asked_for_oidc_core_s5_5_1():
    assert matching(HELD, {"email": {"value": "bob@example.org"}}) == {}
    assert matching(HELD, {"email": {"value": "alice@example.org"}}) == {"email": "alice@example.org"}
    assert matching(HELD, {"name": {"values": ["Bob", "Alice"]}}) == {"name": "Alice"}
    assert matching(HELD, {"name": {"values": []}}) == {}


def test_a_client_may_wish_only_for_claims_of_its_registered_scopes():
    wishes = {"email": None, "name": None, "groups": None, "acr": None, "sub": None}
    assert registered_wishes(wishes, ["openid", "email"]) == {"email": None}
    assert registered_wishes(wishes, ["profile", "groups"]) == {"name": None, "groups": None}
