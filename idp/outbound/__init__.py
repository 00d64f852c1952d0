"""Requests that the server itself makes, to addresses that somebody else chose: the only package that knows httpx2.

`addresses` tells which addresses are public and which others `IDP_OUTBOUND_ALLOW` names, `authorities` looks at the
certificates of `IDP_OUTBOUND_CA_FILE`. `client` asks `resolver` for the addresses of a host once and checks them;
`exchange` connects to one that passed, and reads an answer within limits of size and time. `transport` lets libraries
that speak httpx2 do so through `client`.
"""
