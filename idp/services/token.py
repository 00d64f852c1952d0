"""The token endpoint (RFC 6749 §3.2): shared phases here, each grant brings its own part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

from idp.domain.client import Client, GrantType
from idp.domain.clock import Clock
from idp.observe.metrics import Metrics
from idp.protocol.errors import OAuthError, UnauthorizedClient, UnsupportedGrantType
from idp.protocol.parameters import Parameters
from idp.services.client_authentication import ClientAuthentication
from idp.services.installation import DataKeys
from idp.services.resources import Resources
from idp.services.token_issuer import TokenIssuer
from idp.store.store import Store


@dataclass(frozen=True, slots=True)
class GrantContext:
    """What grants work with."""

    store: Store
    issuer: TokenIssuer
    keys: DataKeys
    resources: Resources


class GrantHandler(Protocol):
    """One grant's own part: what it needs from the request, and what it gives; made from a `GrantContext`."""

    grant_type: ClassVar[GrantType]

    def __init__(self, context: GrantContext) -> None: ...

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        """Return the token response (RFC 6749 §5.1).

        Raises:
            OAuthError: the request is refused.
        """
        ...


class TokenService:
    """Authenticates the client and hands the request to its grant."""

    def __init__(
        self,
        authentication: ClientAuthentication,
        grants: Sequence[GrantHandler],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._authentication = authentication
        self._grants = {str(grant.grant_type): grant for grant in grants}
        self._clock = clock
        self._metrics = metrics

    async def issue(self, authorization: str | None, params: Parameters) -> Mapping[str, Any]:
        """Return the token response.

        Raises:
            OAuthError: the request is refused (RFC 6749 §5.2).
        """
        grant_type = params.get("grant_type") or ""
        try:
            params.check_single()
            params.require("grant_type")
            client = await self._authentication.authenticate(authorization, params)
            grant = self._grants.get(grant_type)
            if grant is None:
                raise UnsupportedGrantType
            if grant.grant_type not in client.grant_types:
                raise UnauthorizedClient
            response = await grant.issue(client, params, now=self._clock())
        except OAuthError as error:
            self._metrics.token_refused(grant_type, error.error)
            raise
        self._metrics.token_issued(grant_type)
        return response
