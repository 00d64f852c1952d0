from tests.support.app import app, browser, installed, password_hash, seeded_url, start

__all__ = ["app", "browser", "installed", "password_hash", "seeded_url", "start"]
