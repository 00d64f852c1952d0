"""Libraries that speak httpx2 go through the guarded client, and cannot be led around it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from idp.outbound.addresses import AllowRule
from idp.outbound.client import Forbidden, Outbound, OutboundError, Unreachable
from idp.outbound.transport import GuardedTransport
from tests.outbound.conftest import Authority, Serve

LOOPBACK = [AllowRule.parse("127.0.0.1")]
TOKEN = {"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 3600, "id_token": "a.b.c"}


async def on_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def transport(authority: Authority) -> GuardedTransport:
    return GuardedTransport(Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback))


@pytest.fixture
async def http(transport: GuardedTransport) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as http:
        yield http


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


# ── What passes ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_of_the_headers_only_those_pass_that_are_the_callers_to_say(
    http: httpx2.AsyncClient, serve: Serve
) -> None:
    peer = await serve()
    headers = {
        "Accept": "application/json",
        "Authorization": "Bearer abc",
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": "a=b",
        "Host": "internal.example",
        "User-Agent": "other",
        "Accept-Encoding": "gzip",
        "Connection": "keep-alive",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "X-Forwarded-For": "127.0.0.1",
    }
    await http.post(f"https://rp.example:{peer.port}/token?a=b", headers=headers, content=b"a=b&c=d")
    assert peer.requests[0].startswith("POST /token?a=b HTTP/1.1\r\n")
    assert peer.requests[0].endswith("\r\n\r\na=b&c=d")
    assert peer.fields() == {
        "host": f"rp.example:{peer.port}",
        "user-agent": "lab-id",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "authorization": "Bearer abc",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": "7",
    }


async def test_a_response_has_status_media_type_and_body_and_its_cookies_are_lost(
    http: httpx2.AsyncClient, serve: Serve
) -> None:
    fields = ("Set-Cookie: a=b", "Location: https://127.0.0.1/", "X-Other: y")
    peer = await serve(answer('{"é": 1}'.encode(), *fields, status="404 Not Found"))
    for _ in range(2):
        response = await http.get(f"https://rp.example:{peer.port}/")
        assert response.status_code == 404
        assert response.json() == {"é": 1}
        assert dict(response.headers) == {"content-type": "application/json", "content-length": "9"}
    assert not http.cookies
    assert "cookie" not in "".join(peer.requests).lower()


async def test_an_answer_without_a_media_type_has_none(http: httpx2.AsyncClient, serve: Serve) -> None:
    peer = await serve(b"HTTP/1.1 204 No Content\r\n\r\n")
    response = await http.delete(f"https://rp.example:{peer.port}/")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


# ── What does not ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_the_guarded_client_raises_is_what_the_caller_gets(http: httpx2.AsyncClient, serve: Serve) -> None:
    large = await serve(answer(b"x" * 1_000_000))
    redirecting = await serve(answer(b"", "Location: https://127.0.0.1/", status="302 Found"))
    for peer, text in ((large, "more than 262144 bytes"), (redirecting, "302, which is not followed")):
        with pytest.raises(OutboundError, match=text):
            await http.get(f"https://rp.example:{peer.port}/", follow_redirects=True)
    with pytest.raises(Unreachable):
        await http.get("https://rp.example:1/")
    with pytest.raises(Forbidden):
        await httpx2.AsyncClient(transport=GuardedTransport(Outbound()), trust_env=False).get("https://10.0.0.1/")


async def test_the_certificate_is_checked_by_the_guarded_client(
    http: httpx2.AsyncClient, serve: Serve, other_authority: Authority
) -> None:
    trusted, foreign = await serve(), await serve(tls=other_authority.server("rp.example"))
    assert (await http.get(f"https://rp.example:{trusted.port}/")).status_code == 200
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await http.get(f"https://rp.example:{foreign.port}/")


async def test_a_proxy_of_the_environment_leads_nowhere(
    transport: GuardedTransport, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, peer = await serve(tls=None), await serve()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    async with AsyncOAuth2Client("lab-id", "secret", transport=transport, trust_env=False) as client:
        response = await client.request("GET", f"https://rp.example:{peer.port}/", withhold_token=True)
    assert response.status_code == 200
    assert not proxy.requests


# ── Authlib ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def oauth(transport: GuardedTransport, method: str = "client_secret_basic") -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        "lab id", "s:cret", token_endpoint_auth_method=method, transport=transport, trust_env=False
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_authlib_redeems_a_code_through_it_rfc6749_s4_1_3(
    transport: GuardedTransport, serve: Serve, method: str
) -> None:
    peer = await serve(answer(json.dumps(TOKEN).encode()))
    url = f"https://rp.example:{peer.port}/token"
    async with oauth(transport, method) as client:
        token = await client.fetch_token(
            url, grant_type="authorization_code", code="a b", code_verifier="v", redirect_uri="https://op.example/cb"
        )
    assert token["id_token"] == "a.b.c"
    fields = peer.fields()
    assert fields["content-type"].startswith("application/x-www-form-urlencoded")
    assert fields["user-agent"] == "lab-id"
    assert fields.get("authorization", "").startswith("Basic ") is (method == "client_secret_basic")
    form = httpx2.QueryParams(peer.requests[0].partition("\r\n\r\n")[2])
    expected = {
        "grant_type": "authorization_code",
        "code": "a b",
        "code_verifier": "v",
        "redirect_uri": "https://op.example/cb",
    }
    if method != "client_secret_basic":
        expected["client_id"] = "lab id"
    if method == "client_secret_post":
        expected["client_secret"] = "s:cret"
    assert dict(form) == expected


async def test_authlib_uses_the_token_through_it_rfc6750_s2_1(transport: GuardedTransport, serve: Serve) -> None:
    peer = await serve(answer(b'{"sub": "1"}'))
    async with oauth(transport) as client:
        client.token = TOKEN
        assert (await client.get(f"https://rp.example:{peer.port}/userinfo")).json() == {"sub": "1"}
    assert peer.fields()["authorization"] == "Bearer an-access-token"


async def test_a_refusal_is_authlibs_and_a_failure_is_ours(transport: GuardedTransport, serve: Serve) -> None:
    refusing = await serve(answer(b'{"error": "invalid_grant"}', status="400 Bad Request"))
    async with oauth(transport) as client:
        with pytest.raises(OAuthError) as refused:
            await client.fetch_token(f"https://rp.example:{refusing.port}/token", code="x")
        assert refused.value.error == "invalid_grant"
        with pytest.raises(Unreachable):
            await client.fetch_token("https://rp.example:1/token", code="x")


async def test_a_slow_body_ends_with_the_time_of_the_guarded_client(serve: Serve) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{")
        await writer.drain()
        await reader.read()

    peer = await serve(stall, tls=None)
    hasty = Outbound(allow=LOOPBACK, resolve=on_loopback, timeout=timedelta(seconds=0.5))
    async with oauth(GuardedTransport(hasty)) as client:
        with pytest.raises(OutboundError, match=r"did not answer within 0\.5 seconds") as caught:
            await client.fetch_token(f"http://rp.example:{peer.port}/token", code="x")
    assert not isinstance(caught.value, Unreachable)
