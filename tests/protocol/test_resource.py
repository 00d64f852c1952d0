"""Resource indicators."""

from collections.abc import Mapping

import pytest

from idp.domain.resource import Resource
from idp.protocol.errors import InvalidTarget
from idp.protocol.parameters import parse_parameters
from idp.protocol.resource import check_granted, check_resources, read_resources, scope_for
from tests.support.factories import ISSUER, make_client, make_resource

DATA = make_resource()
JOBS = make_resource(audience="https://jobs.example.org", scopes=("jobs:run",))
KNOWN = {resource.audience: resource for resource in (DATA, JOBS)}
CLIENT = make_client(scope="openid labs data:read")


def test_resources_are_read_once_each_in_their_order_rfc8707_s2():
    params = parse_parameters(
        [("resource", "https://b.example"), ("resource", ISSUER), ("resource", "https://b.example")]
    )
    assert read_resources(params) == ("https://b.example", ISSUER)
    assert read_resources(parse_parameters([])) == ()


def test_a_client_may_name_this_server_and_apis_of_which_it_has_a_scope_rfc8707_s2():
    assert check_resources((DATA.audience, ISSUER), CLIENT, KNOWN, issuer=ISSUER) == (DATA.audience, ISSUER)
    for uri in (JOBS.audience, "https://unknown.example", f"{DATA.audience}/", DATA.audience.upper(), ""):
        with pytest.raises(InvalidTarget):
            check_resources((uri,), CLIENT, KNOWN, issuer=ISSUER)


def granted(requested: tuple[str, ...], given: tuple[str, ...], known: Mapping[str, Resource]) -> tuple[str, ...]:
    client = make_client(scope="openid data:read jobs:run")
    return check_granted(requested, given, client, known, issuer=ISSUER)


def test_at_the_token_endpoint_a_part_of_what_was_granted_may_be_named_rfc8707_s2_2():
    given = (DATA.audience, JOBS.audience)
    assert granted((), given, KNOWN) == given
    assert granted((JOBS.audience,), given, KNOWN) == (JOBS.audience,)
    assert granted((ISSUER,), given, KNOWN) == (ISSUER,)
    assert granted((), (), KNOWN) == ()
    with pytest.raises(InvalidTarget):
        granted((JOBS.audience,), (DATA.audience,), KNOWN)


def test_what_was_taken_away_since_it_was_granted_is_no_target_rfc8707_s2_2():
    given, left = (DATA.audience, JOBS.audience), {JOBS.audience: JOBS}
    assert granted((), given, left) == (JOBS.audience,)
    assert granted((), (DATA.audience, ISSUER), left) == (ISSUER,)
    for requested, of in (((DATA.audience,), given), ((), (DATA.audience,))):
        with pytest.raises(InvalidTarget):
            granted(requested, of, left)
    with pytest.raises(InvalidTarget):
        check_granted((), given, make_client(scope="openid"), KNOWN, issuer=ISSUER)


def test_a_token_has_of_its_scope_what_means_something_to_its_audience_rfc8707_s2_2():
    scope = ("openid", "profile", "labs", "data:read", "jobs:run")
    assert scope_for((DATA.audience,), scope, KNOWN, issuer=ISSUER) == ("labs", "data:read")
    assert scope_for((DATA.audience, JOBS.audience), scope, KNOWN, issuer=ISSUER) == ("labs", "data:read", "jobs:run")
    assert scope_for((DATA.audience, ISSUER), scope, KNOWN, issuer=ISSUER) == scope
    assert scope_for((), scope, {}, issuer=ISSUER) == scope


def test_an_api_that_was_taken_away_meanwhile_has_no_scopes_rfc8707_s2_2():
    assert scope_for((DATA.audience,), ("openid", "data:read"), {}, issuer=ISSUER) == ()
