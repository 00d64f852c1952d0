"""Encrypting answers to a client's own keys (OpenID Connect Core §10.2)."""

from idp.crypto.jwe import CannotEncrypt, encrypt
from idp.domain.client import Client
from idp.protocol.errors import ServerError
from idp.services.client_keys import ClientKeys, KeysUnavailable


class ClientEncryption:
    """Encrypts ID tokens and UserInfo answers for clients that registered for it."""

    def __init__(self, client_keys: ClientKeys) -> None:
        self._client_keys = client_keys

    async def id_token(self, client: Client, token: str) -> str:
        """Return the ID token as the client wants it: encrypted, or as it is.

        Raises:
            ServerError: the client's keys cannot be had, or none fits.
        """
        alg, enc = client.id_token_encrypted_response_alg, client.id_token_encrypted_response_enc
        return await self._encrypt(client, token, alg, enc, signed=True)

    async def userinfo(self, client: Client, answer: str, *, signed: bool) -> str:
        """Return the UserInfo answer as the client wants it; `signed` says that it is a JWT and not plain JSON.

        Raises:
            ServerError: as for `id_token`.
        """
        alg, enc = client.userinfo_encrypted_response_alg, client.userinfo_encrypted_response_enc
        return await self._encrypt(client, answer, alg, enc, signed=signed)

    async def _encrypt(self, client: Client, token: str, alg: str | None, enc: str | None, *, signed: bool) -> str:
        if alg is None or enc is None:
            return token
        try:
            keys = await self._client_keys.all(client)
            return encrypt(token, keys, alg=alg, enc=enc, cty="JWT" if signed else "application/json")
        except (KeysUnavailable, CannotEncrypt) as error:
            raise ServerError(
                "The answer cannot be encrypted: the client's key set cannot be had, or holds no key for it.",
                detail=str(error),
            ) from error
