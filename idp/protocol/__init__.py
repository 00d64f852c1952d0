"""The verbs: values and the time in, a decision out; no HTTP, no database.

A request to `/authorize` passes `parameters`, `request_object`, `redirect_uri`, `authorization_request` (with
`response_type`, `pkce`, `scope`, `claims_request` and `resource`) and `prompt`, which says what the user must still
do, and ends in an `authorization_response`; `subject` says by which name the client knows the user. One to `/token`
passes `client_authentication` or `client_assertion`, then its grant: `authorization_code` or `refresh_token`;
`access_token` and `id_token` say what is in the tokens. `userinfo`, `introspection` and `logout` judge what comes
later, `logout_token` and `session_state` tell of it; `registration` says what clients may say of themselves;
`initiate_login` leads to an application; `metadata` describes the server; `errors` holds every refusal, and `refusal`
says what is kept of one.
"""
