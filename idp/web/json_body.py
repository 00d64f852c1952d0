"""Reading JSON bodies strictly (RFC 8259): one object that every reader understands alike."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.requests import Request

from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters
from idp.web.forms import read_body, remember_parameters

_MAX_DEPTH = 16


async def read_json(request: Request[Any]) -> dict[str, Any]:
    """Return the object in the body.

    Raises:
        InvalidRequest: the content type is another one, it is no JSON object, repeats a name, or is nested deeply.
        HTTPException: 413, it is larger than the server accepts.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("The body must be application/json.")
    body = await read_body(request)
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        _check_depth(value, 0)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            "The body is no valid JSON, repeats a name, or is nested too deeply.", detail=type(error).__name__
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    remember_parameters(request, Parameters(_texts(value)))
    return value


def _texts(members: Mapping[str, Any]) -> dict[str, str]:
    """Return what of the members explains a refusal: texts, and lists of texts."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in members.items()}
    return {
        name: " ".join(items) for name, items in lists.items() if items and all(isinstance(item, str) for item in items)
    }


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is repeated")
    return members


def _refuse(constant: str) -> NoReturn:
    # NaN and Infinity, which are no JSON.
    raise ValueError("no number")


def _check_depth(value: object, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _check_depth(part, depth + 1)
