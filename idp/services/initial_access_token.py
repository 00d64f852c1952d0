"""Initial access tokens (RFC 7591 §1.2): an administrator lets somebody register clients for a while."""

from dataclasses import replace
from datetime import timedelta

from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.registration import InitialAccessToken
from idp.services.audit import audit_event
from idp.services.input import Input, Text
from idp.store.errors import NotFound
from idp.store.store import Store


class InitialAccessTokenInput(Input):
    """What an administrator says about a token: who has it."""

    note: Text


class InitialAccessTokens:
    """Makes, lists and revokes them; whoever presents one is `idp.services.registration`'s."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, note: str, *, lifetime: timedelta, actor: str) -> tuple[InitialAccessToken, str]:
        """Make a token and return it with its text, which is told this once.

        Raises:
            InputRefused: the note is empty, too long, or holds control characters.
        """
        given = InitialAccessTokenInput.read({"note": note})
        text = mint_token()
        now = self._clock()
        token = InitialAccessToken(
            hash=hash_token(text), id=mint_id("iat"), note=given.note, created_at=now, expires_at=now + lifetime
        )
        created = AuditAction.INITIAL_ACCESS_TOKEN_CREATED
        async with self._store.write() as tx:
            await tx.initial_access_tokens.add(token)
            await tx.audit_events.add(audit_event(created, actor=actor, target=token.id, now=now, note=token.note))
        return token, text

    async def all(self) -> list[InitialAccessToken]:
        """Return every token, the newest first, also those that count no more but were not swept yet."""
        async with self._store.read() as tx:
            tokens = await tx.initial_access_tokens.all()
        return sorted(tokens, key=lambda token: token.created_at, reverse=True)

    async def revoke(self, id: str, *, actor: str) -> InitialAccessToken:
        """Revoke a token; what was registered with it stays.

        Raises:
            NotFound: there is no such token.
        """
        async with self._store.write() as tx:
            token = await tx.initial_access_tokens.find_by_id(id)
            if token is None:
                raise NotFound(f"there is no initial access token {id}")
            if token.revoked_at is not None:
                return token
            now = self._clock()
            token = replace(token, revoked_at=now)
            await tx.initial_access_tokens.save(token)
            revoked = AuditAction.INITIAL_ACCESS_TOKEN_REVOKED
            await tx.audit_events.add(audit_event(revoked, actor=actor, target=token.id, now=now, note=token.note))
        return token
