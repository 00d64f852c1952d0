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
from idp.services.provider_input import ProviderInput, provider_document
from idp.services.providers import seal_secret, unseal_secret


def compare_providers(
    steps: Steps,
    state: State,
    entries: Sequence[Entry[ProviderInput]] | None,
    keys: DataKeys,
    *,
    issuer: str,
    now: datetime,
    prune: bool,
) -> None:
    """Find what makes the section `providers` true; `issuer` is our own."""
    if entries is None:
        return
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
            text = f"provider {provider.name}: accounts that are linked to it stay so, and count again when it is back"
            steps.warnings.append(text)


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
