"""Providers as they are written down: what is refused, what each kind leaves out, and switching one off."""

import dataclasses
from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.lab import ManagedBy
from idp.domain.provider import USUAL_CLAIMS, Provider, ProviderKind, ProviderStatus
from idp.services.input import InputRefused
from idp.services.provider_input import ProviderInput, provider_document, set_provider_status
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import START, FakeClock

CAMPUS = {
    "name": "campus",
    "display_name": "Campus login",
    "issuer": "https://login.campus.example",
    "client_id": "lab-id",
    "client_secret": "s3cr3t",
}


def made(**changes: Any) -> Provider:
    given = {name: value for name, value in {**CAMPUS, **changes}.items() if value is not None}
    return ProviderInput.read(given).provider(None, sealed_secret=b"sealed", now=START, managed_by=ManagedBy.APPLY)


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InputRefused) as error:
        made(**changes)
    return {".".join(map(str, place)): text for place, text in error.value.faults.items()}


def test_what_need_not_be_said_is_at_its_default():
    provider = made()
    assert (provider.kind, provider.scope, provider.claims) == (ProviderKind.OIDC, "openid profile email", USUAL_CLAIMS)
    assert (provider.update_profile, provider.assume_email_verified, provider.logout) == (False, False, True)
    assert (provider.status, provider.managed_by) == (ProviderStatus.ACTIVE, ManagedBy.APPLY)
    assert (provider.acr, provider.amr, provider.api_scope, provider.api_clients) == ({}, {}, "", ())


@pytest.mark.parametrize(
    ("kind", "display_name", "issuer", "scope"),
    [
        ("orcid", "ORCID", "https://orcid.org", "openid"),
        ("github", "GitHub", "https://github.com", "read:user user:email"),
    ],
)
def test_orcid_and_github_need_little_more_than_a_client(kind: str, display_name: str, issuer: str, scope: str):
    provider = made(kind=kind, display_name=None, issuer=None)
    assert (provider.display_name, provider.issuer, provider.scope) == (display_name, issuer, scope)
    assert provider_document(provider) == {"name": "campus", "kind": kind, "client_id": "lab-id"}


def test_of_an_openid_provider_nobody_guesses_name_and_issuer():
    assert refused(display_name=None, issuer=None) == {"display_name": "it is missing", "issuer": "it is missing"}


def test_every_field_of_a_provider_can_be_written_down_and_back():
    columns = {field.name for field in dataclasses.fields(Provider)}
    assert columns - {"sealed_secret", "created_at", "updated_at", "managed_by"} == (
        ProviderInput.model_fields.keys() - {"client_secret"}
    )
    written = {
        **CAMPUS,
        "kind": "oidc",
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "openid email groups",
        "claims": {"name": "displayName", "email": "mail"},
        "update_profile": True,
        "assume_email_verified": True,
        "acr": {"https://refeds.org/profile/mfa": "2"},
        "amr": {"duo": "mfa"},
        "logout": False,
        "api_scope": "calendar.read",
        "api_clients": ("portal",),
        "status": "disabled",
    }
    provider = made(**written)
    assert provider_document(provider) | {"client_secret": "s3cr3t"} == written
    assert made(**written) == provider


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("google", "it comes from IDP_GOOGLE_CLIENT_ID: leave it out here"),
        *((name, "it is reserved") for name in ("code", "mfa", "link", "callback")),
        *(
            (name, "it must be at most 39 lower-case letters and digits, with single hyphens between them")
            for name in ("", "Campus", "a--b", "-a", "a-", "a/b", "a.b", "a" * 40, "à", "a\n")
        ),
    ],
)
def test_a_name_that_would_not_fit_into_addresses_is_refused(name: str, fault: str):
    assert refused(name=name) == {"name": fault}


def test_the_kind_google_is_for_the_settings_alone():
    assert refused(kind="google")["kind"] == "it is for the provider that comes from IDP_GOOGLE_CLIENT_ID"
    assert refused(kind="saml")["kind"] == "it must be oidc, google, orcid or github"


@pytest.mark.parametrize(
    ("issuer", "fault"),
    [
        ("http://login.campus.example", "plain http is only allowed on localhost, 127.0.0.1 and [::1]: use https"),
        ("https://login.campus.example/#a", "it has a fragment"),
        ("https://login.campus.example?tenant=1", "it has a query"),
        ("https://login.campus.example/?", "it has a query"),
        (
            "https://login.campus.example/.well-known/openid-configuration",
            "it is what stands before /.well-known/",
        ),
        ("https://user@login.campus.example", "wildcards and user names in it are not allowed"),
        ("https:///path", "it names no host"),
        ("ftp://login.campus.example", "it must begin with https://"),
        ("login.campus.example", "it must begin with https://"),
        ("https://login.campus.example/a b", "it is empty, too long, or holds characters that must be percent-encoded"),
        (f"https://login.campus.example/{'a' * 480}", "it must have at most 500 characters"),
    ],
)
def test_an_issuer_is_an_https_address_without_query_and_fragment_oidc_discovery_s3(issuer: str, fault: str):
    assert refused(issuer=issuer) == {"issuer": fault}


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.campus.example/",
        "https://login.campus.example/realms/Main/",
        "https://login.campus.example:8443",
        "http://localhost:9000",
        "http://127.0.0.1:9000/op",
    ],
)
def test_an_issuer_is_kept_to_the_last_slash_because_it_is_compared_exactly(issuer: str):
    assert made(issuer=issuer).issuer == issuer


