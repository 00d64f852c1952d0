"""Web origins (RFC 6454)."""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")


def origin_of(uri: str) -> str | None:
    """Return the origin of a web address as browsers write it (HTML Standard §7.1.1, RFC 6454 §6.2).

    None where it has none, or where browsers might read another host than we do: the text stands in headers too.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or set(parts.netloc) & {"@", "%"}:
        return None
    if "[" in parts.netloc:
        try:
            host = f"[{IPv6Address(host).compressed}]"
        except AddressValueError:
            return None
    elif _HOST_NAME.fullmatch(host) is None:
        return None
    suffix = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"
