"""Signing in through another provider: who came back from there, and what is kept meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamIdentity:
    """Whom a provider vouches for: (`issuer`, `sub`) is the person; everything else may change.

    `email` is in lower case, and nobody's until `email_verified`; `email_vouched` tells that the provider can know that
    it is still theirs. `claims` are the provider's own, as it told them.
    `auth_time` is when the person signed in there (OpenID Connect Core §2); None where it does not say. `acr` and
    `amr` are the provider's words, not ours. The last three are what it gave for later, and are secrets.
    """

    issuer: str
    sub: str
    email: str | None = None
    email_verified: bool = False
    email_vouched: bool = True
    claims: Mapping[str, Any] = field(default_factory=dict)
    auth_time: datetime | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    id_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    api_scope: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What an account is linked to (§5.7)."""
        return self.issuer, self.sub

    @property
    def proven_email(self) -> str | None:
        """The address that is the person's as far as the provider knows; None where it does not."""
        return self.email if self.email_verified else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedAccount:
    """An account at another provider that signs a user in.

    `email` and `name` are what the provider called the person last, for pages; `claims` what rules of labs look at.
    """

    id: str
    issuer: str
    sub: str
    user_id: str
    provider: str
    created_at: datetime
    email: str | None = None
    name: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    last_used_at: datetime | None = None
    # What applications may use at the provider, where its refresh token is kept.
    sealed_refresh_token: bytes | None = field(default=None, repr=False)
    api_scope: str = ""

    @property
    def label(self) -> str:
        """How pages call it."""
        return self.email or self.name or self.sub


class VisitStage(StrEnum):
    """How far a visit to another provider is."""

    # The browser is at the provider; the hash is that of `state`.
    LEFT = "left"
    # It came back, and the person has something to answer before it counts; the hash is that of the page's handle.
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamVisit:
    """A sign-in through another provider that is not finished: single-use, and of one browser.

    `browser` is the hash of that browser's cookie. `sealed` holds the nonce, the PKCE verifier and where to go on, or
    who came back: nothing that a copy of the database should tell.
    """

    hash: str
    provider: str
    stage: VisitStage
    browser: str
    sealed: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSession:
    """By which provider a session of ours began, and its ID token for signing out there as well."""

    session_id: str
    provider: str
    sealed_id_token: bytes = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDocument:
    """A provider's metadata or keys as they were fetched last, so that a restart does without the provider."""

    uri: str
    body: str
    fetched_at: datetime
    expires_at: datetime
