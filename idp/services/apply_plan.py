"""What applying files would change: files and store compared, section by section.

Labs, memberships, clients, resources and providers are declared whole: what is absent is at its default. Of users only
what is written is touched, and passwords count on creation only. Sections that stand in no file are left alone, and so
are the lab grants of a client, and the rules of a lab, that says nothing of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from idp.domain.client import Client, ClientAuthMethod, ClientSecret
from idp.domain.lab import Lab, ManagedBy, Membership
from idp.domain.lab_grant import LabGrant
from idp.domain.user import User
from idp.services.accounts import is_super_admin
from idp.services.apply_file import ApplyFile, Entry
from idp.services.apply_providers import compare_providers, compare_rules, warn_of_closed
from idp.services.apply_steps import ACTOR, State, Steps
from idp.services.client_input import SECRETLESS, ClientInput
from idp.services.clients import make_secret, secret_hash
from idp.services.export import (
    client_document,
    lab_document,
    lab_grant_document,
    membership_document,
    resource_document,
    user_document,
)
from idp.services.input import InputRefused
from idp.services.installation import DataKeys


class Plan(Steps):
    """Compares files and store, section by section; later sections see what earlier ones will have done."""

    def __init__(self, state: State, keys: DataKeys, now: datetime) -> None:
        super().__init__()
        self._state = state
        self._keys = keys
        self._now = now
        self._ids = {
            identifier: user.id
            for user in state.users.values()
            for identifier in (user.email, user.username)
            if identifier is not None
        }

    def compare(
        self, files: ApplyFile, buried: Sequence[bool], *, issuer: str, google: str | None = None, prune: bool
    ) -> None:
        """Find the steps that make the files true; `buried` says for each lab whether its slug was another lab's.

        `issuer` is our own, `google` that of the provider google, where the settings make one.
        """
        self._labs(files, buried, prune=prune)
        self._users(files)
        self._memberships(files, prune=prune)
        self._clients(files, issuer=issuer, prune=prune)
        self._resources(files, issuer=issuer, prune=prune)
        closed = compare_providers(
            self, self._state, files.providers, self._keys, issuer=issuer, google=google, now=self._now, prune=prune
        )
        compare_rules(self, self._state, files.labs, now=self._now, prune=prune)
        warn_of_closed(self, self._state, closed, google=google)

    def _labs(self, files: ApplyFile, buried: Sequence[bool], *, prune: bool) -> None:
        if files.labs is None:
            return
        for entry, was_used in zip(files.labs, buried, strict=True):
            present = self._state.labs.get(entry.given.slug)
            if present is None and was_used:
                self.faults.append(entry.fault("slug", "it was a deleted lab's, and slugs are never given out again"))
                continue
            lab = entry.given.lab(present, now=self._now, managed_by=ManagedBy.APPLY)
            self._state.labs[lab.slug] = lab
            self.add("lab", lab.slug, present, lab, lab_document)
        listed = {entry.given.slug for entry in files.labs}
        for lab in list(self._state.labs.values()):
            if prune and lab.managed_by is ManagedBy.APPLY and lab.slug not in listed:
                del self._state.labs[lab.slug]
                # What the database deletes along with it.
                for key in [key for key in self._state.memberships if key[0] == lab.id]:
                    del self._state.memberships[key]
                for key in [key for key in self._state.lab_grants if key[1] == lab.id]:
                    del self._state.lab_grants[key]
                for rule in [rule for rule in self._state.lab_rules.values() if rule.lab_id == lab.id]:
                    del self._state.lab_rules[rule.id]
                self.add("lab", lab.slug, lab, None, lab_document)

    def _users(self, files: ApplyFile) -> None:
        met: set[str] = set()
        demoted: Entry[Any] | None = None
        for entry in files.users or ():
            ids = {name: self._ids.get(identifier) for name, identifier in _identifiers(entry.given)}
            found = next((id for id in ids.values() if id is not None), None)
            for name, id in ids.items():
                if id is not None and (id != found or id in met):
                    self.faults.append(entry.fault(name, "it belongs to another account"))
            present = None if found is None else self._state.users[found]
            user = entry.given.user(present, now=self._now)
            met.add(user.id)
            self._state.users[user.id] = user
            self._ids |= {identifier: user.id for _, identifier in _identifiers(user)}
            self.add("user", user.label, present, user, user_document, entry=entry if present is None else None)
            if present is not None and is_super_admin(present) and not is_super_admin(user):
                demoted = entry
        if demoted is not None and not any(map(is_super_admin, self._state.users.values())):
            self.faults.append(demoted.fault("roles", "it would leave no active super_admin"))

    def _memberships(self, files: ApplyFile, *, prune: bool) -> None:
        if files.memberships is None:
            return
        slugs = {lab.id: lab for lab in self._state.labs.values()}
        listed = set()
        for entry in files.memberships:
            lab = self._state.labs.get(entry.given.lab)
            user_id = self._ids.get(entry.given.user.lower())
            if lab is None:
                self.faults.append(entry.fault("lab", f"there is no lab {entry.given.lab}"))
            if user_id is None:
                self.faults.append(entry.fault("user", f"there is no user {entry.given.user}"))
            if lab is None or user_id is None:
                continue
            user = self._state.users[user_id]
            if (lab.id, user.id) in listed:
                self.faults.append(entry.fault("user", "it stands there already, by another name"))
                continue
            listed.add((lab.id, user.id))
            present = self._state.memberships.get((lab.id, user.id))
            membership = entry.given.membership(
                present, lab, user, now=self._now, granted_by=ACTOR, managed_by=ManagedBy.APPLY
            )
            # Only once: files keep the memberships that ended as planned.
            if membership != present and membership.expires_at is not None and membership.expires_at <= self._now:
                self.warnings.append(entry.fault("expires_at", "it is in the past: the membership does not count"))
            self._membership(present, membership, lab, user)
        for key, held in self._state.memberships.items():
            if prune and held.managed_by is ManagedBy.APPLY and key not in listed:
                self._membership(held, None, slugs[held.lab_id], self._state.users[held.user_id])

    def _membership(self, before: Membership | None, after: Membership | None, lab: Lab, user: User) -> None:
        self.add(
            "membership",
            f"{user.label} in {lab.slug}",
            before,
            after,
            lambda membership: membership_document(membership, lab, user),
        )

    def _clients(self, files: ApplyFile, *, issuer: str, prune: bool) -> None:
        if files.clients is None:
            return
        for entry in files.clients:
            for place, text in entry.given.own_addresses(issuer).items():
                self.faults.append(entry.source.fault((*entry.place, *place), text))
            present = self._state.clients.get(entry.given.client_id)
            secrets = self._secrets(entry, present)
            client = entry.given.client(present, secrets=secrets, now=self._now, managed_by=ManagedBy.APPLY)
            self._state.clients[client.client_id] = client
            self.add("client", client.client_id, present, client, client_document)
            if entry.given.lab_grants is not None:
                self._lab_grants(entry, prune=prune)
        listed = {entry.given.client_id for entry in files.clients}
        for client in list(self._state.clients.values()):
            if prune and client.managed_by is ManagedBy.APPLY and client.client_id not in listed:
                del self._state.clients[client.client_id]
                self.add("client", client.client_id, client, None, client_document)

    def _lab_grants(self, entry: Entry[ClientInput], *, prune: bool) -> None:
        client_id = entry.given.client_id
        labs = {lab.id: lab for lab in self._state.labs.values()}
        listed = set()
        for position, given in enumerate(entry.given.lab_grants or ()):
            place = (*entry.place, "lab_grants", position)
            lab = self._state.labs.get(given.lab)
            if lab is None:
                self.faults.append(entry.source.fault((*place, "lab"), f"there is no lab {given.lab}"))
                continue
            listed.add(lab.id)
            present = self._state.lab_grants.get((client_id, lab.id))
            try:
                grant = given.grant(
                    present, lab, client_id, now=self._now, granted_by=ACTOR, managed_by=ManagedBy.APPLY
                )
            except InputRefused as refused:
                self.faults += [entry.source.fault((*place, *where), text) for where, text in refused.faults.items()]
                continue
            if grant != present and not grant.valid(now=self._now):
                text = "it is in the past: the grant does not count"
                self.warnings.append(entry.source.fault((*place, "expires_at"), text))
            self._lab_grant(present, grant, client_id, lab)
        for grant in self._state.lab_grants.values():
            made = grant.client_id == client_id and grant.managed_by is ManagedBy.APPLY
            if prune and made and grant.lab_id not in listed:
                self._lab_grant(grant, None, client_id, labs[grant.lab_id])

    def _lab_grant(self, before: LabGrant | None, after: LabGrant | None, client_id: str, lab: Lab) -> None:
        key = f"{client_id} in {lab.slug}"
        self.add("lab_grant", key, before, after, lambda grant: lab_grant_document(grant, lab))

    def _secrets(self, entry: Entry[ClientInput], present: Client | None) -> tuple[ClientSecret, ...]:
        given, method = entry.given, entry.given.token_endpoint_auth_method
        if method in SECRETLESS:
            return ()
        # Only this method wants secrets that can be read again: others are not kept so.
        readable = method is ClientAuthMethod.CLIENT_SECRET_JWT
        held = () if present is None else present.secrets
        fitting = [secret for secret in held if secret.sealed or not readable]
        if given.client_secret is None:
            if not fitting:
                text = (
                    "client_secret_jwt needs it" if readable else "public clients say token_endpoint_auth_method: none"
                )
                self.faults.append(entry.fault("client_secret", f"it is missing; {text}"))
        else:
            hashed = secret_hash(self._keys, given.client_secret)
            if not any(secret.hash == hashed and secret.valid(now=self._now) for secret in fitting):
                return (make_secret(self._keys, given.client_id, method, given.client_secret, self._now),)
        return held if readable else tuple(replace(secret, sealed=None) for secret in held)

    def _resources(self, files: ApplyFile, *, issuer: str, prune: bool) -> None:
        if files.resources is None:
            return
        for entry in files.resources:
            given = entry.given
            if given.audience == issuer:
                self.faults.append(entry.fault("audience", "it is this server itself, which takes every scope"))
            if given.client_id is not None and given.client_id not in self._state.clients:
                self.warnings.append(entry.fault("client_id", "there is no such client: the API cannot introspect yet"))
            present = self._state.resources.get(given.audience)
            resource = given.resource(present, now=self._now, managed_by=ManagedBy.APPLY)
            self.add("resource", resource.audience, present, resource, resource_document)
        listed = {entry.given.audience for entry in files.resources}
        for resource in self._state.resources.values():
            if prune and resource.managed_by is ManagedBy.APPLY and resource.audience not in listed:
                self.add("resource", resource.audience, resource, None, resource_document)


def _identifiers(user: Any) -> list[tuple[str, str]]:
    pairs = (("email", user.email), ("username", user.username))
    return [(name, identifier) for name, identifier in pairs if identifier is not None]
