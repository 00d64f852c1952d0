"""Client metadata as it is written down (RFC 7591 §2, OpenID Connect Registration §2), and registering a client."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt, ValidationInfo, field_validator

from idp.crypto.jose import is_usable
from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction
from idp.domain.client import (
    AccessTokenFormat,
    ApplicationType,
    Client,
    ClientAuthMethod,
    ClientSecret,
    ClientStatus,
    GrantType,
    GroupFormat,
    Profile,
    RequireLab,
    SubjectType,
)
from idp.domain.clock import Clock
from idp.domain.lab import LabRole, ManagedBy
from idp.domain.lab_scope import LAB_API_SCOPES
from idp.domain.origin import origin_of
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.client_assertion import ASSERTION_ALGORITHMS
from idp.protocol.redirect_uri import redirect_uri_fault
from idp.protocol.response_type import ID_TOKEN, grant_types_of
from idp.protocol.subject import sector_identifier
from idp.services.audit import audit_event
from idp.services.client_fields import (
    Acr,
    AllowedLabs,
    ClaimAliases,
    ClientId,
    Contact,
    Credential,
    EncryptionAlg,
    EncryptionEnc,
    Few,
    HttpsUri,
    Jwks,
    Once,
    RequestUri,
    ResponseTypes,
    Scope,
    ServerUri,
    SignatureAlg,
)
from idp.services.clients import make_secret, mint_secret
from idp.services.input import Input, InputRefused, Origin, Place, Text, WebAddress, longest
from idp.services.installation import DataKeys
from idp.services.lab_grants import ServiceRole
from idp.store.errors import Conflict
from idp.store.store import Store

# Methods by which a client proves itself without a secret of ours, or not at all.
SECRETLESS = frozenset({ClientAuthMethod.NONE, ClientAuthMethod.PRIVATE_KEY_JWT})

# The specifications' own default, A128CBC-HS256, is not on offer.
_DEFAULT_ENC = "A128GCM"

# RFC 7518 §3.2: a key at least as long as the hash.
_MAC_KEY_CHARS = {"HS384": 48, "HS512": 64}


def _check_redirect_uri(uri: str, info: ValidationInfo) -> str:
    kind = info.data.get("application_type")
    fault = None if kind is None else redirect_uri_fault(uri, kind)
    if fault is not None:
        raise ValueError(fault)
    return uri


_Uris = Annotated[tuple[Annotated[str, AfterValidator(_check_redirect_uri)], ...], Few, Once]


class ClientInput(Input):
    """A client; what is absent is at its default (RFC 7591 §2). `allowed_labs` is `"*"` or slugs, as in the domain.

    `lab_grants` are not the client's: labs give them, and where nothing is said of them they stay as they are. The
    order of the fields matters: the checks of each look at those above it.
    """

    client_id: ClientId
    client_name: Text | None = None
    status: ClientStatus = ClientStatus.ACTIVE
    application_type: ApplicationType = ApplicationType.WEB
    jwks: Jwks | None = None
    jwks_uri: ServerUri | None = None
    token_endpoint_auth_method: ClientAuthMethod = ClientAuthMethod.CLIENT_SECRET_BASIC
    token_endpoint_auth_signing_alg: str | None = None
    client_secret: Annotated[Credential, longest(1024)] | None = Field(default=None, repr=False)
    grant_types: Annotated[tuple[GrantType, ...], Once] = (GrantType.AUTHORIZATION_CODE,)
    response_types: ResponseTypes | None = None
    redirect_uris: _Uris = ()
    post_logout_redirect_uris: _Uris = ()
    scope: Scope = "openid"
    client_uri: WebAddress | None = None
    logo_uri: WebAddress | None = None
    policy_uri: WebAddress | None = None
    tos_uri: WebAddress | None = None
    contacts: Annotated[tuple[Contact, ...], Few, Once] = ()
    software_id: Text | None = None
    software_version: Text | None = None
    sector_identifier_uri: HttpsUri | None = None
    subject_type: SubjectType = SubjectType.PUBLIC
    id_token_signed_response_alg: SignatureAlg = "RS256"
    id_token_encrypted_response_alg: EncryptionAlg | None = None
    id_token_encrypted_response_enc: EncryptionEnc | None = None
    userinfo_signed_response_alg: SignatureAlg | None = None
    userinfo_encrypted_response_alg: EncryptionAlg | None = None
    userinfo_encrypted_response_enc: EncryptionEnc | None = None
    request_object_signing_alg: SignatureAlg | None = None
    require_signed_request_object: bool = False
    request_uris: Annotated[tuple[RequestUri, ...], Few, Once] = ()
    default_max_age: Annotated[StrictInt, Field(ge=0, le=2_147_483_647)] | None = None
    require_auth_time: bool = False
    default_acr_values: Annotated[tuple[Acr, ...], Once] = ()
    initiate_login_uri: HttpsUri | None = None
    frontchannel_logout_uri: ServerUri | None = None
    frontchannel_logout_session_required: bool = False
    backchannel_logout_uri: ServerUri | None = None
    backchannel_logout_session_required: bool = False
    access_token_format: AccessTokenFormat = AccessTokenFormat.JWT
    require_pkce: bool = True
    trusted: bool = False
    web_origins: Annotated[tuple[Origin, ...], Few, Once] | None = None
    allowed_labs: AllowedLabs = ()
    require_lab: RequireLab | None = None
    id_token_lab_claims: bool = False
    profile: Profile = Profile.PLAIN
    group_format: GroupFormat = GroupFormat.SLUG_ROLE
    group_min_role: LabRole = LabRole.MEMBER
    claim_aliases: ClaimAliases = Field(default_factory=dict)
    lab_grants: tuple[ServiceRole, ...] | None = None

    @field_validator("jwks_uri")
    @classmethod
    def _check_jwks_uri(cls, uri: str | None, info: ValidationInfo) -> str | None:
        if uri is not None and info.data.get("jwks") is not None:
            raise ValueError("it excludes jwks: one of the two says which keys count")
        return uri

    @field_validator("token_endpoint_auth_method")
    @classmethod
    def _check_auth_method(cls, method: ClientAuthMethod, info: ValidationInfo) -> ClientAuthMethod:
        if method is ClientAuthMethod.PRIVATE_KEY_JWT:
            _require_keys(info, "sig", *SigningAlgorithm)
        return method

    @field_validator("token_endpoint_auth_signing_alg")
    @classmethod
    def _check_assertion_alg(cls, alg: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("token_endpoint_auth_method")
        if alg is None or method is None:
            return alg
        if method not in ASSERTION_ALGORITHMS:
            raise ValueError("it is for private_key_jwt and client_secret_jwt only")
        if alg not in ASSERTION_ALGORITHMS[method]:
            raise ValueError(f"with {method} it must be one of: {', '.join(ASSERTION_ALGORITHMS[method])}")
        if method is ClientAuthMethod.PRIVATE_KEY_JWT:
            _require_keys(info, "sig", alg)
        return alg

    @field_validator("client_secret")
    @classmethod
    def _check_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("token_endpoint_auth_method")
        if secret is None or method is None:
            return secret
        if method in SECRETLESS:
            raise ValueError(f"a client with token_endpoint_auth_method: {method} has no secret")
        least = _MAC_KEY_CHARS.get(info.data.get("token_endpoint_auth_signing_alg") or "", 32)
        if method is ClientAuthMethod.CLIENT_SECRET_JWT and len(secret) < least:
            raise ValueError(f"to make MACs with it needs at least {least} characters (RFC 7518 §3.2)")
        return secret

    @field_validator("grant_types")
    @classmethod
    def _check_grant_types(cls, kinds: tuple[GrantType, ...], info: ValidationInfo) -> tuple[GrantType, ...]:
        if not kinds:
            raise ValueError("it is empty")
        if GrantType.CLIENT_CREDENTIALS in kinds and _is_public(info):
            raise ValueError("it has client_credentials, which needs a client that authenticates (RFC 6749 §4.4)")
        if GrantType.REFRESH_TOKEN in kinds and GrantType.AUTHORIZATION_CODE not in kinds:
            raise ValueError("it has refresh_token without authorization_code, which issues refresh tokens")
        return kinds

    @field_validator("response_types")
    @classmethod
    def _check_response_types(cls, kinds: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        held = set(info.data.get("grant_types", ()))
        redirected = held & {GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT}
        if kinds is None and redirected == {GrantType.IMPLICIT}:
            raise ValueError("it is missing: implicit alone does not say which tokens are meant")
        if kinds is None or not held:
            return ("code",) if redirected else ()
        if redirected and not kinds:
            raise ValueError("it is empty, but authorization_code and implicit need one")
        # RFC 7591 §2.1; a grant type too many gives nothing, and software registers such.
        missing = {str(kind) for response_type in kinds for kind in grant_types_of(response_type) - held}
        if missing:
            raise ValueError(f"it needs the grant type {' and '.join(sorted(missing))} (RFC 7591 §2.1)")
        return kinds

    @field_validator("redirect_uris")
    @classmethod
    def _check_redirect_uris(cls, uris: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for kind in (GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT):
            if not uris and kind in info.data.get("grant_types", ()):
                raise ValueError(f"it is empty, but {kind} needs at least one")
        return uris

    @field_validator("subject_type")
    @classmethod
    def _check_subject_type(cls, kind: SubjectType, info: ValidationInfo) -> SubjectType:
        if kind is SubjectType.PAIRWISE and not set(LAB_API_SCOPES).isdisjoint(info.data.get("scope", "").split()):
            raise ValueError("pairwise keeps people's ids apart, which labs:read and labs:write tell")
        if kind is SubjectType.PAIRWISE and {"redirect_uris", "sector_identifier_uri"} <= info.data.keys():
            sector = sector_identifier(info.data["redirect_uris"], info.data["sector_identifier_uri"])
            if sector is None:
                raise ValueError("pairwise needs a sector_identifier_uri, or redirect URIs of one host")
        return kind

    @field_validator("id_token_signed_response_alg")
    @classmethod
    def _check_id_token_alg(cls, alg: str, info: ValidationInfo) -> str:
        kinds = info.data.get("response_types") or ()
        if alg == "none" and any(ID_TOKEN in kind.split() for kind in kinds):
            raise ValueError("none is for ID tokens from the token endpoint only (OpenID Connect Core §2)")
        return alg

    @field_validator("id_token_encrypted_response_alg", "userinfo_encrypted_response_alg")
    @classmethod
    def _check_encryption_alg(cls, alg: str | None, info: ValidationInfo) -> str | None:
        if alg is not None:
            _require_keys(info, "enc", alg)
        return alg

    @field_validator("id_token_encrypted_response_enc", "userinfo_encrypted_response_enc")
    @classmethod
    def _check_encryption_enc(cls, enc: str | None, info: ValidationInfo) -> str | None:
        encrypted = f"{str(info.field_name).removesuffix('_enc')}_alg"
        if info.data.get(encrypted) is not None:
            return enc or _DEFAULT_ENC
        if enc is not None and encrypted in info.data:
            raise ValueError(f"it needs {encrypted}")
        return enc

    @field_validator("request_object_signing_alg")
    @classmethod
    def _check_request_object_alg(cls, alg: str | None, info: ValidationInfo) -> str | None:
        if alg is not None and alg != "none":
            _require_keys(info, "sig", alg)
        return alg

    @field_validator("require_signed_request_object")
    @classmethod
    def _check_require_signed(cls, required: bool, info: ValidationInfo) -> bool:
        if required:
            if info.data.get("request_object_signing_alg") == "none":
                raise ValueError("it contradicts request_object_signing_alg: none")
            _require_keys(info, "sig", *SigningAlgorithm)
        return required

    @field_validator("frontchannel_logout_uri")
    @classmethod
    def _check_frontchannel_logout_uri(cls, uri: str | None, info: ValidationInfo) -> str | None:
        redirect_uris = info.data.get("redirect_uris")
        if (
            uri is not None
            and redirect_uris is not None
            and origin_of(uri) not in set(filter(None, map(origin_of, redirect_uris)))
        ):
            raise ValueError("scheme, host and port must be those of a redirect URI (Front-Channel Logout §2)")
        return uri

    @field_validator("require_pkce")
    @classmethod
    def _check_require_pkce(cls, required: bool, info: ValidationInfo) -> bool:
        if not required and _is_public(info):
            raise ValueError("only a client that authenticates may do without PKCE (RFC 9700 §2.1.1)")
        return required

    @field_validator("require_lab")
    @classmethod
    def _check_require_lab(cls, required: RequireLab | None, info: ValidationInfo) -> RequireLab | None:
        if required is not None and info.data.get("allowed_labs") == ():
            raise ValueError("it needs allowed_labs: without, nobody could sign in")
        return required

    @field_validator("group_min_role")
    @classmethod
    def _check_group_min_role(cls, role: LabRole, info: ValidationInfo) -> LabRole:
        named = info.data.get("group_format") in {GroupFormat.SLUG_ROLE, GroupFormat.PATH}
        if role is not LabRole.MEMBER and named and info.data.get("profile") is not Profile.WLCG:
            raise ValueError("it is for groups that name no role: group_format: slug, or profile: wlcg")
        return role

    @field_validator("lab_grants")
    @classmethod
    def _check_lab_grants(
        cls, grants: tuple[ServiceRole, ...] | None, info: ValidationInfo
    ) -> tuple[ServiceRole, ...] | None:
        if grants and GrantType.CLIENT_CREDENTIALS not in info.data.get("grant_types", {GrantType.CLIENT_CREDENTIALS}):
            raise ValueError("it is for clients with the grant type client_credentials, which act for themselves")
        if len({grant.lab for grant in grants or ()}) < len(grants or ()):
            raise ValueError("it names a lab twice")
        return grants

    def own_addresses(self, issuer: str) -> dict[Place, str]:
        """Return a fault for each address that is this server's own: nothing of a client's is there.

        Sent back to such a one, people would get an answer meant for an application, or be signed out.
        """
        own = origin_of(issuer)
        addresses: dict[Place, str] = {}
        for name, value in self:
            if name.endswith("_uri"):
                addresses[name,] = value
            elif name.endswith("_uris"):
                addresses |= {(name, position): uri for position, uri in enumerate(value)}
        fault = "it is an address of this server"
        return {place: fault for place, uri in addresses.items() if uri is not None and origin_of(uri) == own}

    def client(
        self,
        present: Client | None,
        *,
        secrets: tuple[ClientSecret, ...],
        now: datetime,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> Client:
        """Return the client: a new one, or `present` as it is written down here.

        One that had registered itself no longer manages itself then: its next update would undo what stands here.
        """
        base = present or Client(
            client_id=self.client_id, client_name="", created_at=now, updated_at=now, managed_by=managed_by
        )
        if base.self_registered:
            base = replace(base, managed_by=managed_by, registration_access_token_hash=None)
        metadata = dict(self)
        del metadata["client_secret"], metadata["lab_grants"]
        metadata["client_name"] = self.client_name or self.client_id[:300]
        client = replace(base, **metadata, secrets=secrets)
        return client if client == (present or base) else replace(client, updated_at=now)


def _is_public(info: ValidationInfo) -> bool:
    return info.data.get("token_endpoint_auth_method") is ClientAuthMethod.NONE


def _require_keys(info: ValidationInfo, use: str, *algs: str) -> None:
    # Absent from `data` is what is at fault itself.
    jwks, jwks_uri = info.data.get("jwks", ...), info.data.get("jwks_uri", ...)
    if jwks is None and jwks_uri is None:
        raise ValueError("it needs jwks or jwks_uri")
    # What jwks_uri holds is seen when it is needed.
    if isinstance(jwks, dict) and not any(is_usable(jwk, alg, use=use) for jwk in jwks["keys"] for alg in algs):
        raise ValueError("jwks holds no key for it")


async def register(
    store: Store, keys: DataKeys, clock: Clock, raw: dict[str, Any], *, issuer: str, actor: str
) -> tuple[Client, str | None]:
    """Register a client and return it with its new secret, which is told this once; None where it needs none.

    Without a `client_id` it gets one.

    Raises:
        InputRefused: the metadata are wrong, or the `client_id` is taken.
    """
    given = ClientInput.read({"client_id": mint_id("client"), **raw})
    if faults := given.own_addresses(issuer):
        raise InputRefused(faults)
    now = clock()
    method = given.token_endpoint_auth_method
    secret = None if method in SECRETLESS else mint_secret(method)
    secrets = () if secret is None else (make_secret(keys, given.client_id, method, secret, now),)
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
