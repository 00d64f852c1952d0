"""The setup test of a provider: what is told of our side, and that the provider's side is asked as it is now."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind, ProviderStatus
from idp.domain.sign_up import SignUpPolicy
from idp.domain.user import AdminRole
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Outbound
from idp.services.installation import DataKeys
from idp.services.provider_input import set_provider_status
from idp.services.provider_test import ProviderTest, may_test, provider_states
from idp.services.providers import GoogleSettings, Providers, seal_secret
from idp.services.sign_up import SignUp
from idp.store.errors import NotFound
from idp.store.store import Store
from idp.upstream.connector import Finding
from tests.support.clock import START, FakeClock
from tests.support.evil_provider import EvilProvider, evil_provider
from tests.support.factories import ISSUER, make_linked_account, make_provider, make_user

KEYS = DataKeys(lookup=b"l" * 32, refresh=b"r" * 32, csrf=b"c" * 32, seal=b"s" * 32)
LOOPBACK = "http://localhost:8000"


@pytest.fixture(scope="module")
def _server() -> Iterator[EvilProvider]:
    with evil_provider() as server:
        yield server


@pytest.fixture
def upstream(_server: EvilProvider) -> EvilProvider:
    _server.reset()
    return _server


@pytest.fixture
async def outbound(upstream: EvilProvider) -> AsyncIterator[Outbound]:
    outbound = Outbound(allow=[AllowRule.parse(urlsplit(upstream.issuer).netloc)])
    yield outbound
    await outbound.close()


def google_of(upstream: EvilProvider, **changes: Any) -> GoogleSettings:
    usual = {
        "client_id": upstream.client_id,
        "client_secret": upstream.client_secret,
        "issuer": upstream.issuer,
    }
    return GoogleSettings(**{**usual, **changes})


class Bench:
    """Tests providers of a store; `google` is what the settings say of Google."""

    def __init__(self, store: Store, outbound: Outbound, upstream: EvilProvider) -> None:
        self._store, self._outbound, self.upstream = store, outbound, upstream

    def providers(self, **google: Any) -> Providers:
        settings = google_of(self.upstream, **google)
        return Providers(self._store, KEYS, self._outbound, system_clock, issuer=ISSUER, google=settings)

    async def add(self, **changes: Any) -> None:
        usual = {
            "issuer": self.upstream.issuer,
            "client_id": self.upstream.client_id,
            "sealed_secret": seal_secret(KEYS, "campus", self.upstream.client_secret),
        }
        await self._store.commit.append(make_provider(**{**usual, **changes}))

    async def run(
        self,
        name: str = "campus",
        policy: SignUpPolicy = SignUpPolicy.OPEN,
        domains: tuple[str, ...] = (),
        issuer: str = ISSUER,
        shared: bool = False,
        **google: Any,
    ) -> Sequence[Finding]:
        """Test one of them; `shared` is whether Google is the same issuer as all others."""
        if name != "google" and not shared:
            google["issuer"] = "https://accounts.google.com"
        test = ProviderTest(self.providers(**google), SignUp(policy, domains), system_clock, issuer=issuer)
        return await test.run(name)


@pytest.fixture
def bench(store: Store, outbound: Outbound, upstream: EvilProvider) -> Bench:
    return Bench(store, outbound, upstream)


def found(findings: Sequence[Finding], step: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.step == step]
    return finding


def failed(findings: Sequence[Finding]) -> list[str]:
    return [finding.step for finding in findings if not finding.ok]


async def test_a_provider_that_is_set_up_well_passes_every_step(bench: Bench):
    await bench.add()
    findings = await bench.run()
    assert failed(findings) == []
    assert [finding.step for finding in findings][:3] == ["our address", "status", "new accounts"]
    assert found(findings, "callback").text.startswith(f"{ISSUER}/login/campus/callback is registered: ")
    assert not any(bench.upstream.client_secret in repr(finding) for finding in findings)
    # It asked with a code that nobody gave, and signed nobody in.
    assert bench.upstream.count("token") > 0
    assert bench.upstream.count("userinfo") == 0


async def test_a_wrong_secret_is_told_with_what_to_compare(bench: Bench):
    await bench.add(sealed_secret=seal_secret(KEYS, "campus", "another"))
    findings = await bench.run()
    assert failed(findings) == ["client"]
    assert "invalid_client" in found(findings, "client").text
    assert found(findings, "client").advice


async def test_a_secret_that_cannot_be_read_is_told_before_anybody_is_asked(bench: Bench):
    await bench.add(sealed_secret=b"damaged" * 8)
    findings = await bench.run()
    assert (findings[-1].step, findings[-1].ok, findings[-1].advice) == ("client secret", False, "Apply it again.")
    assert bench.upstream.requests == []


async def test_what_was_mended_a_moment_ago_is_well_at_once(bench: Bench):
    await bench.add()
    bench.upstream.metadata["issuer"] = "https://another.example"
    assert "issuer" in failed(await bench.run())
    del bench.upstream.metadata["issuer"]
    assert failed(await bench.run()) == []


async def test_a_disabled_provider_is_tried_out_before_it_is_enabled(bench: Bench):
    await bench.add(status=ProviderStatus.DISABLED)
    findings = await bench.run()
    assert failed(findings) == []
    assert found(findings, "status").advice == "idp provider enable campus"


async def test_two_active_providers_of_one_issuer_are_told(bench: Bench, store: Store):
    """No file makes them, but the settings may come to name the issuer of a provider that is there."""
    await bench.add()
    for name, other in (("campus", "google"), ("google", "campus")):
        shared = found(await bench.run(name, shared=True), "shared issuer")
        assert not shared.ok
        assert shared.text.startswith(f"The provider {other} is the same issuer: ")
        assert shared.advice
    await set_provider_status(store, system_clock, "campus", ProviderStatus.DISABLED, actor="cli")
    assert "shared issuer" not in failed(await bench.run("google"))


async def test_what_is_not_there_cannot_be_tried_out(bench: Bench):
    with pytest.raises(NotFound, match="there is no provider nobody"):
        await bench.run("nobody")


@pytest.mark.parametrize(
    ("policy", "domains", "says"),
    [
        (SignUpPolicy.OPEN, (), "Everybody whose address is verified there can make an account. "),
        (SignUpPolicy.INVITE, (), "Whoever is invited into a lab can make an account. "),
        (SignUpPolicy.CLOSED, (), "Nobody can make an account this way: "),
        (SignUpPolicy.DOMAINS, ("a.example",), "Whoever has a verified address of a.example, or is invited "),
        (SignUpPolicy.DOMAINS, ("a.example", "b.example", "c.example"), "address of a.example, b.example or c.example"),
    ],
)
async def test_it_tells_who_can_make_an_account_this_way(
    bench: Bench, policy: SignUpPolicy, domains: tuple[str, ...], says: str
):
    text = found(await bench.run("google", policy, domains), "new accounts").text
    assert says in text
    assert text.endswith(f"IDP_REGISTRATION is {policy}.")


async def test_of_orcid_it_tells_that_accounts_are_linked_only(bench: Bench):
    await bench.add(kind=ProviderKind.ORCID)
    assert "no e-mail address" in found(await bench.run(), "new accounts").text


async def test_plain_http_works_on_this_machine_only(bench: Bench):
    finding = found(await bench.run("google", issuer=LOOPBACK), "our address")
    assert finding.ok
    assert finding.text == f"{LOOPBACK} works for browsers on this machine only."
    assert "IDP_ISSUER" in finding.advice
    assert found(await bench.run("google"), "our address").advice == ""


async def test_of_google_it_tells_whose_accounts_may_come_and_that_one_tap_is_on(bench: Bench):
    findings = await bench.run("google", hosted_domains=("example.org",), one_tap=True)
    assert found(findings, "hosted domains").text == "Only accounts of example.org may come."
    assert found(findings, "one tap").ok
    any_domain = found(await bench.run("google", hosted_domains=("*",)), "hosted domains").text
    assert any_domain == "Accounts of any organisation may come, private ones may not."
    steps = {finding.step for finding in await bench.run("google")}
    assert steps.isdisjoint({"hosted domains", "one tap"})


# ── Who may look ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_whoever_has_a_role_sees_every_provider_with_what_hangs_on_it(bench: Bench, store: Store):
    await bench.add()
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.linked_accounts.add(make_linked_account())
    providers = bench.providers()
    for _ in range(5):
        providers.circuit.failed("campus", START)
    viewer = make_user(roles=(AdminRole.VIEWER,))
    google, campus = await provider_states(store, providers, viewer, now=START)
    assert (google.provider.name, google.down, google.linked_accounts) == ("google", False, 0)
    assert (campus.provider.name, campus.down, campus.linked_accounts) == ("campus", True, 1)
    assert campus.redirect_uri == f"{ISSUER}/login/campus/callback"
    with pytest.raises(NotFound):
        await provider_states(store, providers, make_user(), now=START)


@pytest.mark.parametrize(
    ("roles", "may"), [((), False), (("viewer",), False), (("admin",), True), (("viewer", "super_admin"), True)]
)
def test_admins_may_have_other_servers_asked_and_viewers_may_not(roles: tuple[str, ...], may: bool, clock: FakeClock):
    assert may_test(make_user(roles=tuple(map(AdminRole, roles)))) is may
