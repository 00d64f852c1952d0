"""How the values of settings are written; whatever is wrong is refused with a clause that says what is expected."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

_ISSUER = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"\[.*|[0-9.]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
# RFC 8141 §2, without the components that follow a name.
_URN = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,30}[a-z0-9]:(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+")
_LIMIT = re.compile(r"[1-9][0-9]{0,8}/(?:second|minute|hour|day)")


# Written where an address could stand.
OFF = "off"
_PREFIX_URL = re.compile(r"https?://[^\s?#@]+/")


def check_prefix_url(url: str) -> str:
    """Check an address that something is appended to, or `off`.

    Raises:
        ValueError: it is neither.
    """
    if url != OFF and _PREFIX_URL.fullmatch(url) is None:
        raise ValueError("must be off, or an address that ends with a slash, as in https://leaks.example.org/range/")
    return url


def parse_issuer(issuer: str) -> tuple[str, str, int]:
    """Split an issuer into scheme, host and port (OpenID Connect Discovery §2, narrowed to an origin).

    Raises:
        ValueError: it is not an origin in its canonical form, or it is plain http beyond loopback.
    """
    match = _ISSUER.fullmatch(issuer)
    if match is None:
        _, _, rest = issuer.partition("://")
        if issuer != issuer.lower():
            raise ValueError("must be in lower case")
        if rest.endswith("/") and rest.count("/") == 1:
            raise ValueError("must not end with a slash: leave it out")
        if any(mark in rest for mark in "/?#@"):
            raise ValueError("must be scheme, host and port only: leave out user, path, query and fragment")
        raise ValueError("must be an address such as https://id.example.org or http://localhost:8000")
    scheme, host, port = match.groups()
    if scheme == "http" and host not in LOOPBACK:
        raise ValueError("must use https: plain http is accepted only for localhost, 127.0.0.1 and [::1]")
    if port is not None and int(port) == _DEFAULT_PORTS[scheme]:
        raise ValueError(f"must leave out the port {port}, which {scheme} implies: browsers leave it out, too")
    if port is not None and int(port) > 65535:
        raise ValueError("must have a port of at most 65535")
    return scheme, host, int(port) if port else _DEFAULT_PORTS[scheme]


def mail_host(issuer: str) -> str:
    """Return the name under which we send mail: the issuer's host, or localhost where that is an address."""
    host = parse_issuer(issuer)[1].rstrip(".")
    return "localhost" if _ADDRESS.fullmatch(host) else host


def mail_from(service_name: str, issuer: str) -> str:
    """Return whom mail is from unless a setting says otherwise."""
    name = "".join(char for char in service_name if char.isprintable() and char not in '"<>\\')
    return f"{name.strip()} <no-reply@{mail_host(issuer)}>"


def driver_url(url: str) -> str:
    """Put the async driver into a database URL; its errors never repeat the URL, which may hold a password."""
    scheme, separator, rest = url.partition("://")
    dialect, plus, driver = scheme.partition("+")
    if not separator or dialect not in _DRIVERS or (plus and not driver):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if dialect == "sqlite":
        if not rest.startswith("/"):
            raise ValueError("needs three slashes before the file, as in sqlite:///var/idp.db")
        if rest.partition("?")[0] in {"/", "/:memory:"}:
            raise ValueError("must name a file, as in sqlite:///var/idp.db: data in memory would be lost")
    return f"{_DRIVERS[dialect].partition('+')[0]}+{driver}://{rest}" if driver else f"{_DRIVERS[dialect]}://{rest}"


def without_password(url: str) -> str:
    """Return the URL of a database or a mail server that is safe to show."""
    # Greedy up to the last @, because an unescaped password may hold one itself.
    shown = re.sub(r"(?<=://)([^:/@?]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:passw|secret)[^=&]*=)[^&]*", r"\1***", shown)


def read_items(value: object, what: str) -> list[str]:
    """The entries of a list, which is comma-separated in the environment."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"must be a list of {what}")
    return [text for item in items if (text := str(item).strip())]


def read_networks(value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read a list of addresses and networks.

    Raises:
        ValueError: it is none.
    """
    networks = []
    for item in read_items(value, "addresses and networks"):
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            if "host bits" in str(error):
                raise ValueError(f"has an address inside a network: write {ip_network(item, strict=False)}") from None
            raise ValueError("must be addresses or networks such as 10.0.0.7, 10.0.0.0/8 or fd00::/8") from None
    return tuple(networks)


def read_domains(value: object) -> tuple[str, ...]:
    """Read a list of domains in lower case, or `*`.

    Raises:
        ValueError: it is none.
    """
    domains = tuple(item.lower() for item in read_items(value, "domains"))
    if not all(domain == "*" or _DOMAIN.fullmatch(domain) for domain in domains):
        raise ValueError("must be domains such as example.org")
    return domains


def check_urn(urn: str) -> str:
    """Return a URN under which others are named as it is (RFC 8141).

    Raises:
        ValueError: it is none, or written in capitals where these mean nothing and comparing strings would miss it.
    """
    if _URN.fullmatch(urn) is None:
        raise ValueError("must be a URN such as urn:example:idp, in lower case as far as the second colon")
    if urn.endswith((":", "/")):
        raise ValueError("must not end with a colon or a slash: what is named under it follows")
    return urn


def check_limit(limit: str) -> str:
    """Return a number of requests in a span of time as it is.

    Raises:
        ValueError: it is none.
    """
    if _LIMIT.fullmatch(limit) is None:
        raise ValueError("must be a number per second, minute, hour or day, such as 20/hour")
    return limit


def written(value: object) -> str:
    """A value as it is written into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
