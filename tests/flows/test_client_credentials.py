"""Services that act for themselves (RFC 6749 §4.4), and how every client proves itself (RFC 6749 §2.3)."""

from base64 import b64encode
from datetime import timedelta

from idp.crypto.jose import verify
from idp.domain.client import GrantType
from tests.support.app import ISSUER, App, basic, decoded, secret_of


async def test_a_service_gets_a_token_that_speaks_for_itself(app: App) -> None:
    response = await app.post("/token", "robot", grant_type="client_credentials", scope="data:read")

    tokens = response.json()
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "scope"}  # and no refresh token: §4.4.3
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 600, "data:read")
    keys = (await app.http().get("/jwks")).json()["keys"]
    claims = verify(tokens["access_token"], keys, algorithms=["RS256"]).claims
    expected = {"iss": ISSUER, "sub": "robot", "client_id": "robot", "aud": ISSUER, "scope": "data:read"}
    assert {name: claims[name] for name in expected} == expected
    assert claims.keys() == expected.keys() | {"iat", "exp", "jti"}
    answer = await app.introspect(tokens["access_token"], "robot")
    assert (answer["active"], answer["sub"], answer["scope"]) == (True, "robot", "data:read")
    assert "username" not in answer


async def test_each_token_is_another_one(app: App) -> None:
    tokens = [(await app.post("/token", "robot", grant_type="client_credentials")).json() for _ in range(3)]

    assert len({token["access_token"] for token in tokens}) == 3
    assert len({decoded(token["access_token"])[1]["jti"] for token in tokens}) == 3


async def test_a_service_gets_of_its_scopes_only_what_speaks_about_no_person(app: App) -> None:
    for asked, granted in (
        (None, None),
        ("data:read data:write", "data:read data:write"),
        ("data:write unregistered", "data:write"),
        ("openid data:read", "data:read"),
    ):
        tokens = (await app.post("/token", "robot", grant_type="client_credentials", scope=asked)).json()
        assert tokens.get("scope") == granted

    for asked in ("openid", "unregistered", "profile offline_access", 'data:"read'):
        refused = await app.post("/token", "robot", grant_type="client_credentials", scope=asked)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope"), asked


async def test_a_service_token_is_no_user_and_so_has_no_userinfo(app: App) -> None:
    tokens = (await app.post("/token", "robot", grant_type="client_credentials", scope="data:read")).json()

    assert (await app.userinfo(tokens["access_token"])).status_code == 401


async def test_a_client_without_the_grant_is_unauthorized_and_an_unknown_grant_unsupported(app: App) -> None:
    for client_id, grant_type, error in (
        ("spa", "client_credentials", "unauthorized_client"),
        ("trusted", "client_credentials", "unauthorized_client"),
        ("robot", "authorization_code", "unauthorized_client"),
        ("robot", "refresh_token", "unauthorized_client"),
        ("robot", "password", "unsupported_grant_type"),
        ("robot", "urn:ietf:params:oauth:grant-type:device_code", "unsupported_grant_type"),
        ("robot", "", "invalid_request"),
        ("robot", None, "invalid_request"),
    ):
        refused = await app.post("/token", client_id, grant_type=grant_type)
        assert (refused.status_code, refused.json()["error"]) == (400, error), (client_id, grant_type)


async def test_a_public_client_never_acts_for_itself_even_when_it_is_registered_for_it(app: App) -> None:
    await app.change("clients", ["spa"], grant_types=tuple(GrantType))

    refused = await app.post("/token", "spa", grant_type="client_credentials")

    assert refused.json()["error"] == "unauthorized_client"


# ── Client authentication ───────────────────────────────────────────────────────────────────────────────────────────
GRANT = {"grant_type": "client_credentials"}


