"""The document of the API (OpenAPI 3.1), made of its operations and of the models that read and show."""

import re
from collections.abc import Mapping, Sequence
from inspect import getdoc
from itertools import groupby
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from idp.domain.acr import ACR_LADDER
from idp.domain.lab_scope import LAB_API_SCOPES
from idp.web.api.operation import API, Operation
from idp.web.api.problems import INVALID_INPUT, KINDS, MEDIA_TYPE, UNAVAILABLE, Kind, Problem

_REF = "#/components/schemas/"
_SCHEME = "oauth2"
_TITLES = {
    "labs:read": "See labs, their members and what belongs to them",
    "labs:write": "Change them; it does not include labs:read",
}
_INTRODUCTION = """\
Labs, who belongs to them, and what they gave to services.

Send an access token of this server with every request (`Authorization: Bearer …`). With a token of the authorization \
code grant you act for a person, as far as both the person and the application may: an application sees only those \
labs in its `allowed_labs` that the person let it see. With one of the client credentials grant a service acts for \
itself, in the labs that granted it a role. What you may not see is answered like what does not exist.

Bodies are `application/json`; unknown members are refused, as are unknown parameters. Moments are RFC 3339. Refusals \
are problem details (RFC 9457): `type` says which, `errors` what is wrong with which member.

Accounts are named by their ids. Applications with public subjects know these as `sub`.
"""
_PATH_PARAMETERS = {
    "slug": "The lab’s slug.",
    "user_id": "The account’s id, which begins with u_.",
    "invitation_id": "The invitation’s id.",
    "client_id": "The client_id of the service or application.",
}
# What a member or parameter means, by its name; where the meaning differs, by the model’s name before it.
_MEANINGS: dict[str, str] = {
    "slug": "Short name: at most 39 lower-case letters and digits, with single hyphens between them. It never changes.",
    "id": "Identifier; it never changes and is never used again.",
    "User.id": "The account’s id.",
    "name": "Name for people to read.",
    "description": "What the lab is about, of several lines at most.",
    "homepage": "Its page on the web.",
    "contact": "Whom to ask.",
    "logo_uri": "Where its logo is; this server fetches it.",
    "admin_acr": f"How surely its admins must have signed in to count as such ({' < '.join(ACR_LADDER)}).",
    "accepts_join_requests": "Whether everybody who is signed in sees it and may ask to join.",
    "status": "Whether it takes part; an archived lab is told to no application.",
    "Invitation.status": "What became of it.",
    "OpenedInvitation.status": "What became of it.",
    "created_at": "When it was made.",
    "user": "Who it is.",
    "email": "E-mail address.",
    "InvitationInput.email": "To whom it is mailed; without it, it is a link for whoever gets it.",
    "username": "User name.",
    "role": "The role; each contains those after it: admin, member, viewer.",
    "MemberQuery.role": "Only members with exactly this role.",
    "DecisionInput.role": "The role that is given; null denies the request.",
    "not_before": "When it begins; null is at once. A mere date is its first second in UTC.",
    "expires_at": "When it ends; null is never. A mere date is its last second in UTC.",
    "InvitationInput.expires_at": "Until when it can be accepted, 90 days at most; by default two weeks.",
    "Invitation.expires_at": "Until when it can be accepted.",
    "OpenedInvitation.expires_at": "Until when it can be accepted.",
    "LabGrantInput.expires_at": "When it ends, within a year; by default in a year.",
    "ServiceGrant.expires_at": "When it ends.",
    "ends_at": "When the membership will end; null is never. A mere date is its last second in UTC.",
    "granted_by": "Who gave it: an account, a client, a rule (lr_…), apply or cli.",
    "invited_by": "Who invited: an account, a client, or cli.",
    "url": "The link, which is told this once.",
    "message": "What the person wrote.",
    "client_id": "The client_id.",
    "client_name": "Its name.",
    "named": "Whether it may be told of this lab by name; else it may be told of all labs.",
    "items": "What there is.",
    "next": "The parameter after of what follows; null at the end.",
    "search": "Only what holds this text.",
    "LabQuery.search": "Only labs whose slug or name holds this text.",
    "MemberQuery.search": "Only members in whose address, user name or name each of these words begins one.",
    "after": "Where the last answer ended: its next.",
    "limit": "How many at most.",
}
_PROBLEM = {
    "description": "Problem details (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Which kind it is; it never changes."},
        "title": {"type": "string", "description": "The kind in words."},
        "status": {"type": "integer", "description": "The status of the answer."},
        "detail": {"type": "string", "description": "What to know of this case."},
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "What is wrong, by member or parameter; body and query stand for the whole.",
        },
    },
}


