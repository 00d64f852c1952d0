"""The apply file's providers, and the rules by which they make members of labs."""

from collections.abc import AsyncIterator
from dataclasses import replace
from textwrap import dedent

import pytest

from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.lab import LabRole, ManagedBy, Membership
from idp.domain.lab_rule import LabRule
from idp.domain.provider import Provider
from idp.domain.upstream import LinkedAccount
from idp.services.apply import Applied, Apply
from idp.services.apply_file import ApplyRefused, read_apply_files
from idp.services.apply_plan import Plan
from idp.services.apply_steps import State
from idp.services.export import export
from idp.services.installation import DataKeys
from idp.services.providers import unseal_secret
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    ISSUER,
    LAB_ID,
    make_client,
    make_credential,
    make_installation,
    make_lab,
    make_user,
)

KEYS = DataKeys(lookup=b"l" * 32, refresh=b"r" * 32, csrf=b"c" * 32, seal=b"s" * 32)
GOOGLE = "https://accounts.google.com"
CAMPUS = """\
providers:
  - name: campus
    display_name: Campus login
    issuer: https://login.campus.example
    client_id: lab-id
    client_secret: s3cr3t-one
"""
RULES = """\
labs:
  - slug: bio
    name: Biology
    rules:
      - {provider: google, claim: hd, value: example.org}
      - {provider: campus, claim: groups, value: "bio:staff", role: viewer}
"""


@pytest.fixture
async def apply(store: Store, clock: FakeClock) -> AsyncIterator[Apply]:
    async with store.write() as tx:
        await tx.installations.add(make_installation())
    hasher = PasswordHasher(memory_kib=32, time_cost=1)
    yield Apply(store, KEYS, hasher, clock, issuer=ISSUER, password_min_length=8, entitlements=False, google=GOOGLE)
    hasher.close()


async def run(apply: Apply, text: str, *, environ: dict[str, str] | None = None, **options: bool) -> Applied:
    return await apply.run(read_apply_files([("upstream.yaml", text.encode())], environ or {}), **options)


async def refused(apply: Apply, text: str) -> list[str]:
    with pytest.raises(ApplyRefused) as error:
        await run(apply, text)
    return str(error.value).splitlines()


def diff(applied: Applied) -> str:
    return "\n".join(map(str, applied.changes))


async def provider(store: Store, name: str = "campus") -> Provider | None:
    async with store.read() as tx:
        return await tx.providers.find(name)


async def rules(store: Store) -> dict[str, LabRule]:
    async with store.read() as tx:
        return {rule.value: rule for rule in await tx.lab_rules.all()}


async def actions(store: Store) -> list[AuditAction]:
    async with store.read() as tx:
        return [event.action for event in await tx.audit_events.all()]


# ── Providers ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_provider_is_created_once_with_its_secret_sealed(apply: Apply, store: Store):
    text = CAMPUS.replace("s3cr3t-one", "env:CAMPUS_SECRET")
    applied = await run(apply, text, environ={"CAMPUS_SECRET": "s3cr3t-one"})
    assert (diff(applied), applied.warnings) == ("+ provider campus", [])
    made = await provider(store)
    assert made is not None
    assert (made.managed_by, made.created_at) == (ManagedBy.APPLY, START)
    assert unseal_secret(KEYS, made) == "s3cr3t-one"
    assert b"s3cr3t-one" not in (made.sealed_secret or b"")
    again = await run(apply, CAMPUS, prune=True)
    assert (again.changes, again.unchanged) == ([], 1)
    assert await provider(store) == made
    assert await actions(store) == [AuditAction.PROVIDER_CREATED]


async def test_a_secret_is_changed_and_never_shown(apply: Apply, store: Store):
    await run(apply, CAMPUS)
    applied = await run(apply, CAMPUS.replace("s3cr3t-one", "s3cr3t-two").replace("Campus login", "Campus"))
    assert diff(applied) == dedent("""\
        ~ provider campus
            display_name: "Campus login" → "Campus"
            client_secret: "***" → "***\"""")
    changed = await provider(store)
    assert changed is not None
    assert unseal_secret(KEYS, changed) == "s3cr3t-two"
    async with store.read() as tx:
        (event,) = [each for each in await tx.audit_events.all() if each.action is AuditAction.PROVIDER_UPDATED]
    assert (event.target, event.detail) == ("campus", {"fields": ["client_secret", "display_name"]})


