"""Use cases: each owns its transaction and serves page, API and CLI alike.

`installation` opens the keys of a store and `signing_keys` keeps the ring that signs. `clients` finds and caches
clients, which prove themselves to `client_authentication`; `client_keys` are registered or fetched, and
`client_encryption` encrypts to them. `authorization` carries a browser through `/authorize` with `request_objects`,
`hints`, `login`, `sessions` and `consent`, up to `authorization_answer`; `token` with one module per grant
(`authorization_code`, `refresh_token`, `client_credentials`) answers `/token`; `token_issuer` makes the tokens of both,
for `subjects` and `resources`. `userinfo`, `introspection`, `revocation` and `logout` are the other endpoints, and
`backchannel_logout` tells applications of each end. `registration` lets clients register themselves, where an
`initial_access_token` or nothing is asked for, within a `rate_limit` for `networks`. `applications` are those that
somebody uses, `logos` their pictures. `accounts`, `labs`, `client_input` (of `client_fields`), `apply` (of
`apply_file`, `apply_plan` and `apply_advice`) and `export` administer; `setup` makes the first super_admin; `audit`
builds events; `refusals` keeps why something was refused; `jobs` runs `sweep`, which deletes what has expired.
"""