class _Schemas(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Repeat no name as a title."""
        return False

    def datetime_schema(self, schema: Any) -> dict[str, Any]:
        """Say that a mere date is read as well."""
        moment = super().datetime_schema(schema)
        return {"anyOf": [moment, {"type": "string", "format": "date"}]} if self.mode == "validation" else moment


def document(issuer: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document of a server."""
    schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = API + re.sub(r":path\}", "}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas)
    shown = {name: schema for name, schema in schemas.items() if not name.endswith("Query")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lab ID", "version": "1", "description": _INTRODUCTION},
        "servers": [{"url": issuer}],
        "paths": paths,
        "components": {
            "schemas": {**shown, "Problem": _PROBLEM},
            "responses": {_name(kinds): _refusal(kinds) for each in operations for kinds in _by_status(each)},
            "examples": {kind.name: _problem_example(kind, issuer) for kind in KINDS},
            "securitySchemes": {_SCHEME: _security_scheme(issuer)},
        },
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    read = dict.fromkeys(model for each in operations for model in (each.query, each.body) if model is not None)
    shown = dict.fromkeys(model for each in operations for model in each.answers.values() if model is not None)
    modes: list[Any] = [*((model, "validation") for model in read), *((model, "serialization") for model in shown)]
    _, schema = models_json_schema(modes, ref_template=f"{_REF}{{model}}", schema_generator=_Schemas)
    schemas: dict[str, Any] = schema["$defs"]
    withheld = {each.body.__name__: each.withheld for each in operations if each.body is not None}
    for name, model in schemas.items():
        for member in withheld.get(name, ()):
            del model["properties"][member]
            model["required"] = [each for each in model.get("required", ()) if each != member]
        _describe_members(name, model)
    return schemas


def _describe_members(name: str, schema: dict[str, Any]) -> None:
    for member, described in schema.get("properties", {}).items():
        described["description"] = _MEANINGS.get(f"{name}.{member}") or _MEANINGS[member]


def _operation(operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    summary, _, description = (getdoc(operation.handler) or "").partition("\n\n")
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": summary,
        "description": description.replace("\n", " "),
        "security": [{_SCHEME: [operation.scope]}],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation, schemas)],
        "responses": {
            **{str(status): _success(status, model) for status, model in operation.answers.items()},
            **{
                str(kinds[0].status): {"$ref": f"#/components/responses/{_name(kinds)}"}
                for kinds in _by_status(operation)
            },
        },
    }
    if operation.body is not None:
        content = {"schema": _ref(operation.body), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"\{(\w+)", path)
    ]


def _query_parameters(operation: Operation, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    parameters = []
    for name, schema in schemas[operation.query.__name__]["properties"].items():
        # What is absent is not null.
        kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        kind = {key: value for key, value in kinds[0].items() if key != "description"}
        meaning = schema["description"]
        parameters.append(
            {"name": name, "in": "query", "description": meaning, "allowEmptyValue": True, "schema": kind}
        )
    return parameters


def _success(status: int, model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {"description": "It is done."}
    headers = {}
    if model.__name__.endswith("Page"):
        headers["Link"] = _header("The address of what follows (RFC 8288), with rel next; absent at the end.")
    if status == 201 and model.__name__ == "Lab":
        headers["Location"] = _header("The address of what was made.")
    return {
        "description": "It was made." if status == 201 else (getdoc(model) or ""),
        **({"headers": headers} if headers else {}),
        "content": {"application/json": {"schema": _ref(model)}},
    }


def _by_status(operation: Operation) -> list[tuple[Kind, ...]]:
    return [tuple(kinds) for _, kinds in groupby(operation.kinds, key=lambda kind: kind.status)]


def _name(kinds: Sequence[Kind]) -> str:
    return "-or-".join(kind.name for kind in kinds)


def _refusal(kinds: Sequence[Kind]) -> dict[str, Any]:
    headers = {}
    if kinds[0].status in {401, 403}:
        headers["WWW-Authenticate"] = _header("What is wrong with the token (RFC 6750 §3).")
    if kinds[0] is UNAVAILABLE:
        headers["Retry-After"] = _header("After how many seconds it is worth trying again.")
    examples = {kind.name: {"$ref": f"#/components/examples/{kind.name}"} for kind in kinds}
    return {
        "description": "; or: ".join(kind.title for kind in kinds),
        **({"headers": headers} if headers else {}),
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}, "examples": examples}},
    }


def _problem_example(kind: Kind, issuer: str) -> dict[str, Any]:
    errors = {"slug": "It is reserved."} if kind is INVALID_INPUT else {}
    return {"summary": kind.title, "value": Problem(kind, errors=errors).body(issuer)}


def _security_scheme(issuer: str) -> dict[str, Any]:
    token = f"{issuer}/token"
    scopes = {scope: _TITLES[scope] for scope in LAB_API_SCOPES}
    return {
        "type": "oauth2",
        "description": "Access tokens of this server.",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": f"{issuer}/authorize",
                "tokenUrl": token,
                "refreshUrl": token,
                "scopes": scopes,
            },
            "clientCredentials": {"tokenUrl": token, "scopes": scopes},
        },
    }


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF + model.__name__}
