"""Subject identifiers under this installation's key (OpenID Connect Core §8.1)."""

from idp.crypto.opaque import mac
from idp.domain.client import Client
from idp.protocol.subject import subject
from idp.services.installation import DataKeys


class Subjects:
    """Tells by which `sub` a client knows a user."""

    def __init__(self, keys: DataKeys) -> None:
        self._key = keys.lookup

    def of(self, client: Client, user_id: str) -> str:
        """Return the `sub`: the user's id, or the pairwise one of the client's sector."""
        return subject(client, user_id, mac=lambda text: mac(self._key, f"pairwise-subject:{text}"))
