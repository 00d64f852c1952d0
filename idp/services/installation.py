"""Opening a store's keys: the key-encryption key, and the data keys that it wraps.

The key-encryption key is created only by whoever inserts its fingerprint into an empty database, so that a second node
cannot make its own; any mismatch refuses to start and names the fingerprint that is needed.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_bytes

from idp.crypto.envelope import CannotUnseal, fingerprint, seal, unseal
from idp.crypto.key_file import KEY_FILE_NAME, create_key, load_key, parse_key
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.signing_key import DataKey, Installation
from idp.services.audit import audit_event
from idp.store.errors import Conflict, UnknownOutcome
from idp.store.store import Store

_PURPOSES = ("lookup", "refresh", "csrf", "seal")


class WrongKey(Exception):
    """The key-encryption key is missing or not this database's; the text says which one is needed."""


@dataclass(frozen=True, slots=True, repr=False)
class DataKeys:
    """Keys by purpose: HMAC of short secrets, refresh successors, form tokens, and AES-GCM of what is read again."""

    lookup: bytes
    refresh: bytes
    csrf: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the key-encryption key comes from: the environment's value, else a file in `keys_dir`."""

    keys_dir: Path
    environment: str | None = None

    def load(self) -> bytes | None:
        """Return the key, or None when there is none yet.

        Raises:
            KeyFileError: what is there cannot be used.
        """
        return parse_key(self.environment) if self.environment is not None else load_key(self.keys_dir)

    @property
    def name(self) -> str:
        """Where an operator has to put the key."""
        return "IDP_KEY_ENCRYPTION_KEY" if self.environment is not None else str(self.keys_dir / KEY_FILE_NAME)


async def open_keys(store: Store, source: KeySource, clock: Clock, *, create: bool) -> DataKeys:
    """Return the data keys; with `create`, an empty database gets them, and a key-encryption key where there is none.

    Raises:
        WrongKey: the database belongs to another key-encryption key, or to none yet and `create` is off.
        KeyFileError: the key file cannot be read or written.
    """
    async with store.read() as tx:
        installation = await tx.installations.find(1)
    if installation is None:
        if not create:
            raise WrongKey("the database has no keys yet: run `idp init`")
        try:
            return await _create(store, source, clock)
        except Conflict:
            # Another node was first; its key counts.
            async with store.read() as tx:
                installation = await tx.installations.get(1)
    key = _require(source, installation)
    async with store.read() as tx:
        return _unwrap(key, await tx.data_keys.all())


async def _create(store: Store, source: KeySource, clock: Clock) -> DataKeys:
    now = clock()
    async with store.write() as tx:
        # Raises Conflict when another node was first, and then no key file is written.
        await tx.installations.add(Installation(key_fingerprint="", created_at=now))
        key = source.load() or create_key(source.keys_dir)
        await tx.installations.save(Installation(key_fingerprint=fingerprint(key), created_at=now))
        keys = {purpose: token_bytes(32) for purpose in _PURPOSES}
        for purpose, data_key in keys.items():
            await tx.data_keys.add(DataKey(purpose=purpose, wrapped=_wrap(key, purpose, data_key), created_at=now))
    return DataKeys(**keys)


def _require(source: KeySource, installation: Installation) -> bytes:
    key = source.load()
    needed = installation.key_fingerprint
    if key is None:
        raise WrongKey(
            f"the key-encryption key of this database is missing: put the key with fingerprint {needed} into "
            f"{source.name}, or its text into IDP_KEY_ENCRYPTION_KEY; without it nothing sealed can be read"
        )
    if fingerprint(key) != needed:
        raise WrongKey(
            f"the key in {source.name} has fingerprint {fingerprint(key)}, this database needs {needed}: "
            "put that key there, or name the right database in IDP_DATABASE_URL"
        )
    return key


def _wrap(key: bytes, purpose: str, data_key: bytes) -> bytes:
    return seal(key, data_key, associated=f"data-key:{purpose}")


def _unwrap(key: bytes, rows: list[DataKey]) -> DataKeys:
    try:
        keys = {row.purpose: unseal(key, row.wrapped, associated=f"data-key:{row.purpose}") for row in rows}
        return DataKeys(**{purpose: keys[purpose] for purpose in _PURPOSES})
    except (CannotUnseal, KeyError) as error:
        raise WrongKey("the data keys in the database are damaged: restore a backup") from error


async def rewrap(store: Store, source: KeySource, clock: Clock) -> tuple[str, str]:
    """Give the database a new key-encryption key and return both fingerprints, old and new.

    The old file is kept beside the new one, named by its fingerprint: backups of the database need it.

    Raises:
        WrongKey: the present key is not this database's, or comes from the environment, which we cannot change.
    """
    if source.environment is not None:
        raise WrongKey("IDP_KEY_ENCRYPTION_KEY is set: unset it, put the key into a file in IDP_KEYS_DIR, then rewrap")
    present = source.keys_dir / KEY_FILE_NAME
    kept: Path | None = None
    try:
        async with store.write() as tx:
            installation = await tx.installations.lock(1)
            old = _require(source, installation)
            rows = await tx.data_keys.all()
            keys = _unwrap(old, rows)
            kept = present.rename(present.with_name(f"{KEY_FILE_NAME}.{fingerprint(old)}"))
            new = create_key(source.keys_dir)
            for row in rows:
                await tx.data_keys.save(replace(row, wrapped=_wrap(new, row.purpose, getattr(keys, row.purpose))))
            await tx.installations.save(replace(installation, key_fingerprint=fingerprint(new)))
            event = audit_event(AuditAction.KEYS_REWRAPPED, actor="cli", target=fingerprint(new), now=clock())
            await tx.audit_events.add(event)
    except UnknownOutcome:
        # Either key may be the right one now: both stay, and the next start names the fingerprint that is needed.
        raise
    except BaseException:
        if kept is not None:
            kept.rename(present)
        raise
    return fingerprint(old), fingerprint(new)
