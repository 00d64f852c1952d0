"""Subject and session identifiers under this installation's key (OpenID Connect Core §8.1)."""

from idp.crypto.opaque import mac
from idp.domain.client import Client
from idp.protocol.subject import known_as
from idp.services.installation import DataKeys


class Subjects:
    """Tells by which `sub` a client knows a user, and by which `sid` a session."""

    def __init__(self, keys: DataKeys) -> None:
        self._key = keys.lookup

    def of(self, client: Client, user_id: str) -> str:
        """Return the `sub`: the user's id, or the pairwise one of the client's sector."""
        return known_as(client, user_id, mac=lambda text: mac(self._key, f"pairwise-subject:{text}"))

    def sid(self, client: Client, session_id: str) -> str:
        """Return the `sid`: the session's id, or for pairwise clients their sector's, which links no subjects."""
        return known_as(client, session_id, mac=lambda text: mac(self._key, f"pairwise-session:{text}"))