async def test_a_secret_that_is_not_said_stays_and_a_new_provider_needs_one(apply: Apply, store: Store):
    without = CAMPUS.replace("    client_secret: s3cr3t-one\n", "")
    assert await refused(apply, without) == [
        "upstream.yaml:2: providers[0].client_secret: it is missing; without one say token_endpoint_auth_method: none"
    ]
    await run(apply, CAMPUS)
    before = await provider(store)
    assert (await run(apply, without)).changes == []
    assert await provider(store) == before


@pytest.mark.parametrize(
    "changed", [("issuer: https://login.campus.example", "issuer: https://evil.example"), ("lab-id", "another")]
)
async def test_a_stored_secret_is_sent_to_nobody_else(apply: Apply, store: Store, changed: tuple[str, str]):
    await run(apply, CAMPUS)
    without = CAMPUS.replace("    client_secret: s3cr3t-one\n", "")
    assert await refused(apply, without.replace(*changed)) == [
        "upstream.yaml:2: providers[0].client_secret: it is missing: "
        "with another issuer or client_id it has to be said again"
    ]
    applied = await run(apply, CAMPUS.replace(*changed))
    # The same secret, said again, is kept as it is stored.
    assert "client_secret" not in diff(applied)


async def test_another_issuer_is_a_warning_for_those_who_are_linked(apply: Apply):
    await run(apply, CAMPUS)
    applied = await run(apply, CAMPUS.replace("https://login.campus", "https://sso.campus"))
    assert applied.warnings == [
        "upstream.yaml:4: providers[0].issuer: "
        "it was another one: accounts that are linked by the old one do not count at the new one"
    ]


async def test_a_public_client_has_no_secret_any_more(apply: Apply, store: Store):
    await run(apply, CAMPUS)
    public = CAMPUS.replace("client_secret: s3cr3t-one", "token_endpoint_auth_method: none")
    assert 'client_secret: "***" → none' in diff(await run(apply, public))
    made = await provider(store)
    assert made is not None
    assert made.sealed_secret is None


async def test_a_secret_that_cannot_be_read_any_more_is_mended_by_saying_it(apply: Apply, store: Store):
    await run(apply, CAMPUS)
    async with store.write() as tx:
        await tx.providers.save(replace(await tx.providers.get("campus"), sealed_secret=b"damaged" * 8))
    await run(apply, CAMPUS)
    mended = await provider(store)
    assert mended is not None
    assert unseal_secret(KEYS, mended) == "s3cr3t-one"


async def test_google_and_this_server_itself_are_refused(apply: Apply):
    assert await refused(apply, CAMPUS.replace("name: campus", "name: google")) == [
        "upstream.yaml:2: providers[0].name: it comes from IDP_GOOGLE_CLIENT_ID: leave it out here"
    ]
    assert await refused(apply, CAMPUS.replace("https://login.campus.example", ISSUER)) == [
        "upstream.yaml:4: providers[0].issuer: it is this server itself"
    ]


async def test_two_providers_of_one_name_are_refused(apply: Apply):
    twice = CAMPUS + "  - {name: campus, kind: github, client_id: x, client_secret: y}\n"
    assert await refused(apply, twice) == ["upstream.yaml:7: providers[1].name: it stands at upstream.yaml:2 already"]


async def test_what_is_easily_overlooked_is_a_warning(apply: Apply, store: Store):
    text = (
        CAMPUS
        + """\
    assume_email_verified: true
    api_scope: calendar.read
    api_clients: [portal, nobody]
"""
    )
    await store.commit.append(make_client())
    applied = await run(apply, text)
    assert applied.warnings == [
        "upstream.yaml:7: providers[0].assume_email_verified: whoever can write down an address there is taken for its "
        "owner here: only where the provider itself gives people their addresses",
        "upstream.yaml:9: providers[0].api_clients[1]: there is no client nobody",
    ]


TWIN = """\
  - {name: twin, display_name: Twin, issuer: https://login.campus.example, client_id: other, client_secret: s}
"""


