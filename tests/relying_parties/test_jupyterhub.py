"""JupyterHub with GenericOAuthenticator, both from PyPI, set up as docs/guides/jupyterhub.md says it."""

import secrets
import sys
from collections.abc import Iterator

import pytest

from tests.prerequisites import find_node
from tests.relying_parties.clients import SECRET
from tests.relying_parties.conftest import FOLDER, World
from tests.relying_parties.guides import Guide, free_ports, running, wait_for
from tests.support.forms import FormBrowser, Page
from tests.support.server import Provider

# What is tested is the application: one database is enough.
pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)

ROLES = {"admin": "admin", "member": "member", "leaver": "member", "viewer": "viewer", "none": None}
EVERY_REQUEST = -1
# The proxy runs by itself, as on Kubernetes: so the two start at the same time.
CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.spawner_class = "simple"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
"""


@pytest.fixture(scope="module")
def hub(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running JupyterHub."""
    folder = tmp_path_factory.mktemp("jupyterhub")
    port, api_port, hub_port = free_ports(3)
    url = f"http://localhost:{port}"
    guide = Guide(
        "jupyterhub.md",
        {
            "https://id.example.org": world.provider.issuer,
            "https://hub.example.org": url,
            "env:JUPYTERHUB_SECRET": SECRET,
            "auth_refresh_age = 60": f"auth_refresh_age = {EVERY_REQUEST}",
        },
    )
    config = [*guide.examples("python"), CONFIG.format(port=port, api_port=api_port, hub_port=hub_port)]
    (folder / "jupyterhub_config.py").write_text("\n".join(config))
    env = {
        "JUPYTERHUB_SECRET": SECRET,
        "JUPYTERHUB_CRYPT_KEY": secrets.token_hex(32),
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
    }
    node = find_node()
    assert node is not None, "tests/prerequisites.py test installs Node"
    proxy = [node, str(FOLDER / "node_modules/configurable-http-proxy/bin/configurable-http-proxy")]
    proxy += ["--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={api_port}"]
    with running(proxy, [sys.executable, "-m", "jupyterhub"], folder=folder, env=env):
        guide.register(world.provider, folder, {person_of(who): role for who, role in ROLES.items()})
        wait_for(f"{url}/hub/health", folder)
        yield url


def person_of(who: str) -> str:
    return f"hub-{who}"


async def sign_in(browser: FormBrowser, hub: str, who: str) -> Page:
    return await browser.sign_in(f"{hub}/hub/oauth_login?next=/hub/home", person_of(who))


async def test_a_member_comes_in_and_does_not_administer_the_hub(hub: str) -> None:
    async with FormBrowser() as browser:
        home = await sign_in(browser, hub, "member")
        assert (home.url, home.status) == (f"{hub}/hub/home", 200)
        assert (await browser.open(f"{hub}/hub/admin")).status == 403


async def test_an_admin_of_the_lab_administers_the_hub(hub: str) -> None:
    async with FormBrowser() as browser:
        assert (await sign_in(browser, hub, "admin")).status == 200
        assert (await browser.open(f"{hub}/hub/admin")).status == 200


@pytest.mark.parametrize("who", ["viewer", "none"])
async def test_who_is_no_member_is_refused(hub: str, who: str) -> None:
    async with FormBrowser() as browser:
        refused = await sign_in(browser, hub, who)
        assert refused.status == 403
        assert "you are not currently authorized to use this hub" in refused.text
        assert (await browser.open(f"{hub}/hub/home")).url.startswith(f"{hub}/hub/login")


async def test_whose_membership_ends_while_signed_in_is_sent_out_and_refused(hub: str, idp: Provider) -> None:
    async with FormBrowser() as browser:
        assert (await sign_in(browser, hub, "leaver")).status == 200
        idp.idp("lab", "remove-member", "bio", person_of("leaver"))
        assert (await browser.open(f"{hub}/hub/home")).url.startswith(f"{hub}/hub/login")
        assert (await browser.open(f"{hub}/hub/oauth_login")).status == 403
