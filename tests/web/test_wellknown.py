"""Discovery (OpenID Connect Discovery §4), RFC 8414 metadata and JWKS (RFC 7517 §5) as they are served."""

from idp.features import FEATURES
from tests.support.app import EVERY_SCOPE, ISSUER, App, Browser, Start, out_of_reach

OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


async def test_both_documents_say_the_same_for_get_and_head_with_every_header(app: App) -> None:
    documents = [await app.http().get(path) for path in (OPENID, OAUTH)]
    heads = [await app.http().head(path) for path in (OPENID, OAUTH)]

    assert documents[0].json() == documents[1].json()
    for document, head in zip(documents, heads, strict=True):
        assert document.headers["content-type"] == "application/json"
        assert document.headers["cache-control"] == "public, max-age=900"
        assert document.headers["access-control-allow-origin"] == "*"
        assert document.headers["x-content-type-options"] == "nosniff"
        assert int(document.headers["content-length"]) == len(document.content)
        assert head.content == b""
        assert head.headers == document.headers


async def test_the_metadata_lists_what_is_mounted_and_nothing_else(app: App) -> None:
    metadata = (await app.http().get(OPENID)).json()

    assert metadata["issuer"] == ISSUER
    mounted = {route.path for feature in FEATURES for route in feature.routes} | {"/jwks"}
    endpoints = {name: value for name, value in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert endpoints.keys() == {
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "introspection_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
        "jwks_uri",
    }
    for url in endpoints.values():
        assert url.startswith(f"{ISSUER}/")
        assert url.removeprefix(ISSUER) in mounted
    assert "registration_endpoint" not in metadata  # closed, as it is by default
    exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
    grants = ["authorization_code", "refresh_token", "client_credentials", exchange, "implicit"]
    assert metadata["grant_types_supported"] == grants
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


async def test_what_the_metadata_promises_about_claims_and_scopes_is_kept(app: App, browser: Browser) -> None:
    metadata = (await app.http().get(OPENID)).json()

    every = " ".join(metadata["scopes_supported"])
    await app.change("clients", ["portal"], scope=every)
    app.clock.advance(seconds=6)

    tokens = await browser.tokens(scope=every)

    assert set(tokens["scope"].split()) == set(metadata["scopes_supported"]) >= set(EVERY_SCOPE.split())
    assert (await app.userinfo(tokens["access_token"])).json().keys() <= set(metadata["claims_supported"])


async def test_jwks_holds_public_members_of_one_key_per_kid(app: App) -> None:
    response = await app.http().get("/jwks")
    head = await app.http().head("/jwks")

    keys = response.json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys) == 8
    for key in keys:
        assert key.keys() <= {"kty", "use", "alg", "kid", "n", "e", "crv", "x", "y"}
        assert key["use"] == "sig"
    assert {key["alg"] for key in keys} == {"RS256", "PS256", "ES256", "EdDSA"}
    assert response.headers["cache-control"] == "public, max-age=900"
    assert response.headers["access-control-allow-origin"] == "*"
    assert head.headers["content-length"] == response.headers["content-length"]


async def test_the_cache_lifetime_follows_the_setting(start: Start) -> None:
    node = await start(jwks_max_age_seconds="60")

    assert (await node.http().get("/jwks")).headers["cache-control"] == "public, max-age=60"


async def test_only_the_exact_path_and_only_get_and_head_are_answered(app: App) -> None:
    for path in (OPENID, OAUTH, "/jwks"):
        for other in (f"{path}/", f"{path}x", f"/{path}"):
            assert (await app.raw("GET", other)).status_code == 404
        for method in ("POST", "PUT", "DELETE"):
            assert (await app.http().request(method, path)).status_code == 405
        assert (await app.http().get(path, params={"any": "query"})).status_code == 200


async def test_jwks_is_503_and_not_a_crash_while_the_database_is_out_of_reach(app: App) -> None:
    assert (await app.http().get("/jwks")).status_code == 200
    app.clock.advance(seconds=6)

    with out_of_reach(app):
        response = await app.http().get("/jwks")
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        assert response.headers["retry-after"]
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert (await app.http().get(OPENID)).status_code == 200

    assert (await app.http().get("/jwks")).status_code == 200
