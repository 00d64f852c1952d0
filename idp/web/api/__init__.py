"""The HTTP API (`/api/v1`): JSON over the same services as the pages, described by a document (OpenAPI 3.1).

`operations` lists what there is; routes and the document (`openapi`) are both made of that list. A call passes
`operation` (token, scope, strict input, refusals, CORS) and reaches a handler in `labs`, `invitations` or
`lab_grants`, which reads its input, calls one service and shows by `representations` what came of it. `problems` says
what went wrong.
"""
