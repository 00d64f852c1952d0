"""What is worth remembering: who did what to whom, with which result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class AuditAction(StrEnum):
    """Every kind of event; docs/operations.md explains each."""

    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGOUT = "logout"
    CONSENT_GIVEN = "consent.given"
    CONSENT_DENIED = "consent.denied"
    GRANT_REVOKED = "grant.revoked"
    CODE_REPLAYED = "code.replayed"
    REFRESH_TOKEN_REPLAYED = "refresh_token.replayed"
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    PASSWORD_SET = "password.set"
    ROLE_GRANTED = "role.granted"
    CLIENT_CREATED = "client.created"
    CLIENT_UPDATED = "client.updated"
    CLIENT_DELETED = "client.deleted"
    CLIENT_SECRET_ROTATED = "client.secret_rotated"
    LAB_CREATED = "lab.created"
    LAB_UPDATED = "lab.updated"
    LAB_DELETED = "lab.deleted"
    MEMBERSHIP_CREATED = "membership.created"
    MEMBERSHIP_UPDATED = "membership.updated"
    MEMBERSHIP_DELETED = "membership.deleted"
    MEMBERSHIP_ENDED_BY_MEMBER = "membership.left"
    LAB_EXPORTED = "lab.exported"
    LAB_GRANT_CREATED = "lab_grant.created"
    LAB_GRANT_UPDATED = "lab_grant.updated"
    LAB_GRANT_DELETED = "lab_grant.deleted"
    SIGNING_KEYS_ROTATED = "signing_keys.rotated"
    SIGNING_KEY_REVOKED = "signing_key.revoked"
    KEYS_REWRAPPED = "keys.rewrapped"
    ROLE_REVOKED = "role.revoked"
    CONSENT_WITHDRAWN = "consent.withdrawn"
    CONSENT_CHANGED = "consent.changed"
    CLAIMS_PREVIEWED = "claims.previewed"
    ACCOUNT_SELECTED = "account.selected"
    CLIENT_REGISTERED = "client.registered"
    CLIENT_REGISTRATION_REFUSED = "client.registration_refused"
    INITIAL_ACCESS_TOKEN_CREATED = "initial_access_token.created"
    INITIAL_ACCESS_TOKEN_REVOKED = "initial_access_token.revoked"
    RESOURCE_CREATED = "resource.created"
    RESOURCE_UPDATED = "resource.updated"
    RESOURCE_DELETED = "resource.deleted"
    LOGOUT_DELIVERY_FAILED = "logout_delivery.failed"
    MAIL_FAILED = "mail.failed"
    INVITATION_CREATED = "invitation.created"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_DECLINED = "invitation.declined"
    INVITATION_REVOKED = "invitation.revoked"
    JOIN_REQUEST_CREATED = "join_request.created"
    JOIN_REQUEST_GRANTED = "join_request.granted"
    JOIN_REQUEST_DENIED = "join_request.denied"
    JOIN_REQUEST_WITHDRAWN = "join_request.withdrawn"
    LAB_APPLICATION_ALLOWED = "lab_application.allowed"
    LAB_APPLICATION_DISALLOWED = "lab_application.disallowed"
    LINKED_ACCOUNT_ADDED = "linked_account.added"
    LINKED_ACCOUNT_REMOVED = "linked_account.removed"
    PROVIDER_CREATED = "provider.created"
    PROVIDER_UPDATED = "provider.updated"
    PROVIDER_DELETED = "provider.deleted"
    LAB_RULE_CREATED = "lab_rule.created"
    LAB_RULE_UPDATED = "lab_rule.updated"
    LAB_RULE_DELETED = "lab_rule.deleted"
    SIGN_IN_LINK_CREATED = "sign_in_link.created"
    UPSTREAM_TOKEN_RELEASED = "upstream_token.released"
    SECOND_FACTOR_ADDED = "second_factor.added"
    SECOND_FACTOR_REMOVED = "second_factor.removed"
    SECOND_FACTOR_FAILED = "second_factor.failed"
    SECOND_FACTORS_RESET = "second_factors.reset"
    RECOVERY_CODES_CREATED = "recovery_codes.created"
    RECOVERY_CODE_USED = "recovery_code.used"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event; `actor` and `target` are ids such as `u_…`, a client_id or `cli`."""

    id: str
    at: datetime
    action: AuditAction
    actor: str
    target: str
    succeeded: bool = True
    address: str | None = None
    request_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
