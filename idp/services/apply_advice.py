"""What applying files warns of: taken as it is written, it tells applications less of labs than one may think."""

from collections.abc import Iterator

from idp.domain.client import Client, Profile
from idp.domain.lab_scope import names_lab
from idp.services.apply_file import ApplyFile, Entry, Fault
from idp.services.apply_plan import State
from idp.services.client_input import ClientInput
from idp.services.resources import ResourceInput

_NO_NAMESPACE = "entitlements are told only where IDP_ENTITLEMENT_NAMESPACE is set"


def advice(files: ApplyFile, state: State, *, entitlements: bool) -> Iterator[Fault]:
    """Return the warnings; `state` is what the store will hold, `entitlements` whether they have a namespace."""
    for client in files.clients or ():
        yield from _about_client(client, state, entitlements=entitlements)
    services = {client_id for client_id, _ in state.lab_grants}
    services |= {client.given.client_id for client in files.clients or () if client.given.lab_grants}
    for resource in files.resources or ():
        yield from _about_resource(resource, state, services)


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
