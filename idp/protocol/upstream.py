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
    # It says that it has trouble of its own.
    TROUBLE = "trouble"
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
    # The person signed in there too long ago, and has no other way to prove here that it is them.
    NOT_FRESH = "not_fresh"
    # The same, because the provider never says when they did.
    NEVER_FRESH = "never_fresh"
    # Somebody who is to prove an account came back with one that does not sign in to it.
    OTHER_ACCOUNT = "other_account"
    # People may not sign in through it any more.
    NOT_OFFERED = "not_offered"
    # ── Of linking ──────────────────────────────────────────────────────────────────────────────────────────────────
    # It is linked to another account here.
    LINKED_ELSEWHERE = "linked_elsewhere"
    # The address of the account here was never verified, so it may be anybody's.
    UNVERIFIED_ACCOUNT = "unverified_account"
    # Without it nobody could sign in to the account any more.
    LAST_WAY_IN = "last_way_in"


class UpstreamRefused(Exception):
    """A sign-in through a provider, or a link to one, does not come about; `detail` is for the log only.

    `email` is an address that the provider vouches for, where the page may tell it to whose it is.
    """

    def __init__(self, fault: UpstreamFault, *, provider: str = "", detail: str = "", email: str | None = None) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.provider = provider
        self.detail = detail
        self.email = email
