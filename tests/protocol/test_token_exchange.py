"""Token exchange (RFC 8693): what is asked for, and which tokens are good enough for it."""

from dataclasses import replace
from typing import Any

import pytest

from idp.domain.client import Client, ClientStatus
from idp.domain.provider import Provider, ProviderStatus
from idp.domain.resource import Resource
from idp.domain.user import UserStatus
from idp.protocol.errors import InvalidRequest, InvalidScope, InvalidTarget, OAuthError
from idp.protocol.scope import check_client_scope, check_user_scope, provider_of, provider_scope
from idp.protocol.token_exchange import (
    ACCESS_TOKEN_TYPE,
    Subject,
    check_subject,
    check_targets,
    exchange_response,
    may_use_api,
    read_exchange_request,
)
from tests.support.app import parameters
from tests.support.clock import START
from tests.support.factories import (
    make_access_token,
    make_client,
    make_consent,
    make_grant,
    make_provider,
    make_resource,
    make_user,
)

SCOPE = "provider:campus"
ISSUER = "https://login.campus.example"
ASKED = {"subject_token": "token", "subject_token_type": ACCESS_TOKEN_TYPE, "audience": ISSUER}
CLIENT = make_client(client_id="calendar", scope=f"openid {SCOPE}")
CAMPUS = make_provider(api_scope="calendar.read", api_clients=("calendar",))
SUBJECT = Subject(
    token=make_access_token(client_id="calendar", scope=f"openid {SCOPE}"),
    grant=make_grant(client_id="calendar"),
    user=make_user(),
    client=CLIENT,
    consent=make_consent(client_id="calendar", scopes=("openid", SCOPE)),
)


# ── The scope ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_scope_of_a_providers_api_has_its_name_rfc6749_s3_3():
    assert provider_scope("campus") == SCOPE
    assert provider_of(SCOPE) == "campus"
    assert provider_of("openid") is None


def test_a_user_is_asked_only_for_what_the_client_registered_and_may_use():
    asked = f"openid {SCOPE} provider:other"
    assert check_user_scope(CLIENT, asked, code=True) == ("openid", SCOPE)
    assert check_user_scope(CLIENT, asked, code=True, providers=["campus"]) == ("openid", SCOPE)
    assert check_user_scope(CLIENT, asked, code=True, providers=[]) == ("openid",)
    with pytest.raises(InvalidScope):
        check_user_scope(CLIENT, SCOPE, code=True, providers=["other"])


def test_it_means_nothing_for_a_client_that_acts_for_itself_rfc6749_s4_4_2():
    client = make_client(client_id="calendar", scope=f"data:read {SCOPE}")
    assert check_client_scope(client, f"data:read {SCOPE}", ()) == ("data:read",)
    with pytest.raises(InvalidScope):
        check_client_scope(client, SCOPE, ())


# ── The request ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_request_names_a_token_and_the_server_it_is_for_rfc8693_s2_1():
    request = read_exchange_request(parameters(**ASKED))
    assert (request.subject_token, request.audience, request.scope) == ("token", ISSUER, ())
    more = {**ASKED, "requested_token_type": ACCESS_TOKEN_TYPE, "scope": "a b"}
    assert read_exchange_request(parameters(**more)).scope == ("a", "b")


def test_the_token_is_not_shown_where_a_request_is():
    request = read_exchange_request(parameters(**{**ASKED, "subject_token": "very-secret-token"}))
    assert "very-secret-token" not in repr(request)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"subject_token": None}, InvalidRequest),
        ({"subject_token_type": None}, InvalidRequest),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, InvalidRequest),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, InvalidRequest),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, InvalidRequest),
        ({"actor_token": "other", "actor_token_type": ACCESS_TOKEN_TYPE}, InvalidRequest),
        ({"actor_token_type": ACCESS_TOKEN_TYPE}, InvalidRequest),
        ({"resource": "https://api.example.org"}, InvalidTarget),
        ({"audience": None}, InvalidRequest),
        ({"scope": 'a"b'}, InvalidScope),
    ],
)
def test_what_is_missing_or_not_offered_is_refused_without_an_echo_rfc8693_s2_2_2(
    changes: dict[str, str | None], error: type[OAuthError]
):
    params = {name: value for name, value in {**ASKED, **changes}.items() if value is not None}
    with pytest.raises(error) as refused:
        read_exchange_request(parameters(**params))
    assert not any(value in refused.value.description for value in ("other", "id_token", "api.example"))


