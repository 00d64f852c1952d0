"""Login initiated by a third party, which is us: a link that starts a sign-in at the application (OIDC Core §4)."""

from idp.domain.client import Client
from idp.protocol.authorization_response import with_query


def initiate_login_address(client: Client, *, issuer: str) -> str | None:
    """Return where an application starts a sign-in of its own; None where it registered no such address.

    Who signs in is not told (`login_hint`): the application learns that from the ID token, and with the user's consent.
    """
    if not client.active or client.initiate_login_uri is None:
        return None
    return with_query(client.initiate_login_uri, {"iss": issuer})
