"""Request objects: what is asked of others, and what our log learns (RFC 9101)."""

import json

import pytest

from idp.domain.client import Client
from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.protocol.authorization_response import Refused
from idp.protocol.parameters import Parameters
from idp.services.client_keys import ClientKeys
from idp.services.rate_limit import RateLimits
from idp.services.request_objects import LIMIT, RequestObjects
from tests.support.assertion import compact, jwks, private_key
from tests.support.clock import FakeClock
from tests.support.factories import CLIENT_ID, ISSUER, make_authorization_params, make_client

URI = "https://portal.example.org/r.jwt"
CLIENT = make_client(jwks=jwks("key-1"), request_uris=(URI,))


class Server(Outbound):
    """A server of one document."""

    def __init__(self) -> None:
        self.answer: Fetched | OutboundError = OutboundError("https://portal.example.org cannot be reached")
        self.asked: list[tuple[str, str, int | None]] = []

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        self.asked.append((url, accept, max_bytes))
        if isinstance(self.answer, OutboundError):
            raise self.answer
        return self.answer

    def publish(self, body: str, status: int = 200) -> None:
        self.answer = Fetched(status, "text/plain", body.encode(), None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def request_objects(server: Server, clock: FakeClock) -> RequestObjects:
    limits = RateLimits({LIMIT: "3/hour"}, exempt=())
    return RequestObjects(ClientKeys(server, clock), server, limits, clock, issuer=ISSUER)


def request_object(**claims: object) -> str:
    return compact(
        {"alg": "ES256", "kid": "key-1"}, {"iss": CLIENT_ID, "aud": ISSUER, **claims}, private_key("key-1", "ES256")
    )


async def refused(request_objects: RequestObjects, client: Client = CLIENT, **params: str | None) -> Refused:
    with pytest.raises(Refused) as refusal:
        await request_objects.resolve(client, make_authorization_params(**params))
    return refusal.value


async def test_a_request_without_an_object_passes_as_it_is(request_objects: RequestObjects, server: Server) -> None:
    params = make_authorization_params()
    assert await request_objects.resolve(CLIENT, params) is params
    assert server.asked == []


async def test_a_reference_is_fetched_for_each_request_within_a_limit_of_size_rfc9101_s10_4(
    request_objects: RequestObjects, server: Server
) -> None:
    for state in ("first", "second"):
        server.publish(request_object(state=state))
        params = await request_objects.resolve(CLIENT, make_authorization_params(request_uri=URI))
        assert (params.get("state"), params.get("request_uri")) == (state, None)
    assert server.asked == [(URI, "application/oauth-authz-req+jwt", 16_384)] * 2


async def test_nobody_is_asked_for_what_is_refused_anyway(request_objects: RequestObjects, server: Server) -> None:
    sent = request_object()
    for params in ({"request_uri": "https://evil.example/r"}, {"request": sent, "request_uri": URI}):
        await refused(request_objects, **params)
    await refused(request_objects, make_client(), request_uri=URI)
    repeated = Parameters({"client_id": CLIENT_ID, "request_uri": URI}, frozenset({"request_uri"}))
    with pytest.raises(Refused):
        await request_objects.resolve(CLIENT, repeated)
    assert server.asked == []


async def test_the_log_learns_why_and_nobody_reads_what_was_sent_or_fetched(
    request_objects: RequestObjects, server: Server
) -> None:
    marks = ("leaked-secret", request_object(state="leaked-secret"))
    server.publish(f"<title>{marks[0]}</title>")
    page = await refused(request_objects, request_uri=URI)
    server.publish(marks[1], status=500)
    failure = await refused(request_objects, request_uri=URI)
    server.answer = OutboundError("https://portal.example.org cannot be reached")
    down = await refused(request_objects, request_uri=URI)
    forged = await refused(request_objects, request=marks[1][:-8] + "AAAAAAAA")
    listed = await refused(request_objects, request=request_object(state=[marks[0]]))

    assert "HTTP 500" in failure.error.detail
    assert "cannot be reached" in down.error.detail
    assert forged.error.detail == "not signed by any of the keys"
    for refusal in (page, failure, down, forged, listed):
        told = json.dumps([str(refusal), refusal.error.description, refusal.error.detail])
        assert not any(mark in told for mark in marks)
    assert [each.error.error for each in (page, failure, down, forged, listed)] == [
        *(["invalid_request_uri"] * 3),
        *(["invalid_request_object"] * 2),
    ]


async def test_nobody_has_us_ask_a_clients_server_again_and_again(
    request_objects: RequestObjects, server: Server
) -> None:
    server.publish(request_object(state="inner"))
    for _ in range(3):
        assert (await request_objects.resolve(CLIENT, make_authorization_params(request_uri=URI))).get(
            "state"
        ) == "inner"

    refusal = await refused(request_objects, request_uri=URI)

    assert refusal.error.error == "temporarily_unavailable"
    assert len(server.asked) == 3
