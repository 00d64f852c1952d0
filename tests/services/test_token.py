"""The token endpoint's shared phases: no grant can forget them, and each refusal is counted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import pytest

from idp.domain.client import Client, GrantType
from idp.observe.metrics import Metrics
from idp.protocol.errors import InvalidClient, InvalidRequest, OAuthError, UnauthorizedClient, UnsupportedGrantType
from idp.protocol.parameters import Parameters
from idp.services.token import GrantContext, TokenService
from tests.support.app import App, basic, parameters, secret_of


class Recording:
    """A grant that only tells whom it was asked for."""

    grant_type: ClassVar[GrantType] = GrantType.CLIENT_CREDENTIALS

    def __init__(self, context: GrantContext | None = None) -> None:
        self.asked: list[tuple[str, datetime]] = []

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        self.asked.append((client.client_id, now))
        return {"access_token": "token"}


@pytest.fixture
def grant() -> Recording:
    return Recording()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def service(app: App, grant: Recording, metrics: Metrics) -> TokenService:
    return TokenService(app.services["client_authentication"], [grant], app.clock, metrics)


ROBOT = basic("robot", secret_of("robot"))["Authorization"]


async def test_the_grant_gets_the_authenticated_client_and_the_time(
    service: TokenService, grant: Recording, metrics: Metrics, app: App
) -> None:
    response = await service.issue(ROBOT, parameters(grant_type="client_credentials"))

    assert response == {"access_token": "token"}
    assert grant.asked == [("robot", app.clock())]
    assert 'idp_tokens_issued_total{grant_type="client_credentials"} 1.0' in metrics.render()[0].decode()


@pytest.mark.parametrize(
    ("authorization", "params", "error"),
    [
        (ROBOT, parameters(), InvalidRequest),
        (ROBOT, Parameters({"grant_type": "client_credentials"}, frozenset({"scope"})), InvalidRequest),
        (None, parameters(grant_type="client_credentials"), InvalidClient),
        (basic("robot", "wrong")["Authorization"], parameters(grant_type="client_credentials"), InvalidClient),
        (ROBOT, parameters(grant_type="made-up"), UnsupportedGrantType),
        (None, parameters(grant_type="client_credentials", client_id="spa"), UnauthorizedClient),
        # Who does not authenticate does not learn which grants there are.
        (None, parameters(grant_type="made-up"), InvalidClient),
    ],
)
async def test_a_refusal_never_reaches_the_grant_and_is_counted(
    service: TokenService,
    grant: Recording,
    metrics: Metrics,
    authorization: str | None,
    params: Parameters,
    error: type[OAuthError],
) -> None:
    with pytest.raises(error):
        await service.issue(authorization, params)

    assert grant.asked == []
    text = metrics.render()[0].decode()
    assert f'idp_tokens_refused_total{{error="{error.error}"' in text
    assert "made-up" not in text
