"""Resource indicators (RFC 8707): which registered APIs, or this server itself, access tokens are for."""

from collections.abc import Iterable, Mapping, Sequence

from idp.domain.client import Client
from idp.domain.lab_scope import is_about_labs
from idp.domain.resource import Resource
from idp.protocol.errors import InvalidTarget
from idp.protocol.parameters import Parameters

MAX_RESOURCES = 10


def read_resources(params: Parameters) -> tuple[str, ...]:
    """Return the resources that a request names, once each, in its order (§2).

    Raises:
        InvalidTarget: there are absurdly many.
    """
    uris = tuple(dict.fromkeys(uri for uri in (params.get("resource") or "").split(" ") if uri))
    if len(uris) > MAX_RESOURCES:
        raise InvalidTarget(detail="more than ten resources")
    return uris


def check_resources(
    requested: Sequence[str], client: Client, registered: Mapping[str, Resource], *, issuer: str
) -> tuple[str, ...]:
    """Return the requested resources: this server, and APIs of which the client has a scope (§2).

    Raises:
        InvalidTarget: one is not registered, or none of its scopes is the client's; which of the two is not told.
    """
    for uri in requested:
        if not _available([uri], client, registered, issuer=issuer):
            known = "none of its scopes is the client's" if uri in registered else "it is not registered"
            raise InvalidTarget(detail=f"a resource is refused: {known}")
    return tuple(requested)


def check_granted(
    requested: Sequence[str],
    granted: Sequence[str],
    client: Client,
    registered: Mapping[str, Resource],
    *,
    issuer: str,
) -> tuple[str, ...]:
    """Return the resources of one access token: those requested, or all that were granted and are still there (§2.2).

    This server itself, which is where userinfo is, always counts as granted.

    Raises:
        InvalidTarget: one was not granted; or it was taken away meanwhile, as was all that was granted.
    """
    if not set(requested) <= {issuer, *granted}:
        raise InvalidTarget("The resource is none of those in the authorization request.")
    if requested:
        return check_resources(requested, client, registered, issuer=issuer)
    left = _available(granted, client, registered, issuer=issuer)
    if granted and not left:
        # Not a token for this server instead: whoever asked for an API would send it there.
        raise InvalidTarget("None of the resources in the authorization request is registered any more.")
    return left


def _available(
    uris: Iterable[str], client: Client, registered: Mapping[str, Resource], *, issuer: str
) -> tuple[str, ...]:
    scopes = set(client.scopes)
    return tuple(
        uri for uri in uris if uri == issuer or (uri in registered and not scopes.isdisjoint(registered[uri].scopes))
    )


def scope_for(
    audience: Sequence[str], scope: Iterable[str], registered: Mapping[str, Resource], *, issuer: str
) -> tuple[str, ...]:
    """Return what of a scope means something to an audience: an API's own scopes, and labs anywhere (§2.2).

    This server is the audience where there is none, and takes every scope: software that never heard of resources
    reads its scopes there.
    """
    if not audience or issuer in audience:
        return tuple(scope)
    meant = {name for uri in audience if uri in registered for name in registered[uri].scopes}
    return tuple(name for name in scope if name in meant or is_about_labs(name))
