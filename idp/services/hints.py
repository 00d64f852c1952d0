"""ID tokens that come back as hints (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2)."""

from idp.crypto.jose import InvalidSignature, verify
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.errors import InvalidRequest
from idp.protocol.logout import LogoutHint, read_logout_hint
from idp.services.signing_keys import SigningKeys


class Hints:
    """Reads id_token_hints."""

    def __init__(self, signing_keys: SigningKeys, *, issuer: str) -> None:
        self._signing_keys = signing_keys
        self._issuer = issuer

    async def read(self, id_token_hint: str | None) -> LogoutHint | None:
        """Return what an id_token_hint says; None when there is none.

        Expired hints count, foreign or unsigned ones do not; keys that left JWKS are remembered for a year.

        Raises:
            InvalidRequest: it was not issued here.
        """
        if id_token_hint is None:
            return None
        keys = await self._signing_keys.verification_keys()
        try:
            verified = verify(id_token_hint, keys, algorithms=[str(alg) for alg in SigningAlgorithm])
        except InvalidSignature as error:
            raise InvalidRequest("The id_token_hint was not issued here.", detail=str(error)) from error
        if verified.header.get("typ") not in {None, "JWT"}:
            # Access and logout tokens are signed by the same keys, and are no ID tokens (RFC 8725 §3.11).
            raise InvalidRequest("The id_token_hint is not an ID token.")
        return read_logout_hint(verified.claims, issuer=self._issuer)
