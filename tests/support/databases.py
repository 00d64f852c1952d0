"""Which databases a test runs on, and stores beside its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from idp.store.database import Database
from idp.store.store import Store

# For variants of a behaviour that a neighbouring test shows on both: they send the databases no other statements.
one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@asynccontextmanager
async def another(url: str) -> AsyncIterator[Store]:
    """Open a second store on a database, as another process would have it."""
    store = Store(Database(url))
    try:
        yield store
    finally:
        await store.close()
