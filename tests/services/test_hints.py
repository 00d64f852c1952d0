"""ID tokens that come back as hints (OpenID Connect Core §3.1.2.1)."""

from datetime import timedelta

import pytest

from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.errors import InvalidRequest
from idp.services.hints import Hints
from tests.support.app import ALICE_ID, App, Browser


@pytest.fixture
def hints(app: App) -> Hints:
    return Hints(app.services["signing_keys"], issuer=app.issuer)


async def test_a_hint_says_whose_it_is_and_the_rest_is_refused(hints: Hints, browser: Browser) -> None:
    tokens = await browser.tokens()

    hint = await hints.read(tokens["id_token"])

    assert hint is not None
    assert (hint.client_id, hint.sub) == ("portal", ALICE_ID)
    assert await hints.read(None) is None
    unsigned = "eyJhbGciOiJub25lIn0." + tokens["id_token"].split(".")[1] + "."
    for foreign in ("", "x", tokens["access_token"], tokens["id_token"][:-4], unsigned):
        with pytest.raises(InvalidRequest):
            await hints.read(foreign)


async def test_an_expired_hint_counts_and_a_retired_key_is_remembered_for_a_year(
    hints: Hints, app: App, browser: Browser
) -> None:
    token = (await browser.tokens())["id_token"]
    await app.services["signing_keys"].rotate(actor="test", even_if_unpublished=True)
    app.clock.advance(timedelta(days=364))
    assert await hints.read(token) is not None

    app.clock.advance(timedelta(days=2))
    with pytest.raises(InvalidRequest):
        await hints.read(token)


async def test_other_tokens_of_ours_are_no_hints_rfc8725_s3_11(hints: Hints, app: App) -> None:
    claims = {"iss": app.issuer, "sub": ALICE_ID, "aud": "portal", "iat": 1}
    signer = await app.services["signing_keys"].signer(SigningAlgorithm.ES256)
    assert await hints.read(signer.sign(claims, typ="JWT")) is not None
    for typ in ("at+jwt", "logout+jwt", "application/at+jwt"):
        with pytest.raises(InvalidRequest):
            await hints.read(signer.sign(claims, typ=typ))
    # A signed answer of userinfo has no time.
    with pytest.raises(InvalidRequest):
        await hints.read(signer.sign({name: claims[name] for name in ("iss", "sub", "aud")}, typ="JWT"))