async def test_two_providers_of_one_issuer_are_refused_as_one_would_go_around_the_others_restrictions(
    apply: Apply, store: Store
):
    told = "providers[{}].issuer: it is that of {}: an issuer is one provider only"
    assert await refused(apply, CAMPUS + TWIN) == [f"upstream.yaml:7: {told.format(1, 'campus')}"]
    # One that is there already is another one too, whoever made it; not so the same one, and one that goes.
    await run(apply, CAMPUS)
    alone = f"providers:\n{TWIN}"
    assert await refused(apply, alone) == [f"upstream.yaml:2: {told.format(0, 'campus')}"]
    assert (await run(apply, CAMPUS)).changes == []
    assert diff(await run(apply, alone, prune=True)) == "+ provider twin\n- provider campus"
    # Disabled, it is still to come back.
    assert await refused(apply, alone + CAMPUS.removeprefix("providers:\n") + "    status: disabled\n") == [
        f"upstream.yaml:5: {told.format(1, 'twin')}"
    ]


@pytest.mark.parametrize(("google", "faults"), [(GOOGLE, 1), ("https://other.example", 0), (None, 0)])
async def test_a_provider_that_is_google_of_the_settings_is_refused(store: Store, google: str | None, faults: int):
    text = CAMPUS.replace("https://login.campus.example", GOOGLE)
    async with store.read() as tx:
        plan = Plan(await State.load(tx), KEYS, START)
    files = read_apply_files([("upstream.yaml", text.encode())], {})
    plan.compare(files, [], issuer=ISSUER, google=google, prune=False)
    assert [str(fault) for fault in plan.faults] == [
        "upstream.yaml:4: providers[0].issuer: it is that of google: an issuer is one provider only"
    ][:faults]


async def test_prune_removes_what_apply_made_and_leaves_linked_accounts(apply: Apply, store: Store):
    await run(apply, CAMPUS)
    linked = LinkedAccount(
        id="la_1",
        issuer="https://login.campus.example",
        sub="1",
        user_id="u_alice",
        provider="campus",
        created_at=START,
    )
    async with store.write() as tx:
        made = await tx.providers.get("campus")
        admins = replace(made, name="admins", issuer="https://admins.example", managed_by=ManagedBy.ADMIN)
        await tx.providers.add(admins)
        await tx.users.add(make_user())
        await tx.linked_accounts.add(linked)
    assert (await run(apply, "providers: []")).changes == []
    assert (await run(apply, "labs: []", prune=True)).changes == []
    applied = await run(apply, "providers: []", prune=True)
    assert diff(applied) == "- provider campus"
    assert applied.warnings == [
        "provider campus: linked accounts, kept for when it is back: 1",
        "provider campus: people who have no other way in, "
        "neither a password nor an account at another active provider: 1",
    ]
    async with store.read() as tx:
        assert await tx.providers.all() == [admins]
        assert await tx.linked_accounts.all() == [linked]
    assert AuditAction.PROVIDER_DELETED in await actions(store)


async def test_who_is_locked_out_by_a_file_is_told_with_what_rules_leave_behind(apply: Apply, store: Store):
    await run(apply, CAMPUS + RULES)
    rule = (await rules(store))["bio:staff"]
    await in_by_rule(store, rule, LabRole.VIEWER, issuer="https://login.campus.example")
    locked_out = [
        "provider campus: linked accounts, kept for when it is back: 1",
        "provider campus: people who have no other way in, "
        "neither a password nor an account at another active provider: 1",
    ]
    left = (
        "provider campus: lab rules that stay until somebody removes them: 1; "
        "memberships that they gave, and that stay as long: 1"
    )
    disabled = f"{CAMPUS}    status: disabled\n"
    assert (await run(apply, disabled, dry_run=True)).warnings == [*locked_out, left]
    # A rule that goes with it does not stay.
    without = "labs: [{slug: bio, name: Biology, rules: []}]\nproviders: []\n"
    assert (await run(apply, without, dry_run=True, prune=True)).warnings == locked_out
    async with store.write() as tx:
        await tx.credentials.add(make_credential())
    assert (await run(apply, disabled)).warnings == [locked_out[0], left]
    # It is told once.
    assert (await run(apply, disabled)).warnings == []
    assert len(await held(store)) == 1


