"""The nouns: frozen values without input or output.

`user`, `credential`, `lab` and `client` are who takes part; `session`, `consent` and `interaction` are what happens in
a browser; `grant` holds what an authorization gives (grant, code, access and refresh token); `signing_key` and `audit`
serve the server itself; `claims` says what is released about a user; `clock` is where the time comes from.
"""
