"""Reading queries and forms strictly: UTF-8, the right content type, a bounded number of fields."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import unquote_plus

from starlette.exceptions import HTTPException
from starlette.requests import Request

from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters, parse_parameters
from idp.store.columns import storable

_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"
_UPLOAD = "multipart/form-data"
_REMEMBERED = "idp.parameters"


def read_query(request: Request[Any]) -> Parameters:
    """Return the query's parameters.

    Raises:
        InvalidRequest: it is not UTF-8, holds NUL, or absurdly many fields.
    """
    raw: bytes = request.scope["query_string"]
    return remember_parameters(request, _parse(raw))


async def read_form(request: Request[Any], *, max_fields: int = _MAX_FIELDS) -> Parameters:
    """Return the parameters of a form body.

    Raises:
        InvalidRequest: the content type is another one, or as for `read_query`.
    """
    content_type = request.headers.get("content-type", _FORM if request.headers.get("content-length") == "0" else "")
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    return remember_parameters(request, _parse(await read_body(request), max_fields))


async def read_single_form(request: Request[Any]) -> Parameters | None:
    """Return the form of a POST, in which no field stands twice; None of a request that brings none.

    Before anything is looked up: what is malformed is refused alike at a link that works and at one that does not.

    Raises:
        InvalidRequest: as for `read_form`, or a field stands twice.
    """
    if request.method != "POST":
        return None
    form = await read_form(request)
    form.check_single()
    return form


async def read_upload(request: Request[Any]) -> tuple[Parameters, bytes]:
    """Return the fields of a form that may bring a file along, and that file, empty where none was chosen (RFC 7578).

    Without a file it may as well come as other forms do.

    Raises:
        InvalidRequest: the content type is another one, it is malformed, not UTF-8, or brings several files.
        HTTPException: 413, it is larger than the server accepts.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return await read_form(request), b""
    if kind != _UPLOAD:
        raise InvalidRequest("The body must be multipart/form-data or application/x-www-form-urlencoded.")
    # Loaded with the first upload.
    from starlette.formparsers import MultiPartException, MultiPartParser

    body = await read_body(request)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(
            request.headers, stream(), max_files=1, max_fields=_MAX_FIELDS, max_part_size=len(body)
        )
        fields = await parser.parse()
    except (MultiPartException, ValueError) as error:
        raise InvalidRequest("The form is malformed.", detail=type(error).__name__) from None
    try:
        files = [value for _, value in fields.multi_items() if not isinstance(value, str)]
        file = await files[0].read() if files else b""
    finally:
        await fields.close()
    texts = [(name, value) for name, value in fields.multi_items() if isinstance(value, str)]
    if not all(storable(name) and storable(value) for name, value in texts):
        # The request may claim another charset than the one that our pages are in.
        raise InvalidRequest("The parameters are not valid UTF-8, or hold a NUL character.")
    return parse_parameters(texts), file


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


def _parse(raw: bytes, max_fields: int = _MAX_FIELDS) -> Parameters:
    try:
        # Bytes beyond ASCII may stand unencoded in a body, and are judged as UTF-8 like the encoded ones.
        fields = raw.decode("utf-8").split("&", max_fields)
        pairs = [_pair(field) for field in fields if field]
    except ValueError as error:
        raise InvalidRequest("The parameters are not valid UTF-8.") from error
    if len(fields) > max_fields:
        raise InvalidRequest("There are too many parameters.")
    if any("\x00" in name or "\x00" in value for name, value in pairs):
        raise InvalidRequest("A parameter holds a NUL character.")
    return parse_parameters(pairs)
