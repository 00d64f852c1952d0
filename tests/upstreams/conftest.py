from tests.support.evil_provider import evil, evil_server
from tests.support.github import github_server, hub
from tests.support.upstreams import mock, npm, second

__all__ = ["evil", "evil_server", "github_server", "hub", "mock", "npm", "second"]
