"""Signing keys, the data keys that protect them, and the fingerprint of the key-encryption key."""

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from idp.domain.signing_key import DataKey, Installation, SigningAlgorithm, SigningKey, SigningKeyState
from idp.store.columns import Document, Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(100), primary_key=True),
    Column("alg", OneOf(SigningAlgorithm), nullable=False),
    Column("state", OneOf(SigningKeyState), nullable=False),
    Column("public_jwk", Document, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("activated_at", Instant),
    Column("retired_at", Instant),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("purpose", String(40), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# One row, ever: whoever inserts it has chosen the key-encryption key of this database.
installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key_fingerprint", String(40), nullable=False),
    Column("created_at", Instant, nullable=False),
)

SIGNING_KEYS = Mapping(SigningKey, signing_keys)
DATA_KEYS = Mapping(DataKey, data_keys)
INSTALLATIONS = Mapping(Installation, installation)


class SigningKeys(Repository[SigningKey]):
    """Signing keys by `kid`."""

    mapping = SIGNING_KEYS


class DataKeys(Repository[DataKey]):
    """Data keys by purpose."""

    mapping = DATA_KEYS


class Installations(Repository[Installation]):
    """The one installation, under id 1."""

    mapping = INSTALLATIONS
