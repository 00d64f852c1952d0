"""What every call of the API shares: bearer token and scope (RFC 6750), strict input, refusals, CORS, parts (RFC 8288).

An operation says what it takes and gives; routes and the document are made of it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeVar, get_args
from urllib.parse import quote, urlencode

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from idp.protocol.access_token import read_bearer_token
from idp.protocol.errors import OAuthError
from idp.services.audit import acting_application
from idp.services.input import Input, InputRefused, Place, unknown_name
from idp.services.lab_permissions import Actor, Forbidden
from idp.store.errors import Conflict, NotFound
from idp.web import errors
from idp.web.api import problems
from idp.web.cors import allow_bearers_origin, preflight
from idp.web.forms import read_query
from idp.web.json_body import read_json
from idp.web.responses import json_no_store
from idp.web.services import Services

API = "/api/v1"
_REFUSALS = (OAuthError, InputRefused, Forbidden, NotFound, Conflict, HTTPException)
_NAMES_IN = {"query": "parameters", "body": "members"}
_IDENTIFIER = re.compile(r"[ -~]{1,2048}")
_Read = TypeVar("_Read", bound=Input)
_EXPOSED = "WWW-Authenticate, Link, Location, Retry-After"


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the request, and who acts."""

    request: Request[Services]
    actor: Actor

    @property
    def services(self) -> Services:
        """The services."""
        return self.request.state

    @property
    def slug(self) -> str:
        """The lab that the path names."""
        return self.named("slug")

    def named(self, name: str) -> str:
        """Return what a part of the path names.

        Raises:
            NotFound: nothing here can be called that.
        """
        value: str = self.request.path_params[name]
        if _IDENTIFIER.fullmatch(value) is None:
            raise NotFound(f"nothing has such a {name}")
        return value

    def query(self, model: type[_Read]) -> _Read:
        """Return the query.

        Raises:
            InputRefused: a parameter is unknown, or its value not valid.
            InvalidRequest: the query is malformed, or repeats a parameter.
        """
        params = read_query(self.request)
        params.check_single()
        _check_names(model, params.values, place="query")
        return model.read(dict(params.values))

    async def body(self, model: type[_Read], **ours: str) -> _Read:
        """Return the body; `ours` are members that follow from the path, and that nobody may send.

        Raises:
            InputRefused: a member is unknown, or its value not valid.
            InvalidRequest: it is no JSON object.
            HTTPException: 413 or 415.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, headers={"Accept": "application/json"})
        raw = await read_json(self.request)
        _check_names(model, raw, place="body", ours=ours)
        _check_types(model, raw)
        return model.read({**raw, **ours})

    def answer(self, shown: BaseModel, *, status: int = 200, **headers: str) -> Response:
        """Return what came of it."""
        return json_no_store(shown.model_dump(mode="json"), status=status, headers=headers)

    def done(self) -> Response:
        """Return the answer that has nothing to show."""
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    def page(self, shown: BaseModel, following: str | None) -> Response:
        """Return a part of a list, with a link to the part that follows."""
        if following is None:
            return self.answer(shown)
        query = {**read_query(self.request).values, "after": following}
        return self.answer(shown, Link=f'<{self.address(self.request.scope["path"])}?{urlencode(query)}>; rel="next"')

    def address(self, path: str) -> str:
        """Return the address of a path of this server."""
        return self.services["issuer"] + quote(path)


def _check_names(model: type[Input], raw: Mapping[str, Any], *, place: str, ours: Mapping[str, str] = {}) -> None:
    known = model.model_fields.keys() - ours.keys()
    unknown = [name for name in raw if name not in known]
    if unknown:
        # The name itself stays untold: it is not ours.
        clause = unknown_name(unknown[0], sorted(known)).removeprefix("it ")
        raise InputRefused({(place,): f"one of its {_NAMES_IN[place]} {clause}"})


def _check_types(model: type[Input], raw: Mapping[str, Any]) -> None:
    """Refuse values of another JSON type: the models are as lenient about them as files need it."""
    faults: dict[Place, str] = {}
    for name, value in raw.items():
        kind = model.model_fields[name].annotation
        switch = bool in (kind, *get_args(kind))
        if value is not None and not isinstance(value, bool if switch else str):
            faults[name,] = "it must be true or false" if switch else "it must be text"
    if faults:
        raise InputRefused(faults)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; `answers` maps each status of success to what is shown then.

    `withheld` are fields of the body's model that follow from the path. `refusals` are the kinds of problems beside
    those that follow from all this. The handler's docstring describes it in the document.
    """

    method: str
    path: str
    handler: Handler
    scope: str
    _: KW_ONLY
    answers: Mapping[int, type[BaseModel] | None]
    query: type[Input] | None = None
    body: type[Input] | None = None
    withheld: frozenset[str] = frozenset()
    example: Mapping[str, Any] = field(default_factory=dict)
    refusals: Sequence[problems.Kind] = (problems.FORBIDDEN,)

    @property
    def kinds(self) -> tuple[problems.Kind, ...]:
        """Every kind of problem that it can have."""
        kinds = {problems.INVALID_TOKEN, problems.INSUFFICIENT_SCOPE, problems.SERVER_ERROR, problems.UNAVAILABLE}
        kinds.update(self.refusals)
        if "{" in self.path:
            kinds.add(problems.NOT_FOUND)
        if self.query is not None or self.body is not None:
            kinds |= {problems.MALFORMED, problems.INVALID_INPUT}
        if self.body is not None:
            kinds |= {problems.CONTENT_TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE}
        return tuple(kind for kind in problems.KINDS if kind in kinds)


def routes(operations: Sequence[Operation]) -> tuple[Route, ...]:
    """Return a route for each path, which answers its methods and preflights."""
    paths = dict.fromkeys(operation.path for operation in operations)
    return tuple(_route(path, {each.method: each for each in operations if each.path == path}) for path in paths)


def _route(path: str, operations: Mapping[str, Operation]) -> Route:
    methods = ", ".join(operations)

    async def answer(request: Request[Services]) -> Response:
        try:
            if request.method == "OPTIONS":
                return await preflight(request, methods=methods)
            return await _serve(request, operations["GET" if request.method == "HEAD" else request.method])
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            errors.log_failure(request, error)
            return problems.failure(error).response(request)

    return Route(API + path, answer, methods=[*operations, "OPTIONS"])


async def _serve(request: Request[Services], operation: Operation) -> Response:
    token = through = None
    try:
        token = read_bearer_token(request.headers.get("authorization"), None)
        actor = await request.state["api_access"].admit(token, scope=operation.scope)
        through = acting_application.set(actor.through)
        response = await operation.handler(Call(request, actor))
    except _REFUSALS as error:
        if isinstance(error, OAuthError):
            errors.log_refusal(request, error)
        response = problems.refusal(error, needed=operation.scope).response(request)
    finally:
        if through is not None:
            acting_application.reset(through)
    return await allow_bearers_origin(request, response, token, expose=_EXPOSED)
