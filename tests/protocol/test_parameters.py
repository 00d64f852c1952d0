"""Request parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import REPEATABLE, Parameters, parse_parameters

pairs_of_anything = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=8)


def test_a_parameter_is_found_by_its_name():
    params = parse_parameters([("state", "x"), ("nonce", "y")])
    assert (params.get("state"), params.get("nonce"), params.get("scope")) == ("x", "y", None)
    assert params.require("state") == "x"
    params.check_single()


@pytest.mark.parametrize("values", [("x", "y"), ("x", "x"), ("x", "y", "z")])
def test_a_repeated_parameter_is_refused_rfc6749_s3_1(values: tuple[str, ...]):
    params = parse_parameters([*(("state", value) for value in values), ("nonce", "n")])
    assert params.repeated == {"state"}
    assert params.get("state") == "x"
    with pytest.raises(InvalidRequest) as refused:
        params.check_single()
    assert refused.value.description == "A parameter was sent more than once."
    assert "state" in refused.value.detail


@pytest.mark.parametrize("name", ["resource", "audience"])
def test_resource_and_audience_may_be_repeated_rfc8707_s2_and_rfc8693_s2_1(name: str):
    params = parse_parameters([(name, "https://a.example"), (name, "https://b.example")])
    params.check_single()
    assert params.get(name) == "https://a.example https://b.example"
    assert name in REPEATABLE


def test_an_empty_parameter_counts_as_omitted_rfc6749_s3_1():
    params = parse_parameters([("state", ""), ("code", "")])
    assert params.get("state") is None
    with pytest.raises(InvalidRequest):
        params.require("code")


@pytest.mark.parametrize("values", [("", "x"), ("x", ""), ("", "x", "")])
def test_an_empty_parameter_beside_a_full_one_repeats_nothing_rfc6749_s3_1(values: tuple[str, ...]):
    params = parse_parameters(("state", value) for value in values)
    params.check_single()
    assert params.get("state") == "x"


@pytest.mark.parametrize("name", ["response_type", "grant_type", "code", "refresh_token", "token"])
def test_a_missing_parameter_is_named_to_the_developer_rfc6749_s5_2(name: str):
    with pytest.raises(InvalidRequest) as refused:
        Parameters({}).require(name)
    assert refused.value.description == f"The parameter {name} is missing."
    assert refused.value.detail == f"{name} is missing"


def test_a_name_that_was_sent_never_reaches_a_description():
    with pytest.raises(InvalidRequest) as refused:
        parse_parameters([("<script>", "1"), ("<script>", "2")]).check_single()
    assert "script" not in refused.value.description
    with pytest.raises(InvalidRequest) as refused:
        Parameters({}).require("<script>")
    assert "script" not in refused.value.description


def test_the_log_names_repeated_parameters_but_not_without_end():
    with pytest.raises(InvalidRequest) as refused:
        parse_parameters([("x" * 10_000, "1"), ("x" * 10_000, "2")]).check_single()
    assert len(refused.value.detail) < 300


@given(pairs_of_anything)
def test_any_pairs_are_parsed_and_each_value_found_was_sent_first(pairs: list[tuple[str, str]]):
    params = parse_parameters(pairs)
    for name, _ in pairs:
        sent = [value for other, value in pairs if other == name and value]
        assert params.get(name) == (sent[0] if sent else None)
        assert (name in params.repeated) is (len(sent) > 1 and name not in REPEATABLE)
