"""Claims preview: what a client would be told about somebody now, and why each claim and each lab is there or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from idp.domain.acr import ACR_LADDER
from idp.domain.audit import AuditAction
from idp.domain.claims import JWT_LAB_BYTES, USERINFO_LAB_BYTES, EntitlementNamespace
from idp.domain.client import Client, Profile
from idp.domain.clock import Clock
from idp.domain.consent import LabConsent, unasked
from idp.domain.lab import LabMembership
from idp.domain.lab_release import ENDING
from idp.domain.release import Release, release
from idp.domain.user import User
from idp.protocol.errors import InvalidScope
from idp.protocol.scope import check_user_scope
from idp.services.accounts import find_user
from idp.services.audit import audit_event
from idp.services.input import InputRefused
from idp.services.lab_permissions import Actor, check_installation_admin
from idp.store.errors import NotFound
from idp.store.store import Store


class Asked(StrEnum):
    """What the preview takes for consent: what is on file, that every box would be ticked, or that none is asked."""

    ON_FILE = "on_file"
    ALL_TICKED = "all_ticked"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be told, where, and why; `claims` and `labs` hold a reason for each one."""

    consent: Asked
    scope: tuple[str, ...]
    userinfo: Mapping[str, Any]
    access_token: Mapping[str, Any]
    id_token: Mapping[str, Any]
    claims: Mapping[str, str]
    labs: Mapping[str, str]


class ClaimsPreview:
    """Looks at what would be released; it mints nothing."""

    def __init__(self, store: Store, clock: Clock, *, namespace: EntitlementNamespace | None) -> None:
        self._store = store
        self._clock = clock
        self._namespace = namespace

    async def of(
        self, actor: Actor, client_id: str, identifier: str, scope: str, *, acr: str = ACR_LADDER[0]
    ) -> Preview:
        """Return what a client would be told about somebody who signed in with `acr`.

        Raises:
            Forbidden: the actor does not administer the installation.
            NotFound: there is no such client or account.
            InputRefused: the scope would be refused before anybody signs in.
        """
        check_installation_admin(actor)
        async with self._store.write() as tx:
            client, user = await tx.clients.find(client_id), await find_user(tx, identifier)
            if client is None:
                raise NotFound(f"there is no client {client_id}")
            if user is None:
                raise NotFound(f"there is no account {identifier}")
            memberships = await tx.memberships.of_user(user.id)
            consent = await tx.consents.find(user.id, client_id)
            event = audit_event(
                AuditAction.CLAIMS_PREVIEWED, actor=actor.id, target=user.id, now=self._clock(), client=client_id
            )
            await tx.audit_events.add(event)
        answered = None if consent is None else consent.labs
        asked = Asked.NOT_ASKED if client.trusted else Asked.ALL_TICKED if answered is None else Asked.ON_FILE
        try:
            granted = check_user_scope(client, scope, code=True, entitlements=self._namespace is not None)
        except InvalidScope as error:
            raise InputRefused(
                {("scope",): error.detail or "it is missing, malformed or not for this client"}
            ) from None
        # As a sign-in would take it: what was refused of a client that need not ask stays refused.
        used = unasked(answered) if client.trusted and answered is not None else answered
        return self._preview(client, user, memberships, granted, used, asked, acr)

    def _preview(
        self,
        client: Client,
        user: User,
        memberships: list[LabMembership],
        scope: tuple[str, ...],
        consent: LabConsent | None,
        asked: Asked,
        acr: str,
    ) -> Preview:
        def told(**more: Any) -> Release:
            return release(
                client,
                scope,
                now=self._clock(),
                memberships=memberships,
                consent=consent,
                acr=acr,
                namespace=self._namespace,
                **more,
            )

        userinfo = told(user=user, max_lab_bytes=USERINFO_LAB_BYTES)
        token = told(ending=ENDING, max_lab_bytes=JWT_LAB_BYTES)
        in_id_token = client.id_token_lab_claims or client.profile is Profile.WLCG
        return Preview(
            consent=asked,
            scope=userinfo.scope,
            userinfo=userinfo.claims,
            access_token=token.claims,
            id_token=token.claims if in_id_token else {},
            claims={name: str(reason) for name, reason in userinfo.reasons.items()},
            labs={
                **{lab.lab.slug: f"released as {lab.role}" for lab in userinfo.labs.labs},
                **{slug: str(reason) for slug, reason in userinfo.labs.reasons.items()},
            },
        )