async def test_an_export_holds_no_secret_and_applied_where_it_came_from_it_changes_nothing(apply: Apply, store: Store):
    await run(apply, CAMPUS + "  - {name: orcid, kind: orcid, client_id: APP-1, client_secret: o}\n")
    await run(apply, RULES)
    text = await export(store, with_password_hashes=True)
    assert "s3cr3t" not in text
    assert "# The secrets of providers are sealed and not exported: providers that exist keep theirs.\n" in text
    applied = await run(apply, text, prune=True)
    assert (applied.changes, applied.unchanged) == ([], 5)
    # Elsewhere each secret has to be said.
    async with store.write() as tx:
        await tx.providers.delete("campus")
    assert len(await refused(apply, text)) == 1


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_rules_are_made_with_their_lab_and_only_once(apply: Apply, store: Store):
    applied = await run(apply, CAMPUS + RULES)
    assert diff(applied).splitlines() == [
        "+ lab bio",
        "+ provider campus",
        "+ lab_rule google hd=example.org in bio",
        "+ lab_rule campus groups=bio:staff in bio",
    ]
    assert applied.warnings == []
    made = await rules(store)
    assert {value: (rule.role, rule.created_by, rule.managed_by) for value, rule in made.items()} == {
        "example.org": (LabRole.MEMBER, "apply", ManagedBy.APPLY),
        "bio:staff": (LabRole.VIEWER, "apply", ManagedBy.APPLY),
    }
    again = await run(apply, CAMPUS + RULES, prune=True)
    assert (again.changes, again.unchanged) == ([], 4)
    async with store.read() as tx:
        (event, *_) = [each for each in await tx.audit_events.all() if each.target == made["example.org"].id]
    assert event.action is AuditAction.LAB_RULE_CREATED
    told = {name: event.detail[name] for name in ("provider", "claim", "value", "role")}
    assert told == {"provider": "google", "claim": "hd", "value": "example.org", "role": "member"}


async def test_a_rule_of_a_provider_that_is_nowhere_is_a_warning(apply: Apply):
    assert (await run(apply, RULES)).warnings == [
        "upstream.yaml:6: labs[0].rules[1].provider: there is no provider campus: the rule makes nobody a member yet"
    ]


async def test_faults_of_rules_name_their_line(apply: Apply):
    assert await refused(apply, RULES.replace("role: viewer", "role: admin")) == [
        "upstream.yaml:6: labs[0].rules[1].role: "
        "it must be member or viewer: who looks after a lab is for people to say"
    ]
    twice = RULES + "      - {provider: google, claim: hd, value: EXAMPLE.org, role: viewer}\n"
    assert await refused(apply, twice) == [
        "upstream.yaml:4: labs[0].rules: it has two rules about one value of a claim"
    ]


async def test_rules_that_are_not_spoken_of_stay_and_prune_removes_applys_own(apply: Apply, store: Store):
    await run(apply, RULES)
    admins = replace(next(iter((await rules(store)).values())), id="lr_admin", value="a", managed_by=ManagedBy.ADMIN)
    await store.commit.append(admins)
    silent = "labs: [{slug: bio, name: Biology}]"
    assert (await run(apply, silent, prune=True)).changes == []
    one = "labs: [{slug: bio, name: Biology, rules: [{provider: google, claim: hd, value: example.org}]}]"
    assert (await run(apply, one)).changes == []
    assert diff(await run(apply, one, prune=True)) == "- lab_rule campus groups=bio:staff in bio"
    assert (await rules(store)).keys() == {"example.org", "a"}
    # What a lab takes along is not said apart.
    async with store.write() as tx:
        await tx.labs.save(replace(await tx.labs.find_by_slug("bio"), managed_by=ManagedBy.APPLY))
    assert diff(await run(apply, "labs: []", prune=True)) == "- lab bio"
    assert await rules(store) == {}


async def in_by_rule(store: Store, rule: LabRule, role: LabRole, *, issuer: str = GOOGLE) -> None:
    """Let Alice, of whom the provider told what the rule is about, be a member by it."""
    linked = LinkedAccount(
        id="la_1",
        issuer=issuer,
        sub="1",
        user_id="u_alice",
        provider=rule.provider,
        created_at=START,
        claims={rule.claim: rule.value},
    )
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.linked_accounts.add(linked)
        await tx.memberships.add(
            Membership(lab_id=rule.lab_id, user_id="u_alice", role=role, created_at=START, granted_by=rule.id)
        )


