"""Client metadata as it is written down (RFC 7591 §2), and registering a client with it."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    Field,
    StrictInt,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from idp.crypto.opaque import mint_id, mint_token
from idp.domain.audit import AuditAction
from idp.domain.client import ApplicationType, Client, ClientAuthMethod, ClientSecret, ClientStatus, GrantType
from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.redirect_uri import redirect_uri_fault
from idp.protocol.scope import is_scope_token
from idp.services.audit import audit_event
from idp.services.clients import secret_hash
from idp.services.input import Input, InputRefused, Origin, Text, WebAddress, longest
from idp.services.installation import DataKeys
from idp.services.labs import check_slug
from idp.store.errors import Conflict
from idp.store.store import Store

# RFC 6749 appendix A.1 and A.2.
_VSCHARS = re.compile(r"[\x20-\x7E]+")


def _check_vschars(text: str) -> str:
    if _VSCHARS.fullmatch(text) is None or text != text.strip():
        raise ValueError("it must be printable ASCII characters, without spaces around them")
    return text


def _check_client_id(client_id: str) -> str:
    # RFC 9700 §4.15: its own tokens have the client's id as `sub`, which must never be taken for a person's.
    if client_id.startswith("u_"):
        raise ValueError("it must not begin with u_, as people's ids do")
    return client_id


def _check_redirect_uri(uri: str, info: ValidationInfo) -> str:
    kind = info.data.get("application_type")
    fault = None if kind is None else redirect_uri_fault(uri, kind)
    if fault is not None:
        raise ValueError(fault)
    return uri


def _check_scope(scope: str) -> str:
    tokens = scope.split()
    if any(not is_scope_token(token) for token in tokens):
        raise ValueError("it must be scopes separated by spaces, without quotes and backslashes")
    return " ".join(dict.fromkeys(tokens))


def _check_once(items: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(items)) < len(items):
        raise ValueError("it lists something twice")
    return items


def _read_allowed_labs(value: object, read_slugs: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value != "*":
        raise ValueError('it must be "*" or a list of slugs')
    return value if value == "*" else read_slugs(value)


_Uri = Annotated[str, AfterValidator(_check_redirect_uri)]
_Uris = Annotated[tuple[_Uri, ...], AfterValidator(_check_once)]
_Slugs = tuple[Annotated[str, AfterValidator(check_slug)], ...]
_Credential = Annotated[str, AfterValidator(_check_vschars)]


class ClientInput(Input):
    """A client; what is absent is at its default (RFC 7591 §2). `allowed_labs` is `"*"` or slugs, as in the domain.

    The order matters: a field's checks look at the fields above it.
    """

    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"lab_grants", "require_lab", "id_token_lab_claims", "group_format", "profile", "access_token_format"}
    )

    client_id: Annotated[_Credential, longest(2048), AfterValidator(_check_client_id)]
    client_name: Text | None = None
    status: ClientStatus = ClientStatus.ACTIVE
    application_type: ApplicationType = ApplicationType.WEB
    token_endpoint_auth_method: ClientAuthMethod = ClientAuthMethod.CLIENT_SECRET_BASIC
    client_secret: Annotated[_Credential, longest(1024)] | None = Field(default=None, repr=False)
    grant_types: Annotated[tuple[GrantType, ...], AfterValidator(_check_once)] = (GrantType.AUTHORIZATION_CODE,)
    response_types: tuple[str, ...] | None = None
    redirect_uris: _Uris = ()
    post_logout_redirect_uris: _Uris = ()
    scope: Annotated[str, AfterValidator(_check_scope)] = "openid"
    client_uri: WebAddress | None = None
    id_token_signed_response_alg: SigningAlgorithm = SigningAlgorithm.RS256
    default_max_age: Annotated[StrictInt, Field(ge=0, le=2_147_483_647)] | None = None
    require_auth_time: bool = False
    require_pkce: bool = True
    trusted: bool = False
    web_origins: Annotated[tuple[Origin, ...], AfterValidator(_check_once)] | None = None
    allowed_labs: Annotated[_Slugs, WrapValidator(_read_allowed_labs)] = ()

    @field_validator("client_secret")
    @classmethod
    def _check_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is not None and _is_public(info):
            raise ValueError("a public client (token_endpoint_auth_method: none) has no secret")
        return secret

    @field_validator("grant_types")
    @classmethod
    def _check_grant_types(cls, kinds: tuple[GrantType, ...], info: ValidationInfo) -> tuple[GrantType, ...]:
        if not kinds:
            raise ValueError("it is empty")
        if GrantType.CLIENT_CREDENTIALS in kinds and _is_public(info):
            raise ValueError("it has client_credentials, which needs a client with a secret (RFC 6749 §4.4)")
        if GrantType.REFRESH_TOKEN in kinds and GrantType.AUTHORIZATION_CODE not in kinds:
            raise ValueError("it has refresh_token without authorization_code, which issues refresh tokens")
        return kinds

    @field_validator("response_types")
    @classmethod
    def _check_response_types(cls, kinds: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        # RFC 7591 §2.1: the two lists say the same.
        grant_types = info.data.get("grant_types")
        if grant_types is None:
            return kinds
        fitting = ("code",) if GrantType.AUTHORIZATION_CODE in grant_types else ()
        if kinds is None or kinds == fitting:
            return fitting
        if kinds not in {(), ("code",)}:
            raise ValueError("it must be [code]: others are not supported")
        raise ValueError("it must be [code] with the grant type authorization_code, and [] without (RFC 7591 §2.1)")

    @field_validator("redirect_uris")
    @classmethod
    def _check_redirect_uris(cls, uris: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not uris and GrantType.AUTHORIZATION_CODE in info.data.get("grant_types", ()):
            raise ValueError("it is empty, but authorization_code needs at least one")
        return uris

    @field_validator("require_pkce")
    @classmethod
    def _check_require_pkce(cls, required: bool, info: ValidationInfo) -> bool:
        if not required and _is_public(info):
            raise ValueError("only a client with a secret may do without PKCE (RFC 9700 §2.1.1)")
        return required

    def client(
        self,
        present: Client | None,
        *,
        secrets: tuple[ClientSecret, ...],
        now: datetime,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> Client:
        """Return the client: a new one, or `present` as it is written down here."""
        base = present or Client(
            client_id=self.client_id, client_name="", created_at=now, updated_at=now, managed_by=managed_by
        )
        metadata = dict(self)
        del metadata["client_secret"]
        metadata["client_name"] = self.client_name or self.client_id[:300]
        metadata["id_token_signed_response_alg"] = str(self.id_token_signed_response_alg)
        client = replace(base, **metadata, secrets=secrets)
        return client if client == base else replace(client, updated_at=now)


def _is_public(info: ValidationInfo) -> bool:
    return info.data.get("token_endpoint_auth_method") is ClientAuthMethod.NONE


async def register(
    store: Store, keys: DataKeys, clock: Clock, raw: dict[str, Any], *, actor: str
) -> tuple[Client, str | None]:
    """Register a client and return it with its new secret, which is told this once; a public client has none.

    Without a `client_id` it gets one.

    Raises:
        InputRefused: the metadata are wrong, or the `client_id` is taken.
    """
    given = ClientInput.read({"client_id": mint_id("client"), **raw})
    now = clock()
    secret = None if given.token_endpoint_auth_method is ClientAuthMethod.NONE else mint_token()
    secrets = () if secret is None else (ClientSecret(hash=secret_hash(keys, secret), created_at=now),)
    client = given.client(None, secrets=secrets, now=now)
    try:
        async with store.write() as tx:
            await tx.clients.add(client)
            await tx.audit_events.add(
                audit_event(AuditAction.CLIENT_CREATED, actor=actor, target=client.client_id, now=now)
            )
    except Conflict:
        raise InputRefused({("client_id",): "there is a client with this id already"}) from None
    return client, secret