def test_of_github_the_addresses_are_made_by_appending():
    assert refused(kind="github", issuer="https://github.campus.example/") == {"issuer": "it must not end with a slash"}


@pytest.mark.parametrize("kind", ["oidc", "orcid"])
def test_without_openid_no_id_token_would_come_oidc_core_s3_1_2_1(kind: str):
    assert refused(kind=kind, scope="email") == {"scope": "it must hold openid (OpenID Connect Core §3.1.2.1)"}
    assert made(kind=kind, scope="email  openid email").scope == "email openid"


def test_github_knows_no_openid():
    assert made(kind="github", scope="read:user").scope == "read:user"
    assert "scopes separated by spaces" in refused(kind="github", scope='a"b')["scope"]


def test_how_we_authenticate_is_what_the_connector_can_do():
    assert refused(token_endpoint_auth_method="private_key_jwt") == {
        "token_endpoint_auth_method": "it must be client_secret_basic, client_secret_post or none"
    }
    for kind in ("orcid", "github"):
        assert refused(kind=kind, token_endpoint_auth_method="none")["token_endpoint_auth_method"] == (
            "it is for kind: oidc only"
        )
    assert refused(token_endpoint_auth_method="none") == {
        "client_secret": "with token_endpoint_auth_method: none there is none"
    }
    assert not ProviderInput.read({**CAMPUS, "token_endpoint_auth_method": "none", "client_secret": None}).needs_secret


def test_what_would_look_like_a_restriction_and_be_none_is_refused():
    assert refused(hosted_domains=["example.org"]) == {
        "hosted_domains": "only Google's sign-in looks at it: IDP_GOOGLE_HOSTED_DOMAIN"
    }


@pytest.mark.parametrize("claim", ["sub", "email_verified", "roles", "updated_at", "labs"])
def test_only_claims_that_accounts_hold_are_taken_over(claim: str):
    assert refused(claims={claim: "x"}) == {"claims": f"accounts hold no claim {claim}"}
    assert made(claims={"nickname": "https://campus.example/nick"}).claims == {
        "nickname": "https://campus.example/nick"
    }


def test_words_for_how_people_signed_in_become_only_words_of_ours():
    assert refused(acr={"gold": "3"}, amr={"duo": "multi factor"}) == {
        "acr.gold": "it must become 1 or 2",
        "amr.duo": "it must become a name of RFC 8176: at most 40 letters, digits, - and _",
    }
    assert refused(amr={str(number): "pwd" for number in range(51)}) == {"amr": "it has more than 50 entries"}


def test_clients_may_use_something_of_the_api_or_nothing():
    assert refused(api_clients=["portal"]) == {"api_clients": "it needs api_scope: what they may use"}
    assert refused(api_scope="a", api_clients=["portal", "portal"]) == {"api_clients": "it lists something twice"}


def test_nobody_is_asked_to_agree_to_an_api_that_can_never_be_used():
    fault = {"api_scope": "kind: github gets no refresh tokens: leave it out"}
    assert refused(kind="github", scope="read:user", api_scope="repo", api_clients=["portal"]) == fault
    assert made(kind="github", scope="read:user").api_scope == ""


def test_a_secret_is_repeated_in_no_fault_and_in_no_text():
    given = ProviderInput.read(CAMPUS)
    assert "s3cr3t" not in repr(given)
    assert "s3cr3t" not in str(provider_document(given.provider(None, sealed_secret=b"s", now=START)))
    assert "geheim" not in str(refused(client_secret="geheim\n"))


def test_what_is_written_again_changes_nothing_and_what_differs_is_dated():
    provider = made()
    later = START.replace(year=2030)
    again = ProviderInput.read(CAMPUS).provider(provider, sealed_secret=b"sealed", now=later)
    assert again == provider
    renamed = ProviderInput.read({**CAMPUS, "display_name": "Campus"})
    changed = renamed.provider(provider, sealed_secret=b"sealed", now=later)
    assert (changed.display_name, changed.created_at, changed.updated_at) == ("Campus", START, later)
    # Who made it, made it.
    assert changed.managed_by is ManagedBy.APPLY


# ── Switching one off ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_provider_is_switched_off_and_on_and_that_is_recorded_once(store: Store, clock: FakeClock):
    await store.commit.append(made())
    clock.advance(seconds=60)
    for status in (ProviderStatus.DISABLED, ProviderStatus.DISABLED, ProviderStatus.ACTIVE):
        provider = await set_provider_status(store, clock, "campus", status, actor="cli")
        assert (provider.status, provider.updated_at) == (status, clock.now)
    async with store.read() as tx:
        assert await tx.providers.get("campus") == provider
        events = await tx.audit_events.all()
    assert [(event.action, event.target) for event in events] == [(AuditAction.PROVIDER_UPDATED, "campus")] * 2
    assert {event.detail["status"] for event in events} == {"disabled", "active"}


async def test_what_is_not_there_cannot_be_switched_off(store: Store, clock: FakeClock):
    with pytest.raises(NotFound, match="there is no provider campus"):
        await set_provider_status(store, clock, "campus", ProviderStatus.DISABLED, actor="cli")
