"""Access tokens at this server's own API (RFC 6750)."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.client import Client
from idp.domain.user import UserStatus
from idp.protocol.api import check_api_token
from idp.protocol.errors import InsufficientScope, InvalidToken
from tests.support.clock import START
from tests.support.factories import ISSUER, make_access_token, make_client, make_grant, make_user

LABS = make_client(scope="labs:read labs:write")


def check(
    needed: str = "labs:read", client: Client = LABS, *, grant: Any = None, user: Any = None, **changes: Any
) -> None:
    token = make_access_token(**{"scope": "labs:read", "audience": ISSUER, **changes})
    grant, user = grant or make_grant(), user or make_user()
    check_api_token(token, grant, user, client, needed=needed, issuer=ISSUER, now=START)


def test_a_token_with_the_scope_counts() -> None:
    check()


def test_a_token_that_another_api_could_use_here_does_not_count_rfc8707_s2() -> None:
    with pytest.raises(InvalidToken):
        check(audience=f"https://data.example.org {ISSUER}")


def test_a_service_needs_no_user() -> None:
    token = make_access_token(scope="labs:read", audience=ISSUER, grant_id=None)
    check_api_token(token, None, None, LABS, needed="labs:read", issuer=ISSUER, now=START)


def test_a_token_for_another_audience_does_not_count_rfc6750_s3_1() -> None:
    with pytest.raises(InvalidToken):
        check(audience="https://data.example.org")


def test_what_has_ended_does_not_count_rfc6750_s3_1() -> None:
    for changes in (
        {"expires_at": START},
        {"revoked_at": START},
        {"grant": make_grant(revoked_at=START)},
        {"grant": make_grant(expires_at=START - timedelta(seconds=1))},
        {"user": make_user(status=UserStatus.DISABLED)},
    ):
        with pytest.raises(InvalidToken):
            check(**changes)


def test_the_scope_must_have_been_granted_and_still_be_the_clients_rfc6750_s3_1() -> None:
    with pytest.raises(InsufficientScope):
        check("labs:write")
    with pytest.raises(InsufficientScope):
        check("labs:read", make_client(scope="labs:write"))