# ── The target ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("provider", "client"),
    [
        (replace(CAMPUS, status=ProviderStatus.DISABLED), CLIENT),
        (replace(CAMPUS, api_clients=("other",)), CLIENT),
        (replace(CAMPUS, api_scope=""), CLIENT),
        (CAMPUS, make_client(client_id="calendar", scope="openid")),
        (CAMPUS, make_client(client_id="calendar", scope="openid provider:other")),
        (replace(CAMPUS, issuer=f"{ISSUER}/"), CLIENT),
    ],
)
def test_the_audience_is_a_provider_whose_api_is_the_clients_rfc8693_s2_2_2(provider: Provider, client: Client):
    request = read_exchange_request(parameters(**ASKED))
    assert check_targets(request, CLIENT, [CAMPUS]) == (CAMPUS,)
    with pytest.raises(InvalidTarget) as refused:
        check_targets(request, client, [provider])
    with pytest.raises(InvalidTarget) as unknown:
        check_targets(request, client, [])
    # Which of it is wrong is not told.
    assert refused.value.description == unknown.value.description


def test_several_audiences_are_nobodys_rfc8693_s2_1():
    request = read_exchange_request(parameters(**{**ASKED, "audience": f"{ISSUER} {ISSUER}"}))
    with pytest.raises(InvalidTarget):
        check_targets(request, CLIENT, [CAMPUS])


def test_a_client_that_is_named_nowhere_may_use_nothing():
    assert may_use_api(CLIENT, CAMPUS)
    assert not may_use_api(replace(CLIENT, client_id="another"), CAMPUS)


# ── The subject ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_live_token_with_the_scope_and_the_consent_is_good_enough():
    assert check_subject(SUBJECT, CLIENT, [CAMPUS], resources=(), now=START) == (SUBJECT.user, CAMPUS)


def test_of_providers_with_one_issuer_the_scope_chooses():
    other = replace(CAMPUS, name="other")
    assert check_subject(SUBJECT, CLIENT, [other, CAMPUS], resources=(), now=START)[1] == CAMPUS


def test_a_trusted_client_needs_no_consent():
    subject = replace(SUBJECT, client=replace(CLIENT, trusted=True), consent=None)
    assert check_subject(subject, CLIENT, [CAMPUS], resources=(), now=START)


API = replace(CLIENT, client_id="api")
BOTH = replace(CAMPUS, api_clients=("calendar", "api"))


def test_an_api_may_exchange_what_was_issued_for_it():
    assert check_subject(SUBJECT, API, [BOTH], resources=[make_resource(client_id="api")], now=START)


@pytest.mark.parametrize(
    ("resources", "provider"),
    [
        ([], BOTH),
        ([make_resource(client_id="other")], BOTH),
        # Nor for a client that may not use the provider itself.
        ([make_resource(client_id="api")], replace(CAMPUS, api_clients=("api",))),
    ],
)
def test_nobody_exchanges_what_was_issued_to_somebody_else(resources: list[Resource], provider: Provider):
    with pytest.raises(InvalidRequest):
        check_subject(SUBJECT, API, [provider], resources=resources, now=START)


@pytest.mark.parametrize(
    "changes",
    [
        {"token": replace(SUBJECT.token, expires_at=START)},
        {"token": replace(SUBJECT.token, revoked_at=START)},
        {"token": replace(SUBJECT.token, client_id="other")},
        {"token": replace(SUBJECT.token, scope="openid")},
        {"token": replace(SUBJECT.token, scope="openid provider:other")},
        {"token": replace(SUBJECT.token, grant_id=None), "grant": None, "user": None},
        {"grant": make_grant(client_id="calendar", revoked_at=START)},
        {"grant": None},
        {"user": make_user(status=UserStatus.DISABLED)},
        {"user": None},
        {"client": None},
        {"client": replace(CLIENT, status=ClientStatus.DISABLED)},
        {"client": replace(CLIENT, scope="openid")},
        {"consent": None},
        {"consent": make_consent(client_id="calendar", scopes=("openid",))},
    ],
)
def test_any_other_token_is_an_invalid_request_rfc8693_s2_2_2(changes: dict[str, Any]):
    with pytest.raises(InvalidRequest):
        check_subject(replace(SUBJECT, **changes), CLIENT, [CAMPUS], resources=(), now=START)


# ── The answer ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_answer_says_what_kind_of_token_it_is_rfc8693_s2_2_1():
    answer = exchange_response("ya29", expires_in=3599, scope="calendar.read")
    assert answer == {
        "access_token": "ya29",
        "issued_token_type": ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": 3599,
        "scope": "calendar.read",
    }
    assert "expires_in" not in exchange_response("ya29", expires_in=None, scope="")
    assert exchange_response("ya29", expires_in=0, scope="")["expires_in"] == 0
