"""Use cases: each owns its transaction and serves page, API and CLI alike.

`installation` opens the keys of a store and `signing_keys` keeps the ring that signs. `clients` finds and caches
clients, which prove themselves to `client_authentication`; `client_keys` are registered or fetched. `authorization`,
`login` and `sessions` carry a browser through `/authorize`; `token` with one module per grant (`authorization_code`,
`refresh_token`, `client_credentials`) and `token_issuer` answer `/token`; `userinfo`, `introspection`, `revocation` and
`logout` are the other endpoints, and `backchannel_logout` tells applications of each end. `applications` are those that
somebody uses, `logos` their pictures. `accounts`, `labs`, `client_input` (of `client_fields`), `resources`, `apply` (of
`apply_file` and `apply_plan`) and `export` administer; `setup` makes the first super_admin; `audit` builds events;
`refusals` keeps why something was refused; `jobs` runs `sweep`, which deletes what has expired.
"""
