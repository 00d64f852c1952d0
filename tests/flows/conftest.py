from tests.outbound.conftest import authority, serve
from tests.support.app import app, browser, installed, password_hash, seeded_url, start
from tests.support.evil_provider import evil, evil_server
from tests.support.post import post_office
from tests.support.smtp import mail_server, start_mail_server

__all__ = [
    "app",
    "authority",
    "browser",
    "evil",
    "evil_server",
    "installed",
    "mail_server",
    "password_hash",
    "post_office",
    "seeded_url",
    "serve",
    "start",
    "start_mail_server",
]
