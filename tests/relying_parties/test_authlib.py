"""Authlib's client, as Python applications use it, against a running server."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.relying_parties.clients import AFTER_LOGOUT, ALGORITHMS, CALLBACK, SCOPE, SECRET
from tests.support.forms import FormBrowser
from tests.support.server import Provider

VERIFIER = "a-verifier-of-the-tests-that-is-long-enough-for-rfc7636"
NONCE = "a-nonce-of-the-tests"


@pytest.fixture
async def metadata(idp: Provider) -> dict[str, Any]:
    return httpx2.get(f"{idp.issuer}/.well-known/openid-configuration", trust_env=False).json()


@pytest.fixture
async def browser() -> AsyncIterator[FormBrowser]:
    async with FormBrowser(stop_at=CALLBACK) as browser:
        yield browser


def oauth(client_id: str, **settings: Any) -> AsyncOAuth2Client:
    defaults = {"client_secret": SECRET, "redirect_uri": CALLBACK, "scope": SCOPE, "code_challenge_method": "S256"}
    return AsyncOAuth2Client(client_id=client_id, trust_env=False, **defaults | settings)


async def answer_of(client: AsyncOAuth2Client, metadata: dict[str, Any], browser: FormBrowser, email: str) -> str:
    """Sign somebody in and return the authorization response, checked for its issuer (RFC 9207)."""
    url, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=VERIFIER, nonce=NONCE, prompt="consent"
    )
    answer = (await browser.sign_in(url, email)).url
    query = parse_qs(urlsplit(answer).query)
    assert query["iss"] == [metadata["issuer"]]
    assert query["state"] == [state]
    return answer


async def tokens_of(
    client: AsyncOAuth2Client, metadata: dict[str, Any], browser: FormBrowser, email: str
) -> dict[str, Any]:
    answer = await answer_of(client, metadata, browser, email)
    return await client.fetch_token(metadata["token_endpoint"], authorization_response=answer, code_verifier=VERIFIER)


async def keys_of(metadata: dict[str, Any]) -> KeySet:
    return KeySet.import_key_set(httpx2.get(metadata["jwks_uri"], trust_env=False).json())


def test_discovery_is_valid_server_metadata_rfc8414(idp: Provider) -> None:
    for path in ("openid-configuration", "oauth-authorization-server"):
        response = httpx2.get(f"{idp.issuer}/.well-known/{path}", trust_env=False)
        members = AuthorizationServerMetadata(response.json())
        # Authlib insists on https everywhere, which loopback does without.
        secure = {
            name: value.replace("http://", "https://") if isinstance(value, str) else value
            for name, value in members.items()
        }
        AuthorizationServerMetadata(secure).validate()


# FAPI's profiles and today's clients still call Ed25519 by its older name.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_tokens_verify_by_jwks_under_every_algorithm(
    alg: str, idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth(f"web-{alg}") as client:
        tokens = await tokens_of(client, metadata, browser, idp.new_person())
        userinfo = (await client.get(metadata["userinfo_endpoint"])).json()
    keys = await keys_of(metadata)
    signed = jwt.decode(tokens["id_token"], keys, algorithms=[alg])
    id_token = CodeIDToken(
        signed.claims,
        signed.header,
        options={
            "iss": {"essential": True, "value": idp.issuer},
            "aud": {"essential": True, "value": f"web-{alg}"},
            "auth_time": {"essential": True},
            "sid": {"essential": True},
            "at_hash": {"essential": True},
        },
        params={"nonce": NONCE, "client_id": f"web-{alg}", "access_token": tokens["access_token"]},
    )
    id_token.validate(leeway=5)
    access_token = jwt.decode(tokens["access_token"], keys, algorithms=["RS256"])
    registry = jwt.JWTClaimsRegistry(
        leeway=5,
        iss={"essential": True, "value": idp.issuer},
        aud={"essential": True, "value": idp.issuer},
        exp={"essential": True},
        client_id={"essential": True, "value": f"web-{alg}"},
        sub={"essential": True, "value": id_token["sub"]},
    )
    registry.validate(access_token.claims)
    assert access_token.header["typ"] == "at+jwt"
    assert access_token.claims["groups"] == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    assert userinfo["sub"] == id_token["sub"]
    assert [(lab["slug"], lab["role"]) for lab in userinfo["labs"]] == [("bio", "admin"), ("chem", "viewer")]


async def test_a_refresh_gives_new_tokens_about_the_same_user(
    idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth("web-RS256") as client:
        first = dict(await tokens_of(client, metadata, browser, idp.new_person()))
        second = dict(await client.refresh_token(metadata["token_endpoint"]))
        userinfo = await client.get(metadata["userinfo_endpoint"])
    keys = await keys_of(metadata)
    before, after = (jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims for tokens in (first, second))
    assert {name: after[name] for name in ("iss", "sub", "aud", "auth_time", "sid")} == {
        name: before[name] for name in ("iss", "sub", "aud", "auth_time", "sid")
    }
    assert first["refresh_token"] != second["refresh_token"]
    assert first["access_token"] != second["access_token"]
    assert userinfo.json()["sub"] == after["sub"]


async def test_an_access_token_that_ended_is_renewed_by_the_library_itself(
    idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth("web-RS256", token_endpoint=metadata["token_endpoint"]) as client:
        old = dict(await tokens_of(client, metadata, browser, idp.new_person()))
        client.token = old | {"expires_at": 1}
        userinfo = await client.get(metadata["userinfo_endpoint"])
        assert userinfo.status_code == 200
        assert client.token["access_token"] != old["access_token"]


async def test_revoking_the_refresh_token_ends_the_access_token_rfc7009_s2_1(
    idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth("web-RS256") as client:
        tokens = await tokens_of(client, metadata, browser, idp.new_person())

        async def introspected() -> dict[str, Any]:
            answer = await client.introspect_token(metadata["introspection_endpoint"], tokens["access_token"])
            return answer.json()

        live = await introspected()
        revoked = await client.revoke_token(metadata["revocation_endpoint"], tokens["refresh_token"])
        assert (live["active"], live["client_id"], live["token_type"]) == (True, "web-RS256", "Bearer")
        assert revoked.status_code == 200
        assert await introspected() == {"active": False}
        assert (await client.get(metadata["userinfo_endpoint"])).status_code == 401
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.refresh_token(metadata["token_endpoint"])


@pytest.mark.parametrize(
    ("client_id", "secret", "method"),
    [("post", SECRET, "client_secret_post"), ("public", None, "none")],
)
async def test_other_ways_of_client_authentication_work_rfc6749_s2_3(
    client_id: str, secret: str | None, method: str, idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth(client_id, client_secret=secret, token_endpoint_auth_method=method) as client:
        tokens = await tokens_of(client, metadata, browser, idp.new_person())
        assert (await client.refresh_token(metadata["token_endpoint"]))["refresh_token"] != tokens["refresh_token"]


async def test_a_service_gets_a_token_for_itself_rfc6749_s4_4(idp: Provider, metadata: dict[str, Any]) -> None:
    async with oauth("service", scope="measurements:read") as client:
        tokens = await client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    claims = jwt.decode(tokens["access_token"], await keys_of(metadata), algorithms=["RS256"]).claims
    assert (claims["sub"], claims["scope"]) == ("service", "measurements:read")
    assert not {"refresh_token", "id_token"} & tokens.keys()


async def test_a_code_is_worth_nothing_with_another_verifier_or_twice_rfc7636_s4_6(
    idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with oauth("web-RS256") as client:
        answer = await answer_of(client, metadata, browser, idp.new_person())
        redeem = {"url": metadata["token_endpoint"], "authorization_response": answer}
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.fetch_token(**redeem, code_verifier=VERIFIER[::-1])
        tokens = dict(await client.fetch_token(**redeem, code_verifier=VERIFIER))
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.fetch_token(**redeem, code_verifier=VERIFIER)
        # RFC 6749 §4.1.2: the second use takes back what the first one gave.
        client.token = tokens
        assert (await client.get(metadata["userinfo_endpoint"])).status_code == 401


async def test_logout_ends_the_session_and_returns_the_state(
    idp: Provider, metadata: dict[str, Any], browser: FormBrowser
) -> None:
    async with FormBrowser(stop_at="http://localhost:1/") as browser, oauth("web-RS256") as client:
        tokens = await tokens_of(client, metadata, browser, idp.new_person())
        url = httpx2.URL(
            metadata["end_session_endpoint"],
            params={
                "id_token_hint": tokens["id_token"],
                "post_logout_redirect_uri": AFTER_LOGOUT,
                "state": "a b&c",
            },
        )
        assert (await browser.open(str(url))).url == f"{AFTER_LOGOUT}?state=a+b%26c"
        silent, _ = client.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=VERIFIER, prompt="none", scope="openid"
        )
        assert "error=login_required" in (await browser.open(silent)).url
