"""What applying files warns of: taken as it is written, it does less than one may think, or trusts others more."""

from collections.abc import Iterator

from idp.domain.client import Client, Profile
from idp.domain.lab_scope import names_lab
from idp.services.apply_file import ApplyFile, DeclaredLab, Entry, Fault
from idp.services.apply_steps import State
from idp.services.client_input import ClientInput
from idp.services.provider_input import ProviderInput
from idp.services.providers import GOOGLE
from idp.services.resources import ResourceInput

_NO_NAMESPACE = "entitlements are told only where IDP_ENTITLEMENT_NAMESPACE is set"


def advice(files: ApplyFile, state: State, *, entitlements: bool, google: bool) -> Iterator[Fault]:
    """Return the warnings; `state` is what the store will hold.

    `entitlements` is whether they have a namespace, `google` whether the settings make a provider of it.
    """
    for client in files.clients or ():
        yield from _about_client(client, state, entitlements=entitlements)
    services = {client_id for client_id, _ in state.lab_grants}
    services |= {client.given.client_id for client in files.clients or () if client.given.lab_grants}
    for resource in files.resources or ():
        yield from _about_resource(resource, state, services)
    for provider in files.providers or ():
        yield from _about_provider(provider, state)
    known = {*state.providers, *((GOOGLE,) if google else ())}
    for lab in files.labs or ():
        yield from _about_rules(lab, known)


def _about_client(entry: Entry[ClientInput], state: State, *, entitlements: bool) -> Iterator[Fault]:
    client = state.clients[entry.given.client_id]
    for position, slug in enumerate(() if client.allowed_labs == "*" else client.allowed_labs):
        if slug not in state.labs:
            yield entry.source.fault((*entry.place, "allowed_labs", position), f"there is no lab {slug}")
    if any(map(names_lab, client.scopes)):
        text = "a single lab in it changes nothing: which ones may be asked for is decided by allowed_labs"
        yield entry.fault("scope", text)
    if not entitlements and "entitlements" in client.scopes:
        yield entry.fault("scope", _NO_NAMESPACE)
    if not entitlements and client.profile is Profile.AARC_G069:
        yield entry.fault("profile", f"{_NO_NAMESPACE}, and this profile tells of labs in no other way")


def _about_resource(entry: Entry[ResourceInput], state: State, services: set[str]) -> Iterator[Fault]:
    reader = state.clients.get(entry.given.client_id or "")
    if reader is None or reader.allowed_labs:
        return
    told = [
        client.client_id
        for client in state.clients.values()
        if client is not reader and _is_told_of_labs(client, services) and set(client.scopes) & set(entry.given.scopes)
    ]
    if told:
        text = (
            f"introspection tells it of no lab, unlike the tokens of {told[0]}: {reader.client_id} has no allowed_labs"
        )
        yield entry.fault("client_id", text)


def _is_told_of_labs(client: Client, services: set[str]) -> bool:
    return bool(client.allowed_labs) or client.client_id in services


def _about_provider(entry: Entry[ProviderInput], state: State) -> Iterator[Fault]:
    provider = state.providers[entry.given.name]
    if provider.assume_email_verified:
        text = (
            "whoever can write down an address there is taken for its owner here: "
            "only where the provider itself gives people their addresses"
        )
        yield entry.fault("assume_email_verified", text)
    for position, client_id in enumerate(provider.api_clients):
        if client_id not in state.clients:
            yield entry.source.fault((*entry.place, "api_clients", position), f"there is no client {client_id}")


def _about_rules(entry: Entry[DeclaredLab], known: set[str]) -> Iterator[Fault]:
    for position, rule in enumerate(entry.given.rules or ()):
        if rule.provider not in known:
            text = f"there is no provider {rule.provider}: the rule makes nobody a member yet"
            yield entry.source.fault((*entry.place, "rules", position, "provider"), text)
