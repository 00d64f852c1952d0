"""Request objects (RFC 9101, OpenID Connect Core §6): fetched where they are given by reference, and verified."""

from idp.crypto.jose import InvalidSignature, Verified, read_unverified, verify_unsecured
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.outbound.client import Outbound, OutboundError
from idp.protocol.authorization_request import MAX_REQUEST_CHARS, reply_address
from idp.protocol.authorization_response import Refused
from idp.protocol.errors import (
    InvalidRequest,
    InvalidRequestObject,
    InvalidRequestUri,
    OAuthError,
    TemporarilyUnavailable,
)
from idp.protocol.parameters import Parameters
from idp.protocol.request_object import (
    UNSIGNED,
    accepted_algorithms,
    check_present,
    check_request_uri,
    check_type,
    merge,
)
from idp.services.audit import caller_address
from idp.services.client_keys import ClientKeys, KeysUnavailable
from idp.services.rate_limit import RateLimits, TooManyRequests

LIMIT = "request_uri"
_NAMES = frozenset({"request", "request_uri"})


class RequestObjects:
    """Turns a request with a request object into the parameters that count."""

    def __init__(
        self, client_keys: ClientKeys, outbound: Outbound, rate_limits: RateLimits, clock: Clock, *, issuer: str
    ) -> None:
        self._client_keys = client_keys
        self._outbound = outbound
        self._rate_limits = rate_limits
        self._clock = clock
        self._issuer = issuer

    async def resolve(self, client: Client, params: Parameters) -> Parameters:
        """Return the parameters that count: `params` itself where it holds no request object.

        Raises:
            Refused: the object does not count; answered where the parameters beside it say.
            RedirectUriRefused: there is nowhere safe to answer to.
        """
        try:
            check_present(client, params)
            if params.repeated & _NAMES:
                raise InvalidRequest("A parameter was sent more than once.")
            token = params.get("request") or await self._fetch(client, params.get("request_uri"))
            if token is None:
                return params
            verified = await self._verify(client, token, params.get("request_uri"))
            return merge(client, params, verified.claims, issuer=self._issuer, now=self._clock())
        except OAuthError as error:
            raise Refused(reply_address(client, params, issuer=self._issuer), error) from error

    async def _fetch(self, client: Client, request_uri: str | None) -> str | None:
        if request_uri is None:
            return None
        check_request_uri(client, request_uri)
        try:
            # Anybody can send this request, and each makes us ask the client's server.
            await self._rate_limits.hit(LIMIT, caller_address.get())
            fetched = await self._outbound.get(
                request_uri, accept="application/oauth-authz-req+jwt", max_bytes=MAX_REQUEST_CHARS
            )
        except TooManyRequests as error:
            raise TemporarilyUnavailable(detail=str(error)) from error
        except OutboundError as error:
            raise InvalidRequestUri("The request_uri could not be fetched.", detail=str(error)) from error
        if fetched.status != 200:
            raise InvalidRequestUri("The request_uri could not be fetched.", detail=f"HTTP {fetched.status}")
        token = fetched.body.decode("ascii", "replace").strip()
        try:
            read_unverified(token)
        except InvalidSignature:
            # OpenID Connect Core §3.1.2.6: invalid data, such as a page.
            raise InvalidRequestUri("What the request_uri refers to is no request object.") from None
        return token

    async def _verify(self, client: Client, token: str, request_uri: str | None) -> Verified:
        try:
            header = read_unverified(token).header
            algorithms = accepted_algorithms(client, header.get("alg"), request_uri=request_uri)
            check_type(header)
            if algorithms == (UNSIGNED,):
                return verify_unsecured(token)
            return await self._client_keys.verify(client, token, algorithms=algorithms)
        except InvalidSignature as error:
            raise InvalidRequestObject(detail=str(error)) from error
        except KeysUnavailable as error:
            raise InvalidRequestObject("The keys of the client could not be had.", detail=str(error)) from error
