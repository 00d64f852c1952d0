"""Signing in through other providers: why it may not come about, in words that are the same for everybody."""

from enum import StrEnum


class UpstreamFault(StrEnum):
    """What is in the way; each has a page of its own."""

    # ── Of the way there and back ───────────────────────────────────────────────────────────────────────────────────
    # `state` is missing, unknown, expired, used, of another browser or of another provider (RFC 9700 §4.7).
    LOST = "lost"
    # The person said no there.
    DENIED = "denied"
    # The provider refused our request.
    REFUSED = "refused"
    # It does not answer, too slowly, or with something else than its protocol.
    DOWN = "down"
    # What it answered is not to be believed: signature, issuer, audience, nonce, times.
    INVALID = "invalid"
    # ── Of who came back ────────────────────────────────────────────────────────────────────────────────────────────
    # Nobody of the organisations that are let in.
    WRONG_DOMAIN = "wrong_domain"
    NO_EMAIL = "no_email"
    UNVERIFIED_EMAIL = "unverified_email"
    # There is no account, and the policy lets nobody make one.
    NO_ACCOUNT = "no_account"
    # The account here may not be used.
    DISABLED = "disabled"
    # The provider does not say that the person has just signed in there, and there is no other way to prove it here.
    NOT_FRESH = "not_fresh"
    # ── Of linking ──────────────────────────────────────────────────────────────────────────────────────────────────
    # It is linked to another account here.
    LINKED_ELSEWHERE = "linked_elsewhere"
    # The address of the account here was never verified, so it may be anybody's.
    UNVERIFIED_ACCOUNT = "unverified_account"
    # Without it nobody could sign in to the account any more.
    LAST_WAY_IN = "last_way_in"


class UpstreamRefused(Exception):
    """A sign-in through a provider, or a link to one, does not come about; `detail` is for the log only."""

    def __init__(self, fault: UpstreamFault, *, provider: str = "", detail: str = "") -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.provider = provider
        self.detail = detail
