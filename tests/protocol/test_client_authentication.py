"""Client authentication: none, client_secret_basic, client_secret_post."""

from base64 import b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import Client, ClientAuthMethod, ClientSecret, ClientStatus
from idp.protocol.client_authentication import Presented, check_client_credentials, read_client_credentials
from idp.protocol.errors import InvalidClient, InvalidRequest, OAuthError
from idp.protocol.parameters import Parameters
from tests.support.clock import START
from tests.support.factories import CLIENT_ID, make_client

SECOND = timedelta(seconds=1)


def basic(client_id: str, secret: str) -> str:
    return encoded(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode())


def encoded(raw: bytes) -> str:
    return f"Basic {b64encode(raw).decode()}"


def read(authorization: str | None = None, **body: str) -> Presented:
    return read_client_credentials(authorization, Parameters(body))


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_basic_credentials_are_read_from_the_header_rfc6749_s2_3_1():
    assert read(basic("portal", "s3cret")) == Presented("portal", "s3cret")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize("space", [" ", "   "])
def test_the_name_of_the_scheme_is_read_in_any_case_rfc7617_s2(scheme: str, space: str):
    assert read(f"{scheme}{space}{basic('portal', 's').removeprefix('Basic ')}").secret == "s"


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [("a:b", "c:d"), ("a b", "p+q%20"), ("https://rp.example/", "ü"), ("a%b", "%"), ("a", "")],
)
def test_both_halves_are_form_decoded_rfc6749_s2_3_1(client_id: str, secret: str):
    assert read(basic(client_id, secret)) == Presented(client_id, secret)


def test_a_secret_that_was_not_form_encoded_keeps_its_colons_rfc7617_s2():
    assert read(encoded(b"portal:a:b:c")).secret == "a:b:c"


def test_the_body_holds_client_id_and_secret_rfc6749_s2_3_1():
    assert read(client_id="portal", client_secret="s3cret") == Presented("portal", "s3cret")


def test_a_public_client_only_names_itself_rfc6749_s3_2_1():
    assert read(client_id="portal") == Presented("portal", None)


def test_a_matching_client_id_beside_basic_is_no_second_authentication_rfc6749_s2_3():
    assert read(basic("portal", "s"), client_id="portal") == Presented("portal", "s")


def test_a_different_client_id_beside_basic_is_an_invalid_request_rfc6749_s2_3():
    with pytest.raises(InvalidRequest):
        read(basic("portal", "s"), client_id="other")


@pytest.mark.parametrize("body", [{"client_secret": "s"}, {"client_id": "portal", "client_secret": "s"}])
def test_two_credentials_are_an_invalid_request_rfc6749_s2_3(body: dict[str, str]):
    with pytest.raises(InvalidRequest) as refused:
        read(basic("portal", "s"), **body)
    assert "twice" in refused.value.description


@pytest.mark.parametrize("body", [{}, {"client_secret": "s"}])
def test_no_client_at_all_fails_authentication_rfc6749_s5_2(body: dict[str, str]):
    with pytest.raises(InvalidClient):
        read(**body)


MALFORMED = [
    "Basic",
    "Basic ",
    "Basic !!!",
    "Basic cG9ydGFs",  # no colon
    "Basic cG9ydGFsOnM",  # no padding
    "Basic cG9ydGFsOnM=x",
    "Basic cG9y dGFsOnM=",
    "Basic é",
    "Basic \ud800",
    "Basic\tcG9ydGFsOnM=",
    encoded(b":secret"),
    encoded(b":"),
    encoded(b"\xff\xfe:s"),
    encoded(b"portal:\xff"),
    encoded(b"portal:%FF"),
    encoded(b"%C3:s"),
    "Bearer abc",
    "Digest username=portal",
    "BasicX cG9ydGFsOnM=",
    "",
    " ",
]


@pytest.mark.parametrize("authorization", MALFORMED)
def test_a_malformed_or_foreign_header_fails_authentication_whatever_the_body_holds_rfc6749_s5_2(authorization: str):
    for body in ({}, {"client_id": "portal", "client_secret": "s"}):
        with pytest.raises(InvalidClient) as refused:
            read(authorization, **body)
        assert refused.value.status == 401


@given(
    authorization=st.text() | st.binary().map(encoded) | st.text().map(lambda text: f"Basic {text}"),
    body=st.dictionaries(st.sampled_from(["client_id", "client_secret"]), st.text(min_size=1)),
)
def test_any_header_is_read_or_refused_never_a_500_rfc6749_s2_3_1(authorization: str, body: dict[str, str]):
    try:
        presented = read(authorization, **body)
    except (InvalidClient, InvalidRequest):
        return
    assert presented.client_id == body.get("client_id", presented.client_id)
    assert "client_secret" not in body


@given(st.text(min_size=1), st.text())
def test_any_credentials_survive_the_encoding_of_the_specification_rfc6749_s2_3_1(client_id: str, secret: str):
    assert read(basic(client_id, secret)) == Presented(client_id, secret)


# ── Judging ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def mac(secret: str) -> str:
    return f"mac-of-{secret.encode().hex()}"


def secret(text: str, **changes: Any) -> ClientSecret:
    return ClientSecret(hash=mac(text), created_at=START, **changes)


