from tests.outbound.conftest import authority, serve
from tests.support.app import app, browser, installed, password_hash, seeded_url, start

__all__ = ["app", "authority", "browser", "installed", "password_hash", "seeded_url", "serve", "start"]
