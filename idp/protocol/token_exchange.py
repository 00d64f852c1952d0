"""Token exchange (RFC 8693): an application shows somebody's access token, and gets one for another server.

For now the other server is the API of a provider through which the person signs in here: `audience` is its issuer.
What else may be a target one day has its place beside `check_targets`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from idp.domain.client import Client
from idp.domain.consent import Consent
from idp.domain.grant import AccessToken, Grant
from idp.domain.provider import Provider
from idp.domain.resource import Resource
from idp.domain.user import User
from idp.protocol.access_token import is_live
from idp.protocol.errors import InvalidRequest, InvalidTarget
from idp.protocol.introspection import may_introspect
from idp.protocol.parameters import Parameters
from idp.protocol.scope import parse_scope, provider_scope

# §3: the only kind of token that is taken or given.
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"


class UnknownTarget(InvalidTarget):
    """The token is to be for a server that is none of the client's, whichever of it is wrong (§2.2.2)."""

    default_description = "The audience is the issuer of no provider whose API the client may use."


class UnknownSubject(InvalidRequest):
    """The token that was shown is not good enough (§2.2.2)."""

    default_description = (
        "The subject_token is unknown, expired or revoked, is no user's, or was not issued to or for this client."
    )


class ApiNotGranted(InvalidRequest):
    """The token that was shown was not made for this."""

    default_description = "The subject_token was not granted the scope for the API of this provider."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """What was asked for (§2.1); no `scope` is all that there is."""

    subject_token: str = field(repr=False)
    audience: str
    scope: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The token that was shown, with all that it hangs on; `client` is whom it was issued to."""

    token: AccessToken
    grant: Grant | None
    user: User | None
    client: Client | None
    consent: Consent | None


def read_exchange_request(params: Parameters) -> ExchangeRequest:
    """Return what a request asks for (§2.1).

    Raises:
        InvalidRequest: something is missing, or not offered (§2.2.2).
        InvalidTarget: it is for a resource, or for several servers.
        InvalidScope: the scope is malformed.
    """
    subject_token = params.get("subject_token")
    if subject_token is None:
        raise InvalidRequest("The parameter subject_token is missing.")
    if params.get("subject_token_type") != ACCESS_TOKEN_TYPE:
        raise InvalidRequest("subject_token_type must be urn:ietf:params:oauth:token-type:access_token.")
    if params.get("requested_token_type") not in {None, ACCESS_TOKEN_TYPE}:
        raise InvalidRequest("requested_token_type must be urn:ietf:params:oauth:token-type:access_token, or left out.")
    if params.get("actor_token") is not None or params.get("actor_token_type") is not None:
        raise InvalidRequest("Delegation is not offered: leave actor_token and actor_token_type out.")
    if params.get("resource") is not None:
        raise InvalidTarget("A resource is no target here: name a provider by its issuer in audience.")
    audience = params.get("audience")
    if audience is None:
        raise InvalidRequest("The parameter audience is missing.")
    # Several come joined by a space, which no issuer holds: such a text is nobody's.
    return ExchangeRequest(subject_token=subject_token, audience=audience, scope=parse_scope(params.get("scope")))


def may_use_api(client: Client, provider: Provider) -> bool:
    """Whether a client may use a provider's API in somebody's name, as both are set up now."""
    named = client.client_id in provider.api_clients and bool(provider.api_scope)
    return provider.active and named and provider_scope(provider.name) in client.scopes


def check_targets(request: ExchangeRequest, client: Client, providers: Iterable[Provider]) -> tuple[Provider, ...]:
    """Return the providers that a request may mean: more than one only where several have the same issuer.

    Raises:
        InvalidTarget: none (§2.2.2); whether there is such a provider is not told.
    """
    meant = tuple(each for each in providers if each.issuer == request.audience and may_use_api(client, each))
    if not meant:
        raise UnknownTarget
    return meant


def check_subject(
    subject: Subject, caller: Client, targets: Iterable[Provider], *, resources: Iterable[Resource], now: datetime
) -> tuple[User, Provider]:
    """Return in whose name the caller gets a token of which of the providers.

    The token counts now, is a user's, and was issued to the caller or for an API that the caller is (`resources` are
    those of its audience); the user's consent and the client that it was given to still cover the provider.

    Raises:
        InvalidRequest: it is not good enough (§2.2.2).
    """
    token, user, client = subject.token, subject.user, subject.client
    if user is None or client is None or not client.active or not is_live(token, subject.grant, user, now=now):
        raise UnknownSubject(detail="the subject token does not count")
    if not may_introspect(caller, client_id=token.client_id, resources=resources):
        raise UnknownSubject(detail="the subject token was issued neither to nor for the client")
    for provider in targets:
        scope = provider_scope(provider.name)
        consented = client.trusted or (subject.consent is not None and scope in subject.consent.scopes)
        if scope in token.scope.split() and may_use_api(client, provider) and consented:
            return user, provider
    raise ApiNotGranted


def exchange_response(access_token: str, *, expires_in: int | None, scope: str) -> dict[str, Any]:
    """Return the answer (§2.2.1); what kind of token it is, is said in two ways."""
    response = {"access_token": access_token, "issued_token_type": ACCESS_TOKEN_TYPE, "token_type": "Bearer"}
    told: dict[str, Any] = {"expires_in": expires_in, "scope": scope}
    return response | {name: value for name, value in told.items() if value not in (None, "")}
