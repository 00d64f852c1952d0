"""The demo's OpenID Connect client against a provider that cheats in one thing at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from authlib.integrations.httpx_client import OAuthError
from authlib.oidc.core.util import create_half_hash
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from idp.demo.openid_client import Account, OpenIDClient, SignIn
from idp.demo.relying_party import create_relying_party
from idp.domain.clock import system_clock
from tests.support.forms import FormBrowser
from tests.support.server import listen, served, url_of

SIGN_IN = SignIn(nonce="the-nonce", code_verifier="a-verifier-that-is-long-enough-for-the-specification")


@cache
def key_of(owner: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})


@dataclass
class Cheat:
    """A provider in miniature; what a test sets here is what it lies about."""

    issuer: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id_token: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    signer: str = "the provider"
    at_hash_of: str | None = None
    forms: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/token", self._tokens, methods=["POST"]),
                Route("/userinfo", self._userinfo),
            ]
        )

    async def _metadata(self, request: Request) -> JSONResponse:
        endpoints = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token", "userinfo")}
        return JSONResponse({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **endpoints, **self.metadata})

    async def _jwks(self, request: Request) -> JSONResponse:
        return JSONResponse({"keys": [key_of(Cheat.signer).as_dict(private=False)]})

    async def _tokens(self, request: Request) -> JSONResponse:
        self.forms.append({name: str(value) for name, value in (await request.form()).items()})
        now = int(system_clock().timestamp())
        header = {"alg": "RS256", "kid": "1", **self.header}
        access_token = jwt.encode(header | {"alg": "RS256"}, {"sub": "u"}, key_of(Cheat.signer))
        claims = {"iss": self.issuer, "sub": "u", "aud": "demo", "iat": now, "exp": now + 60, "nonce": "the-nonce"}
        claims["at_hash"] = create_half_hash(self.at_hash_of or access_token, "RS256").decode()
        id_token = jwt.encode(header, claims | self.id_token, key_of(self.signer), algorithms=[header["alg"]])
        answer = {"access_token": access_token, "token_type": "Bearer", "refresh_token": "r", "id_token": id_token}
        return JSONResponse({k: v for k, v in (answer | {"expires_in": 60} | self.tokens).items() if v is not None})

    async def _userinfo(self, request: Request) -> JSONResponse:
        return JSONResponse({"sub": "u", "name": "Alice", **self.userinfo})


@pytest.fixture
def cheat() -> Iterator[Cheat]:
    with listen() as listener:
        provider = Cheat(url_of(listener))
        with served(provider.app(), listener):
            yield provider


async def sign_in(cheat: Cheat) -> Account:
    client = OpenIDClient(cheat.issuer, client_id="demo", client_secret="s", redirect_uri="http://localhost:1/callback")
    return await client.sign_in("the-code", SIGN_IN)


async def test_an_honest_provider_is_believed(cheat: Cheat) -> None:
    account = await sign_in(cheat)
    assert (account.id_token["sub"], account.userinfo["name"]) == ("u", "Alice")
    assert cheat.forms == [
        {
            "grant_type": "authorization_code",
            "code": "the-code",
            "redirect_uri": "http://localhost:1/callback",
            "code_verifier": SIGN_IN.code_verifier,
        }
    ]


@pytest.mark.parametrize(
    "lie",
    [
        {"id_token": {"iss": "https://other.example"}},
        {"id_token": {"aud": "another-client"}},
        # Authlib alone would accept this one.
        {"id_token": {"aud": "another-client", "azp": "demo"}},
        {"id_token": {"azp": "another-client"}},
        {"id_token": {"nonce": "another-nonce"}},
        {"id_token": {"exp": 1_000_000_000}},
        {"at_hash_of": "another-token"},
        {"signer": "somebody else"},
        {"header": {"alg": "PS256"}},
        {"tokens": {"id_token": None}},
        {"userinfo": {"sub": "somebody-else"}},
        {"metadata": {"issuer": "https://other.example"}},
    ],
    ids=str,
)
async def test_a_lie_is_noticed_oidc_core_s3_1_3_7(lie: dict[str, Any], cheat: Cheat) -> None:
    for name, value in lie.items():
        setattr(cheat, name, value)
    with pytest.raises((OAuthError, JoseError)):
        await sign_in(cheat)


async def test_a_refreshed_id_token_about_somebody_else_is_refused_oidc_core_s12_2(cheat: Cheat) -> None:
    client = OpenIDClient(cheat.issuer, client_id="demo", client_secret="s", redirect_uri="http://localhost:1/callback")
    account = await client.sign_in("the-code", SIGN_IN)
    cheat.id_token = cheat.userinfo = {"sub": "somebody-else"}
    with pytest.raises(JoseError):
        await client.refresh(account)


async def test_an_access_token_that_ended_is_renewed_before_it_is_used(cheat: Cheat) -> None:
    client = OpenIDClient(cheat.issuer, client_id="demo", client_secret="s", redirect_uri="http://localhost:1/callback")
    account = await client.sign_in("the-code", SIGN_IN)
    account.tokens["expires_at"] = 1
    await client.read_userinfo(account)
    assert [form["grant_type"] for form in cheat.forms] == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize(
    "params",
    [
        {"code": "c"},
        {"code": "c", "iss": "https://other.example"},
        {"iss": "http://localhost:1"},
        {"error": "access_denied", "iss": "http://localhost:1"},
        {"error": "access_denied", "iss": "http://localhost:1", "code": "c"},
    ],
)
def test_an_answer_without_code_or_from_another_issuer_is_refused_rfc9207_s2_4(params: dict[str, str]) -> None:
    client = OpenIDClient("http://localhost:1", client_id="demo", client_secret="s", redirect_uri="http://localhost:2/")
    with pytest.raises(OAuthError):
        client.check_answer(params)


async def test_a_provider_that_is_away_is_reported_not_raised() -> None:
    with listen() as listener, listen() as closed:
        issuer = url_of(closed)
        closed.close()
        port = listener.getsockname()[1]
        with served(create_relying_party(issuer=issuer, port=port), listener):
            async with FormBrowser() as browser:
                page = await browser.submit(await browser.open(url_of(listener)), "Sign in with Lab ID")
    assert page.status == 502
    assert "provider_unavailable" in page.text
