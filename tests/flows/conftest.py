from tests.outbound.conftest import authority, serve
from tests.support.app import app, browser, installed, password_hash, seeded_url, start
from tests.support.evil_provider import evil, evil_server

__all__ = [
    "app",
    "authority",
    "browser",
    "evil",
    "evil_server",
    "installed",
    "password_hash",
    "seeded_url",
    "serve",
    "start",
]
