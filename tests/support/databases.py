"""Which databases a test runs on."""

import pytest

# For variants of a behaviour that a neighbouring test shows on both: they send the databases no other statements.
one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
