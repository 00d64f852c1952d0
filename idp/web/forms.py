"""Reading queries and forms strictly: UTF-8, one content type, a bounded number of fields."""

from typing import Any
from urllib.parse import unquote_plus

from starlette.exceptions import HTTPException
from starlette.requests import Request

from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters, parse_parameters

_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"
_REMEMBERED = "idp.parameters"


def read_query(request: Request[Any]) -> Parameters:
    """Return the query's parameters.

    Raises:
        InvalidRequest: it is not UTF-8, holds NUL, or absurdly many fields.
    """
    raw: bytes = request.scope["query_string"]
    return remember_parameters(request, _parse(raw))


async def read_form(request: Request[Any]) -> Parameters:
    """Return the parameters of a form body.

    Raises:
        InvalidRequest: the content type is another one, or as for `read_query`.
    """
    content_type = request.headers.get("content-type", _FORM if request.headers.get("content-length") == "0" else "")
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    return remember_parameters(request, _parse(await read_body(request)))


def remember_parameters(request: Request[Any], params: Parameters) -> Parameters:
    """Return the parameters, noted for an explanation: a body can be read only once."""
    request.scope.setdefault(_REMEMBERED, []).append(params)
    return params


def remembered_parameters(request: Request[Any]) -> Parameters:
    """Return all that was read from the request so far; of two of a name the first."""
    read: list[Parameters] = request.scope.get(_REMEMBERED, [])
    values = {name: value for params in reversed(read) for name, value in params.values.items()}
    return Parameters(values, frozenset().union(*(params.repeated for params in read)))


async def read_body(request: Request[Any]) -> bytes:
    """Return the body.

    Raises:
        HTTPException: 413, it is larger than the server accepts.
    """
    # Here instead of in a middleware, which would cost every request; nothing else in the server reads a body.
    limit: int = request.state["max_body_bytes"]
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise HTTPException(413, headers={"Connection": "close"})
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _pair(field: str) -> tuple[str, str]:
    name, _, value = field.partition("=")
    return _unquote(name), _unquote(value)


def _unquote(text: str) -> str:
    # Most names and values are plain, and this is on every request's way.
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def _parse(raw: bytes) -> Parameters:
    try:
        # Bytes beyond ASCII may stand unencoded in a body, and are judged as UTF-8 like the encoded ones.
        fields = raw.decode("utf-8").split("&", _MAX_FIELDS)
        pairs = [_pair(field) for field in fields if field]
    except ValueError as error:
        raise InvalidRequest("The parameters are not valid UTF-8.") from error
    if len(fields) > _MAX_FIELDS:
        raise InvalidRequest("There are too many parameters.")
    if any("\x00" in name or "\x00" in value for name, value in pairs):
        raise InvalidRequest("A parameter holds a NUL character.")
    return parse_parameters(pairs)
