"""Mail that people are sent."""

from dataclasses import dataclass
from enum import StrEnum

from idp.domain.outbox import Owed


class MailPurpose(StrEnum):
    """Why a mail is sent; each has its templates in templates/email/."""

    INVITATION = "invitation"
    MEMBERSHIP_ENDS = "membership_ends"
    LAB_MEMBERSHIP_ENDS = "lab_membership_ends"
    JOIN_REQUEST = "join_request"
    JOIN_REQUEST_DECIDED = "join_request_decided"
    LINKED_ACCOUNT_ADDED = "linked_account_added"
    LINKED_ACCOUNT_REMOVED = "linked_account_removed"
    EMAIL_CHANGED = "email_changed"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    RECOVERY_CODES_CREATED = "recovery_codes_created"
    RECOVERY_CODE_USED = "recovery_code_used"
    EMAIL_CODE = "email_code"
    SIGN_UP = "sign_up"
    SIGN_UP_KNOWN = "sign_up_known"
    SIGN_UP_REFUSED = "sign_up_refused"
    RECOVERY = "recovery"
    RECOVERY_ELSEWHERE = "recovery_elsewhere"
    PASSWORD_CHANGED = "password_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail(Owed):
    """One mail to one person; `delivered_at` is when a mail server took it.

    `sealed` holds recipient, subject and both texts encrypted, with the id as associated data: they may hold links
    that act for whoever opens them. Nothing of it is left once the mail was taken or given up.
    """

    purpose: MailPurpose
    sealed: bytes
