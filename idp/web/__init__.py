"""HTTP: the only package besides the composition root and the demo that knows Starlette.

A request passes `middleware.edge` (request id, security headers, metrics, log), the prebuilt answers of
`oauth.wellknown`, then `direct` or the routing table. `oauth` holds the protocol's endpoints, `api` the API; `login`,
`select_account`, `consent`, `home`, `account` and `setup` are pages for people, with what `application` says of one
and the pictures of `logo`; `health` is for machines that watch. `endpoint` turns refusals into answers, `errors`
renders them, `explain` shows their reasons, `forms` reads what was sent, `cookies` keeps the session and protects
forms, `cors` lets browser applications in, `pages` renders templates, `services` lists what handlers get.
"""
