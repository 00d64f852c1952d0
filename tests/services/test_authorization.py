"""The authorization endpoint's service: stored requests, their single answer, and hints."""

import asyncio

import pytest

from idp.crypto.opaque import hash_token
from idp.domain.client import ClientStatus
from idp.protocol.authorization_response import AuthorizationResponse, Refused
from idp.protocol.parameters import Parameters
from idp.protocol.prompt import Step
from idp.protocol.redirect_uri import RedirectUriRefused
from idp.services.audit import caller_address
from idp.services.authorization import Ask, Authorization, UnknownClient
from idp.services.authorization_answer import InteractionGone
from idp.services.sessions import Accounts, SignedIn
from tests.support.app import ALICE_ID, App, Browser, Start


@pytest.fixture
def authorization(app: App) -> Authorization:
    return app.services["authorization"]


@pytest.fixture
async def alice(app: App, browser: Browser) -> SignedIn:
    await browser.sign_in()
    signed_in = await app.services["sessions"].find(browser.cookies["idp"])
    assert signed_in is not None
    return signed_in


def request(app: App, client_id: str = "trusted", **changes: str | None) -> Parameters:
    return Parameters(app.authorization_request(client_id, scope="openid", **changes))


async def test_nobody_signed_in_is_asked_to_and_the_request_waits_under_a_hashed_handle(
    app: App, authorization: Authorization
) -> None:
    params = request(app)

    asked = await authorization.start(params, Accounts(None))

    assert isinstance(asked, Ask)
    assert asked.step is Step.LOGIN
    async with app.store.read() as tx:
        (stored,) = await tx.interactions.all()
    assert (stored.hash, stored.params) == (hash_token(asked.handle), params.values)


async def test_a_network_may_have_so_many_requests_wait_and_is_told_by_redirect_rfc6749_s4_1_2_1(
    start: Start,
) -> None:
    app = await start(authorization_limit="2/hour")
    authorization: Authorization = app.services["authorization"]
    caller_address.set("192.0.2.1")
    await authorization.start(request(app), Accounts(None))
    await authorization.remember(request(app))

    for send in (
        lambda: authorization.start(request(app), Accounts(None)),
        lambda: authorization.remember(request(app)),
    ):
        with pytest.raises(Refused) as refused:
            await send()
        answer = refused.value.reply.refusal(refused.value.error)
        assert (answer.params["error"], answer.params["state"]) == ("temporarily_unavailable", "state-1")

    async with app.store.read() as tx:
        assert len(await tx.interactions.all()) == 2
    caller_address.set("198.51.100.1")
    assert isinstance(await authorization.start(request(app), Accounts(None)), Ask)


async def test_somebody_who_is_signed_in_is_not_limited(start: Start) -> None:
    app = await start(authorization_limit="1/hour")
    authorization: Authorization = app.services["authorization"]
    browser = app.browser()
    await browser.sign_in()
    accounts = Accounts(await app.services["sessions"].find(browser.cookies["idp"]))
    caller_address.set("192.0.2.1")

    asked = [await authorization.start(request(app, prompt="login"), accounts) for _ in range(3)]

    assert [type(answer) for answer in asked] == [Ask] * 3


async def test_a_request_that_needs_nothing_is_answered_without_being_stored(
    app: App, authorization: Authorization, alice: SignedIn
) -> None:
    answer = await authorization.start(request(app), Accounts(alice))

    assert isinstance(answer, AuthorizationResponse)
    async with app.store.read() as tx:
        assert await tx.interactions.all() == []
        (code,) = await tx.authorization_codes.all()
        (grant,) = await tx.grants.all()
    assert code.hash == hash_token(answer.params["code"])
    assert (grant.user_id, grant.client_id, grant.session_id) == (ALICE_ID, "trusted", alice.session.id)


async def test_eight_continuations_of_one_request_give_one_code(
    app: App, authorization: Authorization, alice: SignedIn
) -> None:
    handle = await authorization.remember(request(app))

    results = await asyncio.gather(
        *(authorization.resume(handle, Accounts(alice)) for _ in range(8)), return_exceptions=True
    )

    assert [type(result) for result in results].count(AuthorizationResponse) == 1
    assert [type(result) for result in results].count(InteractionGone) == 7
    async with app.store.read() as tx:
        assert len(await tx.authorization_codes.all()) == 1
        assert len(await tx.grants.all()) == 1


@pytest.mark.parametrize("handle", ["", "unknown", "\x00", "\udcff", "x" * 9000])
async def test_an_unknown_handle_is_gone(authorization: Authorization, handle: str) -> None:
    with pytest.raises(InteractionGone):
        await authorization.resume(handle, Accounts(None))


async def test_a_stored_request_expires(app: App, authorization: Authorization, alice: SignedIn) -> None:
    handle = await authorization.remember(request(app))
    app.clock.advance(seconds=3599)
    assert await authorization.pending(handle)
    app.clock.advance(seconds=1)

    with pytest.raises(InteractionGone):
        await authorization.pending(handle)


async def test_a_stored_request_is_checked_against_the_client_as_it_is_now(
    app: App, authorization: Authorization, alice: SignedIn
) -> None:
    handle = await authorization.remember(request(app))
    await app.change("clients", ["trusted"], response_types=())
    with pytest.raises(Refused) as refused:
        await authorization.resume(handle, Accounts(alice))
    assert refused.value.error.error == "unauthorized_client"

    await app.change("clients", ["trusted"], redirect_uris=())
    with pytest.raises(RedirectUriRefused):
        await authorization.resume(handle, Accounts(alice))

    await app.change("clients", ["trusted"], status=ClientStatus.DISABLED)
    with pytest.raises(UnknownClient):
        await authorization.resume(handle, Accounts(alice))