CONFIDENTIAL = make_client(secrets=(secret("right"),))
PUBLIC = make_client(token_endpoint_auth_method=ClientAuthMethod.NONE)


def check(client: Client | None, sent: str | None) -> Client:
    return check_client_credentials(client, Presented(CLIENT_ID, sent), mac=mac, now=START)


def failure(client: Client | None, sent: str | None) -> InvalidClient:
    with pytest.raises(InvalidClient) as refused:
        check(client, sent)
    return refused.value


@pytest.mark.parametrize("sent", [{"authorization": basic(CLIENT_ID, "right")}, {"client_secret": "right"}])
@pytest.mark.parametrize("method", [ClientAuthMethod.CLIENT_SECRET_BASIC, ClientAuthMethod.CLIENT_SECRET_POST])
def test_the_right_secret_is_accepted_either_way_whichever_was_registered_rfc6749_s2_3_1(
    method: ClientAuthMethod, sent: dict[str, str]
):
    client = make_client(secrets=(secret("right"),), token_endpoint_auth_method=method)
    presented = read(**sent, client_id=CLIENT_ID)
    assert check_client_credentials(client, presented, mac=mac, now=START) is client


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "wrong",
        "right ",
        "Right",
        "rıght",
        mac("right"),
        "right\x00",
        pytest.param("r" * 10**6, id="enormous"),
    ],
)
def test_any_other_secret_fails_rfc6749_s5_2(sent: str | None):
    failure(CONFIDENTIAL, sent)


def test_two_secrets_overlap_while_one_is_rotated():
    client = make_client(secrets=(secret("new"), secret("old", expires_at=START + SECOND)))
    assert check(client, "new") is client
    assert check(client, "old") is client
    failure(client, "neither")


def test_an_expired_secret_fails_beside_a_valid_one():
    client = make_client(secrets=(secret("new"), secret("old", expires_at=START)))
    assert check(client, "new") is client
    failure(client, "old")


@pytest.mark.parametrize("sent", [None, "", "right"])
def test_a_confidential_client_without_any_secret_never_authenticates(sent: str | None):
    failure(make_client(secrets=()), sent)


def test_an_empty_secret_is_no_way_in_even_if_its_hash_were_stored():
    failure(make_client(secrets=(secret(""),)), None)


@pytest.mark.parametrize("sent", [None, ""])
def test_a_public_client_has_nothing_to_prove_rfc6749_s2_3_1(sent: str | None):
    assert check(PUBLIC, sent) is PUBLIC


def test_a_public_client_that_sends_a_secret_is_refused_rfc6749_s2_3():
    failure(PUBLIC, "secret")


@pytest.mark.parametrize("method", [ClientAuthMethod.CLIENT_SECRET_JWT, ClientAuthMethod.PRIVATE_KEY_JWT])
@pytest.mark.parametrize("sent", [None, "", "right"])
def test_a_client_registered_for_assertions_gets_in_with_no_secret_oidc_core_s9(
    method: ClientAuthMethod, sent: str | None
):
    client = make_client(secrets=(secret("right"),), token_endpoint_auth_method=method)
    error = failure(client, sent)
    assert error.description == InvalidClient.default_description
    assert str(method) in error.detail


@pytest.mark.parametrize("client", [CONFIDENTIAL, PUBLIC])
def test_a_disabled_client_fails_with_all_that_is_right(client: Client):
    disabled = make_client(
        status=ClientStatus.DISABLED,
        secrets=client.secrets,
        token_endpoint_auth_method=client.token_endpoint_auth_method,
    )
    failure(disabled, None if client.public else "right")


def test_every_failure_looks_the_same_to_the_caller_rfc6749_s5_2():
    disabled = make_client(status=ClientStatus.DISABLED, secrets=CONFIDENTIAL.secrets)
    failures = [
        failure(client, sent)
        for client, sent in [(None, "x"), (disabled, "right"), (PUBLIC, "x"), (CONFIDENTIAL, None), (CONFIDENTIAL, "x")]
    ]
    assert len({(error.error, error.status, error.description) for error in failures}) == 1
    # The log tells them apart, and never tells the secret.
    assert len({error.detail for error in failures}) == len(failures)


@pytest.mark.parametrize(
    "client", [None, make_client(status=ClientStatus.DISABLED), PUBLIC, CONFIDENTIAL, make_client(secrets=())]
)
def test_the_same_work_is_done_whether_or_not_the_client_exists(client: Client | None):
    hashed: list[str] = []

    def counting(text: str) -> str:
        hashed.append(text)
        return mac(text)

    with pytest.raises(OAuthError):
        check_client_credentials(client, Presented(CLIENT_ID, "wrong"), mac=counting, now=START)
    assert hashed == ["wrong"]


def test_every_stored_secret_is_compared_so_that_time_does_not_tell_which_matched():
    asked: list[int] = []

    class Watched(ClientSecret):
        def valid(self, *, now: Any) -> bool:
            asked.append(1)
            return super().valid(now=now)

    watched = Watched(hash=mac("right"), created_at=START)
    check(make_client(secrets=(watched, watched)), "right")
    assert len(asked) == 2
