"""Registered APIs: as they are written down, and as requests find them."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.lab import ManagedBy
from idp.domain.resource import Resource
from idp.services.input import InputRefused
from idp.services.resources import CACHE_AGE, ResourceInput, Resources
from idp.store.store import Store
from tests.support.app import add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_resource

DATA = "https://data.example.org"


def raw(**changes: Any) -> dict[str, Any]:
    return {"audience": DATA, "name": "Measurements", "scopes": ["data.read"], **changes}


def faults(**changes: Any) -> list[str]:
    with pytest.raises(InputRefused) as refused:
        ResourceInput.read(raw(**changes))
    return list(refused.value.errors)


# ── Written down ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "audience", [DATA, f"{DATA}:8443/v1/?tenant=bio", "http://data.internal", "urn:example:data", "api://data"]
)
def test_any_absolute_uri_names_a_resource_rfc8707_s2(audience: str):
    assert ResourceInput.read(raw(audience=audience)).resource(None, now=START) == Resource(
        audience=audience, name="Measurements", scopes=("data.read",), created_at=START
    )


@pytest.mark.parametrize(
    "audience",
    [
        "",
        "data",
        "/data",
        "//data.example.org",
        "https://[x",
        "é:x",
        7,
        *(DATA + end for end in ("#x", "#", "/a b", "/\0", "/" + "x" * 2048)),
    ],
)
def test_what_is_no_absolute_uri_or_has_a_fragment_is_refused_rfc8707_s2(audience: object):
    assert faults(audience=audience) == ["audience"]


@pytest.mark.parametrize("scope", ["", "a b", 'a"b', "a\\b", "é", 7])
def test_what_is_no_scope_is_refused_rfc6749_s3_3(scope: object):
    assert faults(scopes=["data.read", scope]) == ["scopes[1]"]


@pytest.mark.parametrize(
    "scope", ["openid", "profile", "email", "address", "phone", "offline_access", "labs", "groups"]
)
def test_a_scope_that_speaks_about_people_belongs_to_no_api(scope: str):
    assert faults(scopes=[scope]) == ["scopes[0]"]


@pytest.mark.parametrize("scopes", [[], ["data.read", "data.read"], "data.read", None])
def test_an_api_has_scopes_and_each_once(scopes: object):
    assert faults(scopes=scopes) == ["scopes"]


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("name", None), ("client_id", ""), ("client_id", "é"), ("managed_by", "apply")]
)
def test_a_wrong_value_is_refused_at_its_place(field: str, value: object):
    assert faults(**{field: value}) == [field]


def test_a_known_api_keeps_when_it_was_made_and_by_whom():
    present = make_resource(managed_by=ManagedBy.ADMIN, client_id="data-api")
    later = START + timedelta(days=1)
    given = ResourceInput.read(raw(audience=present.audience, scopes=["other"]))
    changed = given.resource(present, now=later, managed_by=ManagedBy.APPLY)
    assert (changed.created_at, changed.managed_by) == (present.created_at, ManagedBy.ADMIN)
    assert (changed.scopes, changed.client_id) == (("other",), None)


# ── Found ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def resources(store: Store, clock: FakeClock) -> Resources:
    await add_all(store, [make_resource(audience=DATA), make_resource(audience="urn:example:jobs")])
    return Resources(store, clock)


async def test_resources_are_found_by_their_exact_uris_rfc8707_s2(resources: Resources):
    found = await resources.find_all(["urn:example:jobs", "urn:other", DATA])
    assert [resource.audience for resource in found.values()] == list(found) == ["urn:example:jobs", DATA]
    assert await resources.find_all([f"{DATA}/", DATA.upper(), "", "urn:example", "\0"]) == {}
    assert await resources.find_all([]) == {}


async def test_what_another_node_changed_is_seen_within_five_seconds(
    resources: Resources, store: Store, clock: FakeClock
):
    await resources.find_all([DATA])
    async with store.write() as tx:
        await tx.resources.delete(DATA)
    clock.advance(CACHE_AGE - timedelta(milliseconds=1))
    assert DATA in await resources.find_all([DATA])
    clock.advance(timedelta(milliseconds=1))
    assert DATA not in await resources.find_all([DATA])