async def held(store: Store) -> list[Membership]:
    async with store.read() as tx:
        return list(await tx.memberships.all())


async def test_what_a_pruned_rule_gave_ends_with_it_and_what_a_changed_one_gave_changes(apply: Apply, store: Store):
    await run(apply, RULES)
    rule = (await rules(store))["example.org"]
    await in_by_rule(store, rule, LabRole.MEMBER)
    viewer = RULES.replace("value: example.org}", "value: example.org, role: viewer}")
    assert diff(await run(apply, viewer)) == ('~ lab_rule google hd=example.org in bio\n    role: "member" → "viewer"')
    assert [(each.role, each.granted_by) for each in await held(store)] == [(LabRole.VIEWER, rule.id)]
    await run(apply, "labs: [{slug: bio, name: Biology, rules: []}]", prune=True)
    assert await held(store) == []
    assert AuditAction.MEMBERSHIP_DELETED in await actions(store)


async def test_whom_another_rule_of_the_same_file_takes_in_stays(apply: Apply, store: Store):
    await run(apply, RULES)
    rule = (await rules(store))["example.org"]
    await in_by_rule(store, rule, LabRole.MEMBER)
    async with store.write() as tx:
        linked = await tx.linked_accounts.get("la_1")
        await tx.linked_accounts.save(replace(linked, claims={"hd": "example.org", "groups": ["new"]}))
    other = "labs: [{slug: bio, name: Biology, rules: [{provider: google, claim: groups, value: new}]}]"
    await run(apply, other, prune=True)
    new = (await rules(store))["new"]
    assert [(each.role, each.granted_by) for each in await held(store)] == [(LabRole.MEMBER, new.id)]


STAFF = "labs: [{slug: bio, name: Biology, rules: [{provider: campus, claim: groups, value: staff}]}]\n"


@pytest.mark.parametrize(
    ("host", "after"), [("login", [LabRole.VIEWER]), ("other", [])], ids=["the same issuer", "another issuer"]
)
async def test_a_rule_that_changes_is_judged_by_the_issuer_that_its_provider_is_after_it(
    apply: Apply, store: Store, host: str, after: list[LabRole]
):
    await run(apply, CAMPUS + STAFF)
    await in_by_rule(store, (await rules(store))["staff"], LabRole.MEMBER)
    async with store.write() as tx:
        linked = await tx.linked_accounts.get("la_1")
        await tx.linked_accounts.save(replace(linked, issuer="https://login.campus.example"))
    # The provider alone ends nobody.
    await run(apply, CAMPUS.replace("https://login", f"https://{host}"))
    assert len(await held(store)) == 1
    changed = CAMPUS.replace("https://login", f"https://{host}") + STAFF.replace("staff}", "staff, role: viewer}")
    await run(apply, changed)
    assert [each.role for each in await held(store)] == after


async def test_what_a_rule_gave_is_not_exported_as_if_somebody_had_given_it(apply: Apply, store: Store):
    await run(apply, RULES)
    await in_by_rule(store, (await rules(store))["example.org"], LabRole.MEMBER)
    text = await export(store, with_password_hashes=False)
    assert "memberships: []" in text
    assert "  rules:\n  - provider: campus\n    claim: groups\n    value: bio:staff\n    role: viewer\n" in text
    assert (await run(apply, text, prune=True)).changes == []
    assert len(await held(store)) == 1


async def test_a_rule_that_an_admin_wrote_stays_the_admins_when_a_file_lists_it(apply: Apply, store: Store):
    await store.commit.append(make_lab())
    rule = LabRule(
        id="lr_1",
        lab_id=LAB_ID,
        provider="google",
        claim="hd",
        value="example.org",
        role=LabRole.MEMBER,
        created_by="u_bob",
        created_at=START,
    )
    await store.commit.append(rule)
    await run(apply, RULES)
    assert (await rules(store))["example.org"] == rule
    await run(apply, "labs: [{slug: bio, name: Biology, rules: []}]", prune=True)
    assert (await rules(store)).keys() == {"example.org"}
