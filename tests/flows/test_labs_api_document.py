"""The API's document says what the API does: every operation, every status, every example; and so does the guide."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.features import FEATURES
from idp.services.api_access import ApiAccess
from idp.web.api import problems
from idp.web.api.openapi import document
from idp.web.api.operation import API, Operation
from idp.web.api.operations import OPERATIONS
from tests.support.app import ISSUER, App, bearer, out_of_reach
from tests.support.labs_api import BIO, LabsApi, api, kind_of, operation_of
from tests.support.paths import ROOT

__all__ = ["api"]

# For what is decided before anything is asked of a database.
ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

GUIDE = (ROOT / "docs" / "guides" / "api.md").read_text(encoding="utf-8")
# What the paths name, of what is there.
NAMES = {"slug": "bio", "user_id": "u_carl", "client_id": "other"}


@cache
def described() -> dict[str, Any]:
    return document(ISSUER, OPERATIONS)


def inside(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(part)


def resolve(reference: str) -> Any:
    found: Any = described()
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def path_of(operation: Operation, **names: str) -> str:
    return API + re.sub(r"\{(\w+)(?::path)?\}", lambda found: {**NAMES, **names}[found[1]], operation.path)


# ── The document by itself ──────────────────────────────────────────────────────────────────────────────────────────
@ONE_DATABASE
async def test_the_document_is_served_to_everybody_and_is_made_once(app: App) -> None:
    first, second = [
        await app.http().get(problems.DOCUMENT_PATH, headers={"Origin": "https://x.example"}) for _ in "12"
    ]
    assert first.status_code == 200
    assert first.json() == described()
    assert first.content == second.content
    assert first.headers["content-type"] == "application/json"
    assert first.headers["access-control-allow-origin"] == "*"
    assert first.headers["cache-control"] == "public, max-age=300"


def test_every_operation_that_is_mounted_is_described_and_no_other() -> None:
    mounted = {
        (method.lower(), re.sub(r":path\}", "}", route.path))
        for feature in FEATURES
        for route in feature.routes
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
        if route.path.startswith("/api/") and route.path != problems.DOCUMENT_PATH
    }
    assert {(method, path) for path, methods in described()["paths"].items() for method in methods} == mounted
    names = [operation["operationId"] for methods in described()["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_every_reference_resolves_and_everything_is_explained() -> None:
    for value in inside(described()):
        if isinstance(value, dict) and isinstance(value.get("$ref"), str):
            assert resolve(value["$ref"])
    for name, schema in described()["components"]["schemas"].items():
        assert schema.get("description"), name
        assert all(member.get("description") for member in schema.get("properties", {}).values()), name
    for methods in described()["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            assert all(parameter["description"] for parameter in operation["parameters"])


def test_tokens_can_be_had_by_both_grants_and_each_operation_needs_one_scope() -> None:
    flows = described()["components"]["securitySchemes"]["oauth2"]["flows"]
    assert flows.keys() == {"authorizationCode", "clientCredentials"}
    assert all(flow["scopes"].keys() == {"labs:read", "labs:write"} for flow in flows.values())
    assert flows["authorizationCode"]["tokenUrl"] == f"{ISSUER}/token"
    for operation in OPERATIONS:
        (needed,) = described()["paths"][path_of_template(operation)][operation.method.lower()]["security"]
        assert needed == {"oauth2": ["labs:read" if operation.method == "GET" else "labs:write"]}


def path_of_template(operation: Operation) -> str:
    return API + operation.path.replace(":path}", "}")


def test_the_type_of_a_problem_leads_to_its_example() -> None:
    for kind in problems.KINDS:
        base, _, pointer = kind.type(ISSUER).partition("#")
        assert base == ISSUER + problems.DOCUMENT_PATH
        example = resolve(f"#{pointer}")["value"]
        assert (example["type"], example["title"], example["status"]) == (kind.type(ISSUER), kind.title, kind.status)


# ── The document and the server ─────────────────────────────────────────────────────────────────────────────────────
async def test_every_example_of_a_body_is_accepted(api: LabsApi) -> None:
    bob = await api.token("bob")
    for operation in OPERATIONS:
        if operation.body is not None:
            path = path_of(
                operation, user_id="u_fred" if "join-requests" in operation.path else "u_carl", client_id="robot"
            )
            body = {**operation.example, **({"slug": "example"} if "slug" in operation.example else {})}
            # A year from the tests' own time.
            body = {name: "2026-06-30" if value == "2027-06-30" else value for name, value in body.items()}
            assert (await api.send(operation.method, path, bob, body)).is_success, operation.path


async def test_every_status_that_is_documented_occurs(api: LabsApi, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, int, str]] = set()
    bob, carl, blind = await api.token("bob"), await api.token("carl"), await api.token("bob", scope="openid")

    async def note(operation: Operation, path: str, token: str | None = bob, **options: Any) -> None:
        response = await api.send(operation.method, path, token, **options)
        seen.add((operation.handler.__name__, response.status_code, kind_of(response)))

    async def every_refusal(operation: Operation) -> None:
        path, body = path_of(operation, invitation_id="inv_none"), operation.body and operation.example
        await note(operation, path, None, json=body)
        await note(operation, path, blind, json=body)
        if problems.FORBIDDEN in operation.refusals:
            await note(operation, path, carl, json=body)
        if "{" in operation.path:
            await note(operation, path_of(operation, slug="none-such", invitation_id="inv_none"), json=body)
        if operation.body is not None:
            await note(operation, path, content=b"{", headers={"Content-Type": "application/json"})
            await note(operation, path, content=b"{}", headers={"Content-Type": "text/plain"})
            await note(operation, path, json={"x": "x" * 70_000})
            await note(operation, path, json={"no-such-member": "x"})
        if operation.query is not None:
            await note(operation, f"{path}?search=%FF")
            await note(operation, f"{path}?no-such-parameter=x")

    async def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("broken")

    for operation in OPERATIONS:
        await every_refusal(operation)
    with out_of_reach(api.app):
        for operation in OPERATIONS:
            await note(operation, path_of(operation, invitation_id="inv_none"))
    with monkeypatch.context() as patch:
        patch.setattr(ApiAccess, "admit", fail)
        for operation in OPERATIONS:
            await note(operation, path_of(operation, invitation_id="inv_none"))
    await succeed(api, bob, seen)
    assert seen == {
        (operation.handler.__name__, status, name)
        for operation in OPERATIONS
        for status, name in [
            *((status, "") for status in operation.answers),
            *((kind.status, kind.name) for kind in operation.kinds),
        ]
    }


async def succeed(api: LabsApi, token: str, seen: set[tuple[str, int, str]]) -> None:
    """Do everything once, and revoke an invitation that was accepted."""

    async def do(method: str, path: str, body: object = None) -> Any:
        response = await api.send(method, f"{API}/labs{path}", token, body)
        operation = operation_of(method, f"{API}/labs{path}")
        assert operation is not None
        seen.add((operation.handler.__name__, response.status_code, kind_of(response)))
        return response.json() if response.content else None

    await do("GET", "")
    await do("POST", "", {"slug": "physics", "name": "Physics"})
    await do("GET", "/physics")
    await do("PATCH", "/physics", {"name": "Physics and more"})
    await do("DELETE", "/physics")
    await do("POST", "", {"slug": "physics", "name": "Physics"})
    await do("GET", "/bio/members")
    for _ in range(2):
        await do("PUT", "/bio/members/u_dora", {"role": "viewer"})
    await do("GET", "/bio/members/u_dora")
    await do("DELETE", "/bio/members/u_dora")
    await do("GET", "/bio/invitations")
    await do("DELETE", f"/bio/invitations/{(await do('POST', '/bio/invitations', {}))['id']}")
    taken = (await do("POST", "/bio/invitations", {}))["id"]
    await api.app.change("invitations", [taken], accepted_at=api.app.clock())
    await do("DELETE", f"/bio/invitations/{taken}")
    await do("GET", "/bio/join-requests")
    await do("POST", "/bio/join-requests/u_fred", {"role": None})
    for _ in range(2):
        await do("PUT", "/bio/service-grants/robot", {})
    await do("GET", "/bio/service-grants")
    await do("DELETE", "/bio/service-grants/robot")
    await do("PUT", "/bio/applications/other")
    await do("GET", "/bio/applications")
    await do("DELETE", "/bio/applications/other")


@pytest.fixture(scope="module")
def generated() -> Iterator[list[Any]]:
    """A strategy for calls of each operation, such as the document allows, and such as it forbids."""
    with pytest.MonkeyPatch.context() as patch:
        # pytest would rewrite the assertions of its hundreds of modules, because it holds a plugin: that takes seconds.
        others = [finder for finder in sys.meta_path if not isinstance(finder, AssertionRewritingHook)]
        patch.setattr(sys, "meta_path", others)
        yield _generated()


def _generated() -> list[Any]:
    # Not above: whoever collects tests imports this module, and it takes a second.
    import schemathesis

    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(described())))
    found = []
    for result in schema.get_all_operations():
        operation = result.ok()
        # Deleted, the lab would be missing in all that follows; anything at all may stand in a path.
        forbids = bool(operation.query) or bool(operation.body)
        if operation.label != f"DELETE {BIO.replace('bio', '{slug}')}":
            modes = schemathesis.GenerationMode if forbids else [schemathesis.GenerationMode.POSITIVE]
            found += [operation.as_strategy(generation_mode=mode) for mode in modes]
    return found


@pytest.fixture
async def tokens(api: LabsApi) -> list[str]:
    return [await api.token(caller) for caller in ("alice", "bob")]


@ONE_DATABASE
@settings(
    max_examples=2 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
async def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(
    api: LabsApi, tokens: list[str], generated: list[Any], data: st.DataObject
) -> None:
    import requests
    from schemathesis import Response, checks

    case = data.draw(st.sampled_from(generated).flatmap(lambda strategy: strategy))
    if data.draw(st.booleans()):
        case.path_parameters = {name: NAMES.get(name, "inv_none") for name in case.path_parameters or {}}
    arguments = case.as_transport_kwargs(base_url=ISSUER, headers=bearer(data.draw(st.sampled_from(tokens))))
    sent = requests.Request(
        **{
            name: arguments[name]
            for name in ("method", "url", "headers", "params", "json", "data")
            if name in arguments
        }
    ).prepare()
    parts = urlsplit(sent.url)
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.headers.items()]

    response = await api.app.raw(sent.method, unquote(parts.path), query=parts.query.encode(), headers=raw, body=[body])

    got = {name: [value] for name, value in response.headers.items()}
    judged = (
        *(checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance),
        *(checks.response_headers_conformance, checks.response_schema_conformance, checks.negative_data_rejection),
    )
    case.validate_response(Response(response.status_code, got, response.content, sent, 0, verify=False), checks=judged)


# ── The guide ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_guide_explains_every_kind_of_problem() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", GUIDE, re.M)
    assert [(name, int(status)) for name, status in rows] == [(kind.name, kind.status) for kind in problems.KINDS]


@ONE_DATABASE
async def test_every_call_of_the_guide_works(api: LabsApi) -> None:
    token = await api.token("bob")
    commands = [line for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S) for line in block.splitlines()]
    assert len(commands) > 8
    for line in commands:
        response = await run(api, line.replace("$IDP", ISSUER).replace("$TOKEN", token))
        assert response.is_success, (line, response.text)


async def run(api: LabsApi, line: str) -> Any:
    """Send what curl would send."""
    command, *words = shlex.split(line)
    assert command == "curl"
    method, url, headers, form, body = None, "", {}, [], None
    rest = iter(words)
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                form.append(next(rest))
            case "-u":
                next(rest)
            case "--json":
                body = json.loads(next(rest))
            case _:
                url = word
    if form:
        fields = dict(pair.split("=", 1) for pair in form)
        return await api.app.post("/token", "robot", **{**fields, "scope": "data:read"})
    method = method or ("GET" if body is None else "POST")
    token = headers["Authorization"].removeprefix("Bearer ")
    return await api.send(method, url.removeprefix(ISSUER), token, body)
