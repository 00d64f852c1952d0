"""A Django project with mozilla-django-oidc and with django-allauth, as docs/guides/django.md says it."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.relying_parties.clients import SECRET
from tests.relying_parties.conftest import FOLDER, World
from tests.relying_parties.guides import Guide, free_ports, running, wait_for
from tests.support.forms import FormBrowser
from tests.support.server import Provider, until

# What is tested is the application: one database is enough.
pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)

# Where signing in begins, with each of the two packages.
MOZILLA, ALLAUTH = "oidc/authenticate/", "accounts/oidc/lab-id/login/"
ROLES = {"admin": "admin", "viewer": "viewer", "leaver": "member", "none": None}
SESSION_SECONDS = 1


@pytest.fixture(scope="module")
def project(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running project that has both packages."""
    folder = tmp_path_factory.mktemp("django")
    (port,) = free_ports(1)
    url = f"http://localhost:{port}"
    guide = Guide(
        "django.md",
        {
            "https://id.example.org": world.provider.issuer,
            "https://catalogue.example.org": url,
            "env:CATALOGUE_SECRET": SECRET,
            "EXPIRY_SECONDS = 300": f"EXPIRY_SECONDS = {SESSION_SECONDS}",
        },
    )
    roles, settings, backend, urls, more_settings, adapter, more_urls = guide.examples("python")
    modules = {
        "lab_roles": roles,
        "lab_sign_in": backend,
        "lab_account": adapter,
        "settings": settings + more_settings,
        "urls": urls + more_urls,
    }
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, str(FOLDER / "django_project.py")]
    env = {"PORT": str(port), "CATALOGUE_SECRET": SECRET, "PYTHONPATH": str(folder)}
    with running(command, folder=folder, env=env):
        people = {person_of(way, who): role for way in (MOZILLA, ALLAUTH) for who, role in ROLES.items()}
        guide.register(world.provider, folder, people)
        wait_for(url, folder)
        yield f"{url}/"


def person_of(way: str, who: str) -> str:
    """A person for each package: Django would take one who comes by both for two with the same address."""
    return f"django-{who}-{way.partition('/')[0]}"


async def what_django_knows(browser: FormBrowser, project: str) -> Any:
    return json.loads((await browser.open(project)).text)


@pytest.mark.parametrize("way", [MOZILLA, ALLAUTH])
async def test_roles_become_groups_and_admins_of_the_lab_become_staff(project: str, way: str) -> None:
    async with FormBrowser() as browser:
        await browser.sign_in(project + way, person_of(way, "admin"))
        groups = ["bio:admin", "bio:member", "bio:viewer"]
        assert await what_django_knows(browser, project) == {"signed_in": True, "groups": groups, "is_staff": True}
    async with FormBrowser() as browser:
        await browser.sign_in(project + way, person_of(way, "viewer"))
        known = {"signed_in": True, "groups": ["bio:viewer"], "is_staff": False}
        assert await what_django_knows(browser, project) == known


@pytest.mark.parametrize("way", [MOZILLA, ALLAUTH])
async def test_who_has_no_role_in_the_lab_is_refused(project: str, way: str) -> None:
    async with FormBrowser() as browser:
        refused = await browser.sign_in(project + way, person_of(way, "none"))
        assert (refused.status, refused.text) == (403, "Refused; signed in: False")


async def test_whose_membership_has_ended_is_signed_out_when_lab_id_is_asked_again(
    project: str, idp: Provider, tmp_path: Path
) -> None:
    async with FormBrowser() as by_mozilla, FormBrowser() as by_allauth:
        browsers = {MOZILLA: by_mozilla, ALLAUTH: by_allauth}
        for way, browser in browsers.items():
            await browser.sign_in(project + way, person_of(way, "leaver"))
            due = time.monotonic() + SESSION_SECONDS
            assert (await what_django_knows(browser, project))["groups"] == ["bio:member", "bio:viewer"]
        ended = [{"lab": "bio", "user": person_of(way, "leaver"), "expires_at": "2020-12-31"} for way in browsers]
        (tmp_path / "ended.yaml").write_text(json.dumps({"memberships": ended}))
        idp.idp("apply", str(tmp_path / "ended.yaml"))
        until(lambda: time.monotonic() > due, seconds=10, what="the session has to be renewed")
        # django-allauth asks only when somebody signs in.
        for browser, address in ((by_mozilla, project), (by_allauth, project + ALLAUTH)):
            refused = await browser.open(address)
            assert (refused.status, refused.text) == (403, "Refused; signed in: False")
            assert not (await what_django_knows(browser, project))["signed_in"]
