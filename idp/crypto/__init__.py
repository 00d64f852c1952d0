"""Secrets and signatures, behind functions that cannot be used wrongly.

`opaque` mints random tokens and hashes them for the database; `envelope` seals what must be readable again, under
the key that `key_file` reads; `jose` signs and verifies tokens and knows their keys; `jwe` encrypts them;
`password` hashes passwords without blocking the loop.
Nothing here knows the store or HTTP, and no secret is ever part of an exception's text.
"""
