"""Resource indicators (RFC 8707): the only resource here so far is this server itself."""

from idp.protocol.errors import InvalidTarget
from idp.protocol.parameters import Parameters


def check_resource(params: Parameters, *, issuer: str) -> None:
    """Check that nothing but this server is asked for (§2): another audience silently left out would mislead.

    Raises:
        InvalidTarget: another resource was named.
    """
    if any(resource != issuer for resource in (params.get("resource") or "").split(" ") if resource):
        raise InvalidTarget
