"""Subject and session identifiers: the same for all clients, or one per sector (OpenID Connect Core §8)."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from idp.domain.client import Client, SubjectType


def sector_of(client: Client) -> str | None:
    """Return the client's sector identifier; None where there is no single one."""
    return sector_identifier(client.redirect_uris, client.sector_identifier_uri)


def sector_identifier(redirect_uris: Sequence[str], sector_identifier_uri: str | None) -> str | None:
    """Return the sector identifier (§8.1): the host of sector_identifier_uri, else that of all redirect URIs.

    None where there is no single one; such a client cannot have pairwise subjects.
    """
    uris = redirect_uris if sector_identifier_uri is None else (sector_identifier_uri,)
    hosts = {urlsplit(uri).hostname for uri in uris}
    return hosts.pop() if len(hosts) == 1 else None


def known_as(client: Client, id: str, *, mac: Callable[[str], str]) -> str:
    """Return the `sub` or `sid` that this client knows a user or a session by.

    `mac` is a keyed hash, another one for each of the two, so that nobody can link sectors.
    """
    if client.subject_type is SubjectType.PUBLIC:
        return id
    # By the client where there is no single sector: linking nobody is the safe failure.
    sector = sector_of(client)
    return mac(f"host:{sector}|{id}" if sector is not None else f"client:{client.client_id}|{id}")
