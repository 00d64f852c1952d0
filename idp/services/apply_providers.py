"""What applying files would change about providers, and about the rules by which they make members of labs."""

from collections.abc import Sequence
from datetime import datetime

from idp.crypto.envelope import CannotUnseal
from idp.domain.lab import Lab, ManagedBy
from idp.domain.lab_rule import LabRule
from idp.domain.provider import Provider
from idp.services.apply_file import DeclaredLab, Entry
from idp.services.apply_steps import ACTOR, State, Steps
from idp.services.export import rule_document
from idp.services.installation import DataKeys
from idp.services.provider_dependents import dependents
from idp.services.provider_input import ProviderInput, provider_document
from idp.services.providers import GOOGLE, seal_secret, unseal_secret


def compare_providers(
    steps: Steps,
    state: State,
    entries: Sequence[Entry[ProviderInput]] | None,
    keys: DataKeys,
    *,
    issuer: str,
    google: str | None,
    now: datetime,
    prune: bool,
) -> Sequence[Provider]:
    """Find what makes the section `providers` true, and return those through which people sign in no more.

    `issuer` is our own, `google` that of the provider google, where the settings make one.
    """
    if entries is None:
        return ()
    before = tuple(state.providers.values())
    for entry in entries:
        given = entry.given
        present = state.providers.get(given.name)
        if given.issuer == issuer:
            steps.faults.append(entry.fault("issuer", "it is this server itself"))
        if given.needs_secret and given.client_secret is None:
            if present is None or present.sealed_secret is None:
                text = "it is missing; without one say token_endpoint_auth_method: none"
                steps.faults.append(entry.fault("client_secret", text))
            elif (present.issuer, present.client_id) != (given.issuer, given.client_id):
                # Nobody is to be sent a secret that was another's.
                text = "it is missing: with another issuer or client_id it has to be said again"
                steps.faults.append(entry.fault("client_secret", text))
        if present is not None and present.issuer != given.issuer:
            text = "it was another one: accounts that are linked by the old one do not count at the new one"
            steps.warnings.append(entry.fault("issuer", text))
        sealed = _sealed(given, present, keys)
        provider = given.provider(present, sealed_secret=sealed, now=now, managed_by=ManagedBy.APPLY)
        state.providers[provider.name] = provider
        steps.add("provider", provider.name, present, provider, provider_document)
    listed = {entry.given.name for entry in entries}
    for provider in list(state.providers.values()):
        if prune and provider.managed_by is ManagedBy.APPLY and provider.name not in listed:
            del state.providers[provider.name]
            steps.add("provider", provider.name, provider, None, provider_document)
    _check_issuers(steps, state, entries, google=google)
    return [provider for provider in before if provider.active and not _is_active(state, provider.name)]


def _check_issuers(steps: Steps, state: State, entries: Sequence[Entry[ProviderInput]], *, google: str | None) -> None:
    """Find providers that are another one's issuer: they would share its accounts, and go around its restrictions."""
    listed = {entry.given.name for entry in entries}
    others = {provider.issuer: provider.name for provider in state.providers.values() if provider.name not in listed}
    others |= {} if google is None else {google: GOOGLE}
    for entry in entries:
        name = others.setdefault(state.providers[entry.given.name].issuer, entry.given.name)
        if name != entry.given.name:
            steps.faults.append(entry.fault("issuer", f"it is that of {name}: an issuer is one provider only"))


def _is_active(state: State, name: str) -> bool:
    return name in state.providers and state.providers[name].active


def warn_of_closed(steps: Steps, state: State, closed: Sequence[Provider], *, google: str | None) -> None:
    """Tell what hangs on the providers through which people sign in no more, once all else is as it will be."""
    usable = {provider.issuer for provider in state.providers.values() if provider.active}
    usable |= set() if google is None else {google}
    for provider in closed:
        rules = [rule for rule in state.lab_rules.values() if rule.provider == provider.name]
        ids = {rule.id for rule in rules}
        memberships = sum(held.granted_by in ids for held in state.memberships.values())
        hanging = dependents(provider, state.ways_in, usable, rules, memberships=memberships)
        steps.warnings += [f"provider {provider.name}: {text}" for text in hanging.told()]


def _sealed(given: ProviderInput, present: Provider | None, keys: DataKeys) -> bytes | None:
    """Return the secret as it is to be stored: as it is stored, where it is the same one."""
    if not given.needs_secret:
        return None
    held = None if present is None else present.sealed_secret
    if given.client_secret is None:
        return held
    if present is not None:
        try:
            if unseal_secret(keys, present) == given.client_secret:
                return held
        except CannotUnseal:
            # It could not be used; the file mends that.
            pass
    return seal_secret(keys, given.name, given.client_secret)


def compare_rules(
    steps: Steps, state: State, entries: Sequence[Entry[DeclaredLab]] | None, *, now: datetime, prune: bool
) -> None:
    """Find what makes the `rules` of the labs true, of those that say something of them."""
    for entry in entries or ():
        lab = state.labs.get(entry.given.slug)
        if lab is not None and entry.given.rules is not None:
            _compare_rules_of(steps, state, entry, lab, now=now, prune=prune)


def _compare_rules_of(
    steps: Steps, state: State, entry: Entry[DeclaredLab], lab: Lab, *, now: datetime, prune: bool
) -> None:
    held = {_key(rule): rule for rule in state.lab_rules.values() if rule.lab_id == lab.id}
    listed = set()
    for given in entry.given.rules or ():
        key = (given.provider, given.claim, given.value)
        listed.add(key)
        present = held.get(key)
        rule = given.rule(present, lab, now=now, created_by=ACTOR, managed_by=ManagedBy.APPLY)
        state.lab_rules[rule.id] = rule
        _add(steps, lab, rule, present, rule)
    for key, rule in held.items():
        if prune and rule.managed_by is ManagedBy.APPLY and key not in listed:
            del state.lab_rules[rule.id]
            _add(steps, lab, rule, rule, None)


def _add(steps: Steps, lab: Lab, rule: LabRule, before: LabRule | None, after: LabRule | None) -> None:
    steps.add("lab_rule", f"{rule.provider} {rule.claim}={rule.value} in {lab.slug}", before, after, rule_document)


def _key(rule: LabRule) -> tuple[str, str, str]:
    return rule.provider, rule.claim, rule.value
