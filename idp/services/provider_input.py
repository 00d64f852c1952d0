"""Providers as they are written down: in apply files and forms, and what follows from their kind."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from idp.domain.acr import ACR_LADDER
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.domain.provider import USUAL_CLAIMS, Provider, ProviderKind, ProviderStatus
from idp.domain.user import PROFILE_CLAIMS
from idp.protocol.redirect_uri import server_uri_fault
from idp.protocol.scope import is_scope_token
from idp.services.audit import audit_event
from idp.services.client_fields import ClientId, Credential, Few, Once
from idp.services.input import Input, Text, longest
from idp.services.providers import GOOGLE
from idp.store.errors import NotFound
from idp.store.store import Store

# Words that stand in the place of a provider's name in addresses of ours.
RESERVED_NAMES = frozenset({"code", "mfa", "link", "callback"})
# The ways of proving who we are that connectors know.
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

_OIDC_SCOPE = "openid profile email"
# What need not be written down, because it is the same for everybody.
_PRESETS: Mapping[ProviderKind, Mapping[str, str]] = {
    ProviderKind.OIDC: {"scope": _OIDC_SCOPE},
    ProviderKind.ORCID: {"display_name": "ORCID", "issuer": "https://orcid.org", "scope": "openid"},
    ProviderKind.GITHUB: {
        "display_name": "GitHub",
        "issuer": "https://github.com",
        "scope": "read:user user:email",
    },
}
_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,38}")
_CLAIM_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
_AMR = re.compile(r"[A-Za-z0-9_-]{1,40}")
_WELL_KNOWN = "/.well-known/"
_MAX_WORDS = 50
_CLAIMS = frozenset({*PROFILE_CLAIMS, "name", "email"})


def check_provider_name(name: str) -> str:
    """Return a provider's name.

    Raises:
        ValueError: none may be called that.
    """
    if name == GOOGLE:
        raise ValueError("it comes from IDP_GOOGLE_CLIENT_ID: leave it out here")
    if name in RESERVED_NAMES:
        raise ValueError("it is reserved")
    if _NAME.fullmatch(name) is None:
        raise ValueError("it must be at most 39 lower-case letters and digits, with single hyphens between them")
    return name


def _check_issuer(issuer: str) -> str:
    fault = server_uri_fault(issuer)
    if fault is not None:
        raise ValueError(fault)
    # OpenID Connect Discovery §3. The rest is kept as it is: it is compared exactly, a slash at its end included.
    if "?" in issuer:
        raise ValueError("it has a query")
    if _WELL_KNOWN in issuer:
        raise ValueError(f"it is what stands before {_WELL_KNOWN}")
    return issuer


def _check_scope(scope: str) -> str:
    tokens = scope.split()
    if not all(map(is_scope_token, tokens)):
        raise ValueError("it must be scopes separated by spaces, without quotes and backslashes")
    return " ".join(dict.fromkeys(tokens))


def _check_auth_method(method: str) -> str:
    if method not in AUTH_METHODS:
        raise ValueError(f"it must be {', '.join(AUTH_METHODS[:-1])} or {AUTH_METHODS[-1]}")
    return method


def _check_claims(claims: dict[str, str]) -> dict[str, str]:
    if unknown := sorted(claims.keys() - _CLAIMS):
        raise ValueError(f"accounts hold no claim {unknown[0]}")
    return claims


def _check_claim_name(name: str) -> str:
    if _CLAIM_NAME.fullmatch(name) is None:
        raise ValueError("it must be 1 to 200 letters, digits and _ . : / -")
    return name


def _check_our_acr(acr: str) -> str:
    if acr not in ACR_LADDER:
        raise ValueError(f"it must become {' or '.join(ACR_LADDER)}")
    return acr


def _check_our_amr(amr: str) -> str:
    if _AMR.fullmatch(amr) is None:
        raise ValueError("it must become a name of RFC 8176: at most 40 letters, digits, - and _")
    return amr


def _check_words(words: dict[str, str]) -> dict[str, str]:
    if len(words) > _MAX_WORDS:
        raise ValueError(f"it has more than {_MAX_WORDS} entries")
    return words


_Issuer = Annotated[str, AfterValidator(_check_issuer), longest(500)]
_Scope = Annotated[str, AfterValidator(_check_scope), longest(2000)]
_Word = Annotated[Credential, longest(200)]
_Words = AfterValidator(_check_words)


class ProviderInput(Input):
    """A provider; what is absent is at its default, which for some fields depends on the kind.

    The order of the fields matters: the checks of each look at those above it.
    """

    name: Annotated[str, AfterValidator(check_provider_name)]
    kind: ProviderKind = ProviderKind.OIDC
    display_name: Text | None = None
    issuer: _Issuer | None = None
    client_id: Annotated[Credential, longest(2048)]
    token_endpoint_auth_method: Annotated[str, AfterValidator(_check_auth_method)] | None = None
    client_secret: Annotated[Credential, longest(1024)] | None = Field(default=None, repr=False)
    scope: _Scope | None = None
    hosted_domains: tuple[str, ...] = ()
    claims: Annotated[dict[str, Annotated[str, AfterValidator(_check_claim_name)]], AfterValidator(_check_claims)] = (
        Field(default_factory=lambda: dict(USUAL_CLAIMS))
    )
    update_profile: bool = False
    assume_email_verified: bool = False
    acr: Annotated[dict[_Word, Annotated[str, AfterValidator(_check_our_acr)]], _Words] = Field(default_factory=dict)
    amr: Annotated[dict[_Word, Annotated[str, AfterValidator(_check_our_amr)]], _Words] = Field(default_factory=dict)
    logout: bool = True
    api_scope: _Scope = ""
    api_clients: Annotated[tuple[ClientId, ...], Few, Once] = ()
    status: ProviderStatus = ProviderStatus.ACTIVE

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: ProviderKind) -> ProviderKind:
        if kind is ProviderKind.GOOGLE:
            raise ValueError("it is for the provider that comes from IDP_GOOGLE_CLIENT_ID")
        return kind

    @field_validator("display_name", "issuer", "scope")
    @classmethod
    def _preset(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind, name = info.data.get("kind"), str(info.field_name)
        if value is None and kind is not None:
            value = _PRESETS[kind].get(name)
            if value is None:
                raise ValueError("it is missing")
        if value is not None and name == "issuer" and kind is ProviderKind.GITHUB and value.endswith("/"):
            raise ValueError("it must not end with a slash")
        if value is not None and name == "scope" and _speaks_oidc(info) and "openid" not in value.split():
            raise ValueError("it must hold openid (OpenID Connect Core §3.1.2.1)")
        return value

    @field_validator("token_endpoint_auth_method")
    @classmethod
    def _check_method_of_kind(cls, method: str | None, info: ValidationInfo) -> str | None:
        if method is not None and info.data.get("kind") in {ProviderKind.ORCID, ProviderKind.GITHUB}:
            raise ValueError("it is for kind: oidc only")
        return method

    @field_validator("client_secret")
    @classmethod
    def _check_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is not None and info.data.get("token_endpoint_auth_method") == "none":
            raise ValueError("with token_endpoint_auth_method: none there is none")
        return secret

    @field_validator("hosted_domains")
    @classmethod
    def _check_hosted_domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        # What would look like a restriction must be one.
        if domains:
            raise ValueError("only Google's sign-in looks at it: IDP_GOOGLE_HOSTED_DOMAIN")
        return domains

    @field_validator("api_scope")
    @classmethod
    def _check_api_scope(cls, scope: str, info: ValidationInfo) -> str:
        # Its connector gets no refresh tokens: people would agree to what never works.
        if scope and info.data.get("kind") is ProviderKind.GITHUB:
            raise ValueError("kind: github gets no refresh tokens: leave it out")
        return scope

    @field_validator("api_clients")
    @classmethod
    def _check_api_clients(cls, clients: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if clients and info.data.get("api_scope") == "":
            raise ValueError("it needs api_scope: what they may use")
        return clients

    @property
    def needs_secret(self) -> bool:
        """Whether we prove ourselves to the provider by a secret."""
        return self.token_endpoint_auth_method != "none"

    def provider(
        self,
        present: Provider | None,
        *,
        sealed_secret: bytes | None,
        now: datetime,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> Provider:
        """Return the provider: a new one, or `present` as it is written down here."""
        written: dict[str, Any] = {**dict(self), "sealed_secret": sealed_secret}
        del written["client_secret"]
        if present is None:
            return Provider(**written, created_at=now, updated_at=now, managed_by=managed_by)
        provider = replace(present, **written)
        return provider if provider == present else replace(provider, updated_at=now)


def _speaks_oidc(info: ValidationInfo) -> bool:
    return info.data.get("kind") in {ProviderKind.OIDC, ProviderKind.ORCID}


def provider_document(provider: Provider) -> dict[str, Any]:
    """Return a provider as an apply file writes it, without its secret and without what is at its default."""
    preset = _PRESETS.get(provider.kind, {"scope": _OIDC_SCOPE})
    usual = ProviderInput.model_fields
    document: dict[str, Any] = {}
    for name in usual:
        if name == "client_secret":
            continue
        value = getattr(provider, name)
        default = preset.get(name, usual[name].get_default(call_default_factory=True, validated_data={}))
        if name in {"name", "kind", "client_id"} or value != default:
            document[name] = value
    return document


async def set_provider_status(store: Store, clock: Clock, name: str, status: ProviderStatus, *, actor: str) -> Provider:
    """Let people sign in through a provider, or not any more; who is signed in stays so.

    Raises:
        NotFound: there is no such provider that can be changed.
    """
    async with store.write() as tx:
        if await tx.providers.find(name) is None:
            raise NotFound(f"there is no provider {name}")
        provider = await tx.providers.lock(name)
        if provider.status is status:
            return provider
        now = clock()
        provider = replace(provider, status=status, updated_at=now)
        await tx.providers.save(provider)
        event = audit_event(
            AuditAction.PROVIDER_UPDATED, actor=actor, target=name, now=now, fields=["status"], status=str(status)
        )
        await tx.audit_events.add(event)
    return provider
