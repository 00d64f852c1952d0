"""Endpoints of OAuth 2.0 and OpenID Connect; `wellknown` serves metadata and keys as prebuilt bytes."""
