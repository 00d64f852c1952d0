"""The nouns: frozen values without input or output.

`user`, `credential`, `lab`, `client` and `resource` are who takes part; `session`, `consent` and `interaction` are
what happens in a browser; `origin` says where web pages come from; `grant` holds what an authorization gives (grant,
code, access and refresh token); `registration` and `logo` belong to clients; `logout` is what clients are told at its
end, `refusal` what went wrong before; `signing_key`, `seen_token`, `one_time_link` and `audit` serve the server
itself; `claims` says what is released about a user; `clock` is where the time comes from.
"""
