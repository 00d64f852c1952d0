"""Access tokens and their rows: what no client can ask for by itself."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from idp.crypto.opaque import hash_token
from idp.domain.client import AccessTokenFormat
from idp.outbound.client import Outbound
from idp.protocol.errors import InvalidTarget
from idp.services.client_encryption import ClientEncryption
from idp.services.client_keys import ClientKeys
from idp.services.resources import Resources
from idp.services.subjects import Subjects
from idp.services.token_issuer import TokenIssuer, TokenTimes
from tests.support.app import ALICE_ID, App, Installed, decoded
from tests.support.clock import START
from tests.support.factories import ISSUER, make_client, make_grant, make_resource

TIMES = TokenTimes(
    access_token=timedelta(minutes=10),
    id_token=timedelta(minutes=10),
    code=timedelta(minutes=1),
    refresh_token=timedelta(days=1),
    refresh_grace=timedelta(seconds=10),
)
DATA = make_resource()
CLIENT = make_client(scope="openid profile labs data:read", allowed_labs="*")


@pytest.fixture
async def token_issuer(app: App, installed: Installed) -> AsyncIterator[TokenIssuer]:
    await app.store.commit.append(DATA)
    outbound = Outbound()
    yield TokenIssuer(
        app.store,
        app.services["signing_keys"],
        Subjects(installed.data_keys),
        Resources(app.store, app.clock),
        ClientEncryption(ClientKeys(outbound, app.clock)),
        issuer=ISSUER,
        times=TIMES,
        namespace=None,
    )
    await outbound.close()


@pytest.mark.parametrize("kind", AccessTokenFormat)
async def test_the_row_says_what_the_token_says_rfc9068_s2_2(
    token_issuer: TokenIssuer, kind: AccessTokenFormat
) -> None:
    client = make_client(scope=CLIENT.scope, allowed_labs="*", access_token_format=kind)
    issued = await token_issuer.access_token(
        client, make_grant(), ("openid", "labs", "data:read"), audience=(DATA.audience,), now=START
    )
    token, row = issued.token, issued.row

    assert (row.hash, row.scope, row.audiences) == (hash_token(token), "labs data:read", (DATA.audience,))
    assert [lab["slug"] for lab in row.claims["labs"]] == ["bio", "chem"]
    if kind is AccessTokenFormat.JWT:
        claims = decoded(token)[1]
        assert (claims["jti"], claims["scope"], claims["aud"]) == (row.jti, row.scope, row.audience)
        assert (claims["iat"], claims["exp"]) == (row.created_at.timestamp(), row.expires_at.timestamp())
        assert claims["labs"] == row.claims["labs"]
        assert claims["sub"] == ALICE_ID


async def test_a_token_ends_no_later_than_its_grant(token_issuer: TokenIssuer) -> None:
    for left, lives in ((timedelta(seconds=7), 7), (timedelta(days=1), 600)):
        grant = make_grant(expires_at=START + left)
        issued = await token_issuer.access_token(CLIENT, grant, ("openid",), now=START)
        assert (issued.row.expires_at - START).total_seconds() == lives
        assert issued.response(now=START)["expires_in"] == lives
        assert decoded(issued.token)[1]["exp"] == START.timestamp() + lives


async def test_a_lab_that_is_not_told_is_kept_in_the_row_lest_the_rest_mean_all_labs(token_issuer: TokenIssuer) -> None:
    client = make_client(scope=CLIENT.scope, allowed_labs="*")
    issued = await token_issuer.access_token(client, make_grant(), ("openid", "groups", "lab:dust"), now=START)
    assert issued.row.scope == "openid groups lab:dust"
    assert issued.scope == ("openid", "groups")
    told = decoded(issued.token)[1]
    assert (told["scope"], told["groups"]) == ("openid groups", [])


async def test_no_two_tokens_are_alike_rfc6749_s10_10(token_issuer: TokenIssuer) -> None:
    tokens = [await token_issuer.access_token(CLIENT, make_grant(), ("openid",), now=START) for _ in range(3)]
    assert len({each.token for each in tokens}) == len({each.row.jti for each in tokens}) == 3


async def test_the_audience_is_what_was_granted_and_is_registered_now_rfc8707_s2_2(
    token_issuer: TokenIssuer,
) -> None:
    grant = make_grant(resources=(DATA.audience, "https://gone.example"))
    assert await token_issuer.audience(CLIENT, grant, ()) == (DATA.audience,)
    assert await token_issuer.audience(CLIENT, make_grant(), ()) == ()
    for requested in (("https://gone.example",), ("https://other.example",)):
        with pytest.raises(InvalidTarget):
            await token_issuer.audience(CLIENT, grant, requested)
