"""Reading queries and forms strictly."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters
from idp.web.forms import read_body, read_form, read_query, remembered_parameters
from tests.support.requests import make_request

FORM = "application/x-www-form-urlencoded"


def posted(*chunks: bytes, content_type: str | None = FORM, limit: int = 65536) -> Request[Any]:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return make_request("POST", headers=headers, body=chunks, max_body_bytes=limit)


def query(raw: bytes) -> Parameters:
    return read_query(make_request(query=raw))


# ── Remembering ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_was_read_is_remembered_and_of_two_of_a_name_the_first():
    request = make_request(
        "POST",
        headers={"Content-Type": FORM},
        query=b"interaction=a&x=query&y=1&y=1",
        body=[b"x=form&csrf=b&z=1&z=1"],
        max_body_bytes=1000,
    )
    assert remembered_parameters(request).values == {}
    read_query(request)
    await read_form(request)
    assert remembered_parameters(request).values == {"interaction": "a", "x": "query", "y": "1", "csrf": "b", "z": "1"}
    assert remembered_parameters(request).repeated == {"y", "z"}


# ── Queries ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_query_is_decoded_as_a_form_rfc6749_appendix_b():
    params = query(b"scope=openid+email&state=a%26b%3Dc&name=J%C3%BCrgen&empty=&bare")
    assert params.get("scope") == "openid email"
    assert params.get("state") == "a&b=c"
    assert params.get("name") == "Jürgen"
    assert params.get("empty") is None
    assert params.get("bare") is None


def test_no_query_holds_no_parameter():
    assert query(b"").values == {}


def test_a_repeated_parameter_is_noticed_rfc6749_s3_1():
    assert query(b"state=a&state=b").repeated == {"state"}
    assert query(b"state=a&st%61te=b").repeated == {"state"}


def test_a_semicolon_separates_nothing_whatwg_url_s5_1():
    assert query(b"a=1;b=2").values == {"a": "1;b=2"}


NOT_UTF8 = [b"a=%FF", b"a=%C3", b"%FF=a", b"a=\xff", b"a=%C0%AF", b"a=%ED%A0%80", b"a=\xed\xa0\x80"]


@pytest.mark.parametrize("raw", NOT_UTF8)
def test_what_is_not_utf8_is_an_invalid_request_rfc6749_appendix_b(raw: bytes):
    with pytest.raises(InvalidRequest) as refused:
        query(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"a=%00", b"a=x%00y", b"%00=a", b"a=\x00"])
def test_nul_which_no_database_stores_is_an_invalid_request(raw: bytes):
    with pytest.raises(InvalidRequest) as refused:
        query(raw)
    assert "NUL" in refused.value.description


def test_two_hundred_fields_are_read_and_more_are_refused():
    assert len(query(urlencode({f"f{number}": "x" for number in range(200)}).encode()).values) == 200
    with pytest.raises(InvalidRequest):
        query(urlencode({f"f{number}": "x" for number in range(201)}).encode())
    with pytest.raises(InvalidRequest):
        query(b"&" * 100_000)


@given(st.binary() | st.binary().map(lambda raw: b"a=" + raw) | st.text().map(str.encode))
def test_any_query_is_read_or_an_invalid_request_and_what_is_read_can_be_stored(raw: bytes):
    try:
        params = query(raw)
    except InvalidRequest:
        return
    for text in (*params.values, *params.values.values()):
        assert "\x00" not in text
        text.encode("utf-8")


@given(
    st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text("aä&=+%;# "))
)
def test_any_parameters_survive_the_way_of_a_form_rfc6749_appendix_b(sent: dict[str, str]):
    assert query(urlencode(sent).encode()).values == {name: value for name, value in sent.items() if value}


# ── Forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "content_type",
    [FORM, FORM.upper(), f"{FORM}; charset=UTF-8", f"{FORM};charset=utf-8", f"{FORM} ; x=y", f" {FORM}"],
)
async def test_a_form_is_read_whatever_the_parameters_of_its_type_rfc6749_s3_2(content_type: str):
    params = await read_form(posted(b"grant_type=refresh_token&scope=a%20b", content_type=content_type))
    assert params.values == {"grant_type": "refresh_token", "scope": "a b"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        f"{FORM}x",
        f"x{FORM}",
        f"x; {FORM}",
    ],
)
async def test_another_type_of_body_is_an_invalid_request_rfc6749_s3_2(content_type: str | None):
    with pytest.raises(InvalidRequest):
        await read_form(posted(b"grant_type=refresh_token", content_type=content_type))


async def test_a_form_comes_in_pieces():
    params = await read_form(posted(b"code=a%", b"2", b"6b&sta", b"te=", b"c"))
    assert params.values == {"code": "a&b", "state": "c"}


async def test_an_empty_form_holds_no_parameter():
    assert (await read_form(posted())).values == {}


@pytest.mark.parametrize("raw", NOT_UTF8)
async def test_a_form_that_is_not_utf8_is_an_invalid_request_rfc6749_appendix_b(raw: bytes):
    with pytest.raises(InvalidRequest):
        await read_form(posted(raw))


async def test_parameters_of_the_query_are_none_of_the_form_rfc6749_s3_2():
    request = make_request(
        "POST", headers={"Content-Type": FORM}, query=b"client_secret=s", body=[b"a=b"], max_body_bytes=100
    )
    assert (await read_form(request)).values == {"a": "b"}


@pytest.mark.parametrize("chunks", [[b"x" * 100], [b"x" * 99, b"x"], [b"x"] * 100])
async def test_a_body_up_to_the_limit_is_read(chunks: list[bytes]):
    assert await read_body(posted(*chunks, limit=100)) == b"x" * 100


@pytest.mark.parametrize("chunks", [[b"x" * 101], [b"x" * 100, b"x"], [b"x"] * 101])
async def test_a_body_beyond_the_limit_is_a_413_rfc9110_s15_5_14(chunks: list[bytes]):
    with pytest.raises(HTTPException) as refused:
        await read_body(posted(*chunks, limit=100))
    assert refused.value.status_code == 413


async def test_reading_stops_at_the_limit_however_much_is_sent():
    read = 0

    def endless() -> Any:
        nonlocal read
        read += 1
        return b"x" * 60

    request = make_request("POST", max_body_bytes=100)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": endless(), "more_body": True}

    with pytest.raises(HTTPException):
        await read_body(Request(request.scope, receive))
    assert read == 2


@given(st.lists(st.binary(max_size=20), max_size=4))
async def test_any_form_is_read_or_an_invalid_request(chunks: list[bytes]):
    try:
        params = await read_form(posted(*chunks))
    except InvalidRequest:
        return
    assert "" not in params.values.values()
