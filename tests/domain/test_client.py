"""Registered clients."""

from datetime import timedelta

import pytest

from idp.domain.client import Client, ClientAuthMethod, ClientSecret, ClientStatus
from tests.support.clock import START
from tests.support.factories import make_client

SECOND = timedelta(seconds=1)


def test_a_secret_without_an_end_stays_valid():
    assert ClientSecret(hash="h", created_at=START).valid(now=START + timedelta(days=36500))


@pytest.mark.parametrize(("after", "valid"), [(-SECOND, True), (timedelta(), False), (SECOND, False)])
def test_a_secret_ends_at_its_end(after: timedelta, valid: bool):
    assert ClientSecret(hash="h", created_at=START, expires_at=START).valid(now=START + after) is valid


@pytest.mark.parametrize(("status", "active"), [(ClientStatus.ACTIVE, True), (ClientStatus.DISABLED, False)])
def test_a_disabled_client_is_not_active(status: ClientStatus, active: bool):
    assert make_client(status=status).active is active


@pytest.mark.parametrize("method", ClientAuthMethod)
def test_only_a_client_without_a_secret_is_public_rfc6749_s2_1(method: ClientAuthMethod):
    assert make_client(token_endpoint_auth_method=method).public is (method == "none")


def test_scopes_keep_their_order():
    assert make_client(scope="profile openid  email").scopes == ("profile", "openid", "email")


def test_a_client_that_says_nothing_is_confidential_uses_codes_needs_pkce_and_sees_no_lab():
    client = Client(client_id="c", client_name="C", created_at=START, updated_at=START)
    assert not client.public
    assert client.grant_types == ("authorization_code",)
    assert client.response_types == ("code",)
    assert client.id_token_signed_response_alg == "RS256"
    assert client.require_pkce
    assert not client.trusted
    assert client.allowed_labs == ()
    assert client.scopes == ("openid",)
