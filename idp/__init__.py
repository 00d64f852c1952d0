"""Lab ID: an OAuth 2.0 / OpenID Connect identity provider for research labs.

A request enters at `web`, which calls one of `services`; that asks `protocol` to decide over values of `domain`,
saves through `store`, and `web` renders the answer. `crypto` and `observe` serve all of them, `app` wires them
together and `cli` starts them. `features` lists every specification that is switched on.
"""

__version__ = "0.1.0"
