"""Subject identifiers (OpenID Connect Core §8): the same for all clients, or one per sector."""

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


def subject(client: Client, user_id: str, *, mac: Callable[[str], str]) -> str:
    """Return the `sub` that this client knows a user by; `mac` is a keyed hash, so that nobody can link sectors."""
    if client.subject_type is SubjectType.PUBLIC:
        return user_id
    # By the client where there is no single sector: linking nobody is the safe failure.
    sector = sector_of(client)
    return mac(f"host:{sector}|{user_id}" if sector is not None else f"client:{client.client_id}|{user_id}")
