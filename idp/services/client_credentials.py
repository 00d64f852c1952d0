"""Client credentials grant (RFC 6749 §4.4): a service acts for itself, and gets no refresh token."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from idp.domain.client import Client, GrantType
from idp.domain.lab import LabMembership, LabStatus
from idp.domain.lab_scope import is_about_labs
from idp.protocol.errors import UnauthorizedClient
from idp.protocol.parameters import Parameters
from idp.protocol.resource import check_resources, read_resources
from idp.protocol.scope import check_client_scope, parse_scope
from idp.services.token import GrantContext


class ClientCredentialsGrant:
    """Issues an access token whose subject is the client."""

    grant_type: ClassVar[GrantType] = GrantType.CLIENT_CREDENTIALS

    def __init__(self, context: GrantContext) -> None:
        self._store = context.store
        self._issuer = context.issuer
        self._resources = context.resources

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        """Return the token response (RFC 6749 §4.4.3).

        Raises:
            UnauthorizedClient: the client keeps no secret (§4.4).
            InvalidScope: nothing of the requested scope is available to a service, or a lab that it names is not.
            InvalidTarget: a resource is not registered, or not available to the client.
        """
        if client.public:
            raise UnauthorizedClient
        held: Sequence[LabMembership] = ()
        if any(map(is_about_labs, parse_scope(params.get("scope")))):
            given = await self._store.find_lab_grants(client.client_id)
            held = [each for each in given if each.lab.status is LabStatus.ACTIVE and each.membership.valid(now=now)]
        scope = check_client_scope(client, params.get("scope"), held)
        asked = read_resources(params)
        known = await self._resources.find_all(asked)
        audience = check_resources(asked, client, known, issuer=self._issuer.issuer)
        issued = await self._issuer.access_token(client, None, scope, audience=audience, held=held, now=now)
        await self._store.commit.append(issued.row)
        return issued.response(now=now)
