"""Everything durable: the only package that knows SQLAlchemy (Core, not ORM).

`columns` and `mapping` turn rows into frozen values and back; `database` opens SQLite or PostgreSQL; one module per
noun (`users`, `labs`, `clients`, `sessions`, `consents`, `interactions`, `grants`, `signing_keys`, `audit`) holds its
tables and repository; `store` bundles the repositories into `read()` and `write()`. The hot path goes through
`group_commit` (many writers, one transaction) and `coalesce` (many readers, one query). `migrate` keeps the schema.
"""
