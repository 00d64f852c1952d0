"""Export: the store as an apply file that changes nothing where it came from."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import yaml

from idp.domain.client import Client, GrantType
from idp.domain.credential import CredentialKind
from idp.domain.lab import Lab, LabStatus, Membership
from idp.domain.lab_grant import LabGrant
from idp.domain.lab_rule import LabRule, given_by_rule
from idp.domain.resource import Resource
from idp.domain.user import User
from idp.services.clients import metadata_of
from idp.services.input import END_OF_DAY
from idp.services.provider_input import provider_document
from idp.store.store import Store

_HEADER = "# Made by `idp export`; `idp apply` reads it.\n"
_NO_SECRETS = "# Client secrets are stored as keyed hashes and cannot be exported: clients that exist keep theirs.\n"
_NO_PROVIDER_SECRETS = "# The secrets of providers are sealed and not exported: providers that exist keep theirs.\n"


async def export(store: Store, *, with_password_hashes: bool) -> str:
    """Return the apply file; with password hashes it moves accounts as they are, and must be kept like a password."""
    async with store.read() as tx:
        labs = {lab.id: lab for lab in await tx.labs.all()}
        users = {user.id: user for user in await tx.users.all()}
        memberships = [
            (held, labs[held.lab_id], users[held.user_id])
            for held in await tx.memberships.all()
            # What a rule gives it gives again, and takes back again: a file would make it somebody's for good.
            if held.lab_id in labs and held.user_id in users and not given_by_rule(held.granted_by)
        ]
        # Who registered itself looks after its registration itself: an old file must never take it back.
        clients = [client for client in await tx.clients.all() if not client.self_registered]
        lab_grants = await tx.lab_grants.all()
        resources = await tx.resources.all()
        providers = await tx.providers.all()
        lab_rules = await tx.lab_rules.all()
        credentials = await tx.credentials.all() if with_password_hashes else []
    hashes = {
        credential.user_id: credential.secret
        for credential in sorted(credentials, key=lambda credential: credential.created_at)
        if credential.kind is CredentialKind.PASSWORD
    }
    held: dict[str, list[tuple[LabGrant, Lab]]] = {}
    for grant in lab_grants:
        if grant.lab_id in labs:
            held.setdefault(grant.client_id, []).append((grant, labs[grant.lab_id]))
    rules: dict[str, list[LabRule]] = {}
    for rule in lab_rules:
        rules.setdefault(rule.lab_id, []).append(rule)
    sections = {
        "labs": [lab_document(lab, rules.get(lab.id, ())) for lab in sorted(labs.values(), key=lambda lab: lab.slug)],
        "users": [
            user_document(user) | ({"password_hash": hashes[user.id]} if user.id in hashes else {})
            for user in sorted(users.values(), key=lambda user: user.label)
        ],
        "memberships": sorted(
            (membership_document(*held) for held in memberships), key=lambda held: (held["lab"], held["user"])
        ),
        "clients": [client_document(client, held.get(client.client_id, ())) for client in clients],
        "resources": [resource_document(resource) for resource in resources],
        "providers": [provider_document(provider) for provider in providers],
    }
    header = _HEADER
    if any(client.secrets for client in clients):
        header += _NO_SECRETS
    if any(provider.sealed_secret for provider in providers):
        header += _NO_PROVIDER_SECRETS
    return header + yaml.safe_dump(plain(sections), sort_keys=False, allow_unicode=True, width=120)


def lab_document(lab: Lab, rules: Iterable[LabRule] = ()) -> dict[str, Any]:
    """Return a lab as an apply file writes it, with the rules that make members of it."""
    status = None if lab.status is LabStatus.ACTIVE else lab.status
    written = sorted(map(rule_document, rules), key=lambda rule: (rule["provider"], rule["claim"], rule["value"]))
    return _present(
        slug=lab.slug,
        name=lab.name,
        description=lab.description,
        homepage=lab.homepage,
        contact=lab.contact,
        logo_uri=lab.logo_uri,
        admin_acr=lab.admin_acr,
        accepts_join_requests=lab.accepts_join_requests or None,
        status=status,
        rules=written or None,
    )


def rule_document(rule: LabRule) -> dict[str, Any]:
    """Return a rule as an apply file writes it with its lab."""
    return {"provider": rule.provider, "claim": rule.claim, "value": rule.value, "role": rule.role}


def user_document(user: User) -> dict[str, Any]:
    """Return a user as an apply file writes them, without the password."""
    return _present(
        email=user.email,
        username=user.username,
        email_verified=user.email_verified or None,
        name=user.name,
        **user.profile,
        roles=user.roles or None,
        status=None if user.active else user.status,
    )


def membership_document(membership: Membership, lab: Lab, user: User) -> dict[str, Any]:
    """Return a membership as an apply file writes it."""
    return _present(
        lab=lab.slug,
        user=user.label,
        role=membership.role,
        not_before=membership.not_before,
        expires_at=membership.expires_at,
    )


def client_document(client: Client, held: Iterable[tuple[LabGrant | Membership, Lab]] = ()) -> dict[str, Any]:
    """Return a client as an apply file writes it, without secrets and without what is at its default.

    `held` is what labs have given to it.
    """
    document = dict(metadata_of(client))
    document.pop("registration_access_token_hash", None)
    if not client.response_types and "authorization_code" not in client.grant_types:
        # What the absent list means without the code grant.
        del document["response_types"]
    # Of a client that does not act for itself any more, a file would be refused.
    if GrantType.CLIENT_CREDENTIALS in client.grant_types and (grants := [lab_grant_document(*each) for each in held]):
        document["lab_grants"] = sorted(grants, key=lambda grant: str(grant["lab"]))
    return {"client_id": client.client_id, "client_name": client.client_name, **document}


def lab_grant_document(grant: LabGrant | Membership, lab: Lab) -> dict[str, Any]:
    """Return what a lab gives to a client as an apply file writes it with the client."""
    return {"lab": lab.slug, "role": grant.role, "expires_at": grant.expires_at}


def resource_document(resource: Resource) -> dict[str, Any]:
    """Return an API as an apply file writes it."""
    return _present(
        audience=resource.audience, name=resource.name, scopes=resource.scopes, client_id=resource.client_id
    )


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def plain(value: Any) -> Any:
    """Return a value as YAML writes it; a moment that ends a day is written as that day."""
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.date() if value.timetz() == END_OF_DAY else value.isoformat()
    return str(value) if isinstance(value, StrEnum | date) else value