async def test_a_secret_may_come_in_the_header_or_in_the_body(app: App) -> None:
    http, secret = app.http(), secret_of("robot")

    for response in (
        await http.post("/token", data=GRANT, headers=basic("robot", secret)),
        await http.post("/token", data={**GRANT, "client_id": "robot"}, headers=basic("robot", secret)),
        await http.post("/token", data={**GRANT, "client_id": "robot", "client_secret": secret}),
        # RFC 6749 §2.3.1: both halves are form-encoded.
        await http.post("/token", data=GRANT, headers=basic("%72obot", secret.replace("-", "%2D"))),
        await http.post(
            "/token",
            data=GRANT,
            headers={"Authorization": basic("robot", secret)["Authorization"].replace("Basic", "bAsIc")},
        ),
    ):
        assert response.status_code == 200, response.text


async def test_a_failed_authentication_is_invalid_client_and_looks_the_same_whatever_was_wrong(app: App) -> None:
    http, secret = app.http(), secret_of("robot")
    wrong_secret = await http.post("/token", data=GRANT, headers=basic("robot", "wrong"))

    assert (wrong_secret.status_code, wrong_secret.json()["error"]) == (401, "invalid_client")
    assert wrong_secret.headers["www-authenticate"].startswith("Basic ")
    assert wrong_secret.headers["cache-control"] == "no-store"
    for response in (
        await http.post("/token", data=GRANT, headers=basic("unknown", secret)),
        await http.post("/token", data=GRANT, headers=basic("retired", secret_of("retired"))),
        await http.post("/token", data=GRANT, headers=basic("robot", "")),
        await http.post("/token", data={**GRANT, "client_id": "robot"}),
        await http.post("/token", data={**GRANT, "client_id": "robot", "client_secret": "wrong"}),
        await http.post("/token", data={**GRANT, "client_id": "spa", "client_secret": "any"}),
    ):
        assert response.status_code == 401
        # But for the reference, which each refusal has of its own.
        assert response.json() | {"error_uri": None} == wrong_secret.json() | {"error_uri": None}
        # RFC 6749 §5.2: only who used the header is told to use it.
        assert ("www-authenticate" in response.headers) is ("authorization" in response.request.headers)


async def test_credentials_that_cannot_be_read_are_refused_and_never_a_crash(app: App) -> None:
    for value in (
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + b64encode(b"no colon").decode(),
        "Basic " + b64encode(b":secret").decode(),
        "Basic " + b64encode(b"robot:%ff").decode(),
        "Basic " + b64encode(b"rob\x00ot:s").decode(),
        "Basic " + b64encode(b"r" * 9000 + b":s").decode(),
        "Bearer x",
        "Digest username=robot",
        "Negotiate",
        "\xe9\xff",
    ):
        raw = [(b"authorization", value.encode("latin-1")), (b"content-type", b"application/x-www-form-urlencoded")]
        response = await app.raw("POST", "/token", headers=raw, body=[b"grant_type=client_credentials"])
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client"), value


async def test_two_credentials_or_two_clients_in_one_request_are_invalid(app: App) -> None:
    http, secret = app.http(), secret_of("robot")

    for response in (
        await http.post("/token", data={**GRANT, "client_secret": secret}, headers=basic("robot", secret)),
        await http.post("/token", data={**GRANT, "client_id": "portal"}, headers=basic("robot", secret)),
        await http.post(
            "/token",
            content=b"grant_type=client_credentials&client_id=robot&client_id=portal",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
    ):
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_two_secrets_overlap_while_one_is_rotated(app: App) -> None:
    old, http = secret_of("robot"), app.http()

    async def accepts(secret: str) -> bool:
        return (await http.post("/token", data=GRANT, headers=basic("robot", secret))).status_code == 200

    new = await app.services["clients"].rotate_secret("robot", overlap=timedelta(hours=1), actor="test")

    assert await accepts(old)
    assert await accepts(new)
    app.clock.advance(seconds=3599)
    assert await accepts(old)
    app.clock.advance(seconds=1)
    assert not await accepts(old)
    assert await accepts(new)


async def test_a_secret_rotated_without_overlap_ends_at_once(app: App) -> None:
    new = await app.services["clients"].rotate_secret("robot", overlap=timedelta(), actor="test")

    old_refused = await app.post("/token", "robot", grant_type="client_credentials")
    assert old_refused.json()["error"] == "invalid_client"
    assert (await app.http().post("/token", data=GRANT, headers=basic("robot", new))).status_code == 200
