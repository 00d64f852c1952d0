"""Proof Key for Code Exchange."""

import hashlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import Client, ClientAuthMethod
from idp.protocol.errors import InvalidGrant, InvalidRequest
from idp.protocol.parameters import Parameters
from idp.protocol.pkce import check_code_challenge, check_code_verifier
from tests.support.factories import CODE_CHALLENGE, CODE_VERIFIER, make_client

OPTIONAL = make_client(require_pkce=False)
PUBLIC = make_client(require_pkce=False, token_endpoint_auth_method=ClientAuthMethod.NONE)


def challenge(client: Client, **params: str) -> str | None:
    return check_code_challenge(client, Parameters(params))


# ── At the authorization endpoint ───────────────────────────────────────────────────────────────────────────────────
def test_an_s256_challenge_is_kept_rfc7636_s4_3():
    assert challenge(make_client(), code_challenge=CODE_CHALLENGE, code_challenge_method="S256") == CODE_CHALLENGE


@pytest.mark.parametrize("method", ["plain", "s256", "S512", "S256 ", "none"])
def test_another_method_than_s256_is_refused_rfc9700_s2_1_1(method: str):
    with pytest.raises(InvalidRequest, match="invalid_request"):
        challenge(OPTIONAL, code_challenge=CODE_CHALLENGE, code_challenge_method=method)


def test_an_omitted_method_does_not_downgrade_to_plain_rfc7636_s4_3():
    with pytest.raises(InvalidRequest):
        challenge(OPTIONAL, code_challenge=CODE_CHALLENGE)


@pytest.mark.parametrize(
    "sent",
    [
        CODE_CHALLENGE[:-1],
        f"{CODE_CHALLENGE}A",
        f"{CODE_CHALLENGE}=",
        f"{CODE_CHALLENGE}\n",
        CODE_CHALLENGE.replace("-", "+"),
        CODE_CHALLENGE[:-1] + "é",
        CODE_CHALLENGE[:-1] + "~",
        pytest.param("A" * 100_000, id="enormous"),
    ],
)
def test_a_challenge_that_no_verifier_could_match_is_refused_at_once_rfc7636_s4_2(sent: str):
    with pytest.raises(InvalidRequest):
        challenge(OPTIONAL, code_challenge=sent, code_challenge_method="S256")


def test_a_confidential_client_must_use_pkce_by_default_rfc9700_s2_1_1():
    with pytest.raises(InvalidRequest):
        challenge(make_client())


def test_a_confidential_client_may_do_without_where_its_registration_says_so():
    assert challenge(OPTIONAL) is None
    assert challenge(OPTIONAL, code_challenge=CODE_CHALLENGE, code_challenge_method="S256") == CODE_CHALLENGE


def test_a_public_client_must_use_pkce_whatever_its_registration_says_rfc9700_s2_1_1():
    with pytest.raises(InvalidRequest):
        challenge(PUBLIC)


def test_a_method_without_a_challenge_is_a_stripped_challenge_and_is_refused_rfc9700_s4_8_2():
    with pytest.raises(InvalidRequest):
        challenge(OPTIONAL, code_challenge_method="S256")


@given(st.text(), st.sampled_from(["S256", "plain", None]))
def test_any_challenge_is_kept_as_it_is_or_refused_rfc7636_s4_4_1(sent: str, method: str | None):
    params = {"code_challenge": sent} | ({} if method is None else {"code_challenge_method": method})
    try:
        assert challenge(PUBLIC, **params) == sent
        assert method == "S256"
    except InvalidRequest:
        pass


# ── At the token endpoint ───────────────────────────────────────────────────────────────────────────────────────────
def test_the_verifier_of_the_specifications_example_is_accepted_rfc7636_appendix_b():
    check_code_verifier(CODE_CHALLENGE, CODE_VERIFIER)


def test_neither_challenge_nor_verifier_is_fine_rfc6749_s4_1_3():
    check_code_verifier(None, None)


def test_a_verifier_without_a_challenge_is_refused_rfc9700_s4_8_2():
    with pytest.raises(InvalidGrant):
        check_code_verifier(None, CODE_VERIFIER)


def test_a_missing_verifier_is_refused_rfc7636_s4_6():
    with pytest.raises(InvalidGrant) as refused:
        check_code_verifier(CODE_CHALLENGE, None)
    assert refused.value.description == "The code_verifier is missing."


def test_the_challenge_is_not_its_own_verifier_as_with_plain_rfc7636_s4_6():
    with pytest.raises(InvalidGrant):
        check_code_verifier(CODE_CHALLENGE, CODE_CHALLENGE)


@pytest.mark.parametrize("alphabet", ["A", "z", "0", "-", ".", "_", "~"])
@pytest.mark.parametrize("length", [43, 128])
def test_a_verifier_has_43_to_128_unreserved_characters_rfc7636_s4_1(length: int, alphabet: str):
    check_code_verifier(s256(alphabet * length), alphabet * length)


@pytest.mark.parametrize(
    "verifier",
    [
        "A" * 42,
        "A" * 129,
        "A" * 42 + "+",
        "A" * 43 + "\n",
        "A" * 42 + "é",
        "A" * 42 + "\ud800",
        pytest.param("A" * 10**6, id="enormous"),
    ],
)
def test_any_other_verifier_is_refused_even_if_it_matched_rfc7636_s4_1(verifier: str):
    with pytest.raises(InvalidGrant) as refused:
        check_code_verifier(s256(verifier), verifier)
    assert refused.value.description == "The code_verifier must be 43 to 128 unreserved characters."


@given(st.text())
def test_any_verifier_but_the_right_one_is_an_invalid_grant_rfc7636_s4_6(verifier: str):
    with pytest.raises(InvalidGrant):
        check_code_verifier(CODE_CHALLENGE, verifier)


def s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
