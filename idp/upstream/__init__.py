"""Other providers that people sign in with: what is said to them, and what of their answers is believed.

`connector` is the protocol that each kind of provider follows. `oidc` is any OpenID provider, `google` and `orcid` are
presets of it; `github` speaks plain OAuth 2. `documents` keeps providers' metadata and keys, `circuit` remembers which
provider is down, and `probe` tests how one is set up.
"""
