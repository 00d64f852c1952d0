"""Settings: every one with its type, its default and what it is for."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from idp.crypto.password import MAX_ARGON2_KIB_PASSES, MAX_MEMORY_KIB
from idp.domain.sign_up import SignUpPolicy
from idp.mail.server import parse_mailbox, parse_smtp_url
from idp.outbound.addresses import AllowRule
from idp.protocol.registration import RegistrationPolicy
from idp.setting_values import (
    LOOPBACK,
    check_limit,
    check_prefix_url,
    check_urn,
    driver_url,
    mail_from,
    parse_issuer,
    read_domains,
    read_items,
    read_networks,
    without_password,
    written,
)

PREFIX = "IDP_"


def is_loopback(issuer: str) -> bool:
    """Whether a valid issuer lives on this machine alone."""
    return parse_issuer(issuer)[1] in LOOPBACK


def _default_listen_port(validated: dict[str, Any]) -> int:
    issuer = validated["issuer"]
    return parse_issuer(issuer)[2] if is_loopback(issuer) else 8000


def _default_mail_from(validated: dict[str, Any]) -> str:
    return mail_from(validated["service_name"], validated["issuer"])


def _mail_is_configured(validated: dict[str, Any]) -> bool:
    return validated.get("smtp_url") is not None or is_loopback(validated["issuer"])


class Settings(BaseModel):
    """Every setting, validated; `setting_sources.load_settings` makes it.

    Relative paths start at the working directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    issuer: str = Field(
        default="http://localhost:8000", description="Public address of the server: scheme, host and port"
    )
    listen_host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on")
    listen_port: int = Field(default_factory=_default_listen_port, ge=1, le=65535, description="Port to listen on")
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Addresses and networks of proxies whose forwarding headers are believed"
    )
    max_body_bytes: int = Field(default=65536, ge=1024, le=16_777_216, description="Largest request body")
    drain_delay_seconds: int = Field(
        default=0,
        ge=0,
        le=600,
        description="Time between the signal to stop and closing the port, in which /readyz answers 503",
    )
    drain_seconds: int = Field(
        default=20, ge=0, le=600, description="Time that running requests get when the server stops"
    )

    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///var/idp.db"),
        description="Database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
    )
    database_pool_size: int = Field(default=5, ge=1, le=1000, description="Database connections of each worker")
    database_statement_timeout_seconds: float = Field(
        default=10, ge=0.1, le=3600, description="Time after which a database statement is given up"
    )
    workers: int = Field(default=1, ge=1, le=256, description="Server processes; more than one needs PostgreSQL")

    keys_dir: Path = Field(default=Path("keys"), description="Folder of the key-encryption key's file")
    key_encryption_key: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None, description="The key-encryption key itself, instead of the file in the folder of keys"
    )
    key_rotation_days: int = Field(
        default=90, ge=0, le=3650, description="Age at which signing keys rotate; 0: only by hand"
    )
    jwks_max_age_seconds: int = Field(
        default=900, ge=0, le=86_400, description="Time for which clients may cache the JWKS"
    )

    dynamic_registration: RegistrationPolicy = Field(
        default=RegistrationPolicy.CLOSED,
        description="Who may register clients at /clients: open, token (whoever has an initial access token) or closed",
    )
    dynamic_require_pkce: bool = Field(
        default=True,
        description="Whether confidential clients that register themselves need PKCE; public ones always do",
    )
    registration_limit: str = Field(
        default="20/hour", description="Registrations, and updates of them, that one network may ask for"
    )
    request_uri_limit: str = Field(
        default="300/minute", description="Request objects that one network may have us fetch from a request_uri"
    )
    authorization_limit: str = Field(
        default="600/minute",
        description="Authorization requests of one network that are kept while nobody is signed in in the browser",
    )
    refusals_per_address: int = Field(
        default=200,
        ge=0,
        le=1_000_000,
        description="Refused requests of one address in an hour that are kept to be explained; 0: none",
    )
    rate_limit_exempt: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Addresses and networks that no such limit counts for",
    )

    service_name: str = Field(default="Lab ID", min_length=1, max_length=80, description="Name that pages show")
    code_ttl_seconds: int = Field(default=60, ge=1, le=60, description="Lifetime of an authorization code")
    access_token_ttl_seconds: int = Field(default=600, ge=10, le=86_400, description="Lifetime of an access token")
    id_token_ttl_seconds: int = Field(default=600, ge=10, le=86_400, description="Lifetime of an ID token")
    refresh_token_ttl_seconds: int = Field(
        default=2_592_000, ge=60, le=315_360_000, description="Lifetime of a refresh token (default: 30 days)"
    )
    refresh_grace_seconds: int = Field(
        default=10,
        ge=0,
        le=300,
        description="Time in which a used refresh token still gives the same successor, for retries",
    )
    session_ttl_seconds: int = Field(
        default=604_800, ge=60, le=31_536_000, description="Lifetime of a sign-in in the browser (default: 7 days)"
    )
    session_idle_seconds: int = Field(
        default=28_800, ge=60, le=31_536_000, description="Time after which an unused sign-in ends (default: 8 hours)"
    )
    interaction_ttl_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="Time in which a person may finish signing in"
    )
    entitlement_namespace: str | None = Field(
        default=None, max_length=200, description="URN under which entitlements are written, such as urn:example:idp"
    )

    registration: SignUpPolicy = Field(
        default=SignUpPolicy.INVITE,
        description=(
            "Who may make an account, at /signup or by signing in through another provider: open, domains, invite "
            "(whoever is invited into a lab) or closed"
        ),
    )
    registration_domains: tuple[str, ...] = Field(
        default=(), description="Mail domains whose people may make an account, with the policy domains"
    )
    google_client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=300,
        description="Client id at Google; set, people can sign in with Google",
    )
    google_client_secret: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None, description="Client secret at Google"
    )
    google_hosted_domain: tuple[str, ...] = Field(
        default=(), description="Google Workspace domains whose people may sign in; *: any, but no private accounts"
    )
    google_issuer: str = Field(
        default="https://accounts.google.com", description="Google's issuer; another one for tests"
    )
    google_api_scope: str | None = Field(
        default=None, max_length=2000, description="Scopes of Google's own API that applications may use for people"
    )
    google_api_clients: tuple[str, ...] = Field(
        default=(), description="client_id of each application that may use Google's API for people who agree"
    )
    google_one_tap: bool = Field(
        default=False, description="Whether the sign-in page loads Google's script for signing in without leaving it"
    )

    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server: smtp://USER:PASSWORD@HOST:587 (STARTTLS) or smtps://USER:PASSWORD@HOST:465",
    )
    mail_from: str = Field(
        default_factory=_default_mail_from,
        description="Whom mail is from: an address, or a name with the address in angle brackets",
    )

    email_codes: bool = Field(
        default_factory=_mail_is_configured, description="Whether people may sign in with a code that is mailed to them"
    )
    mail_limit: str = Field(
        default="60/hour", description="Codes and links that one network may have mailed, to whatever addresses"
    )

    password_min_length: int = Field(default=8, ge=8, le=64, description="Shortest password that people may choose")
    breached_passwords: str = Field(
        default="off",
        max_length=500,
        description="Where leaked passwords are asked for, by five characters of a hash: off, or an address up to them",
    )
    argon2_memory_kib: int = Field(default=19_456, ge=32, le=MAX_MEMORY_KIB, description="Memory of one password hash")
    argon2_time_cost: int = Field(default=2, ge=1, le=100, description="Passes of one password hash")
    argon2_threads: int = Field(
        default=2, ge=1, le=64, description="Password hashes that each worker computes at a time"
    )
    argon2_queue_limit: int = Field(
        default=64, ge=1, le=10_000, description="Password hashes that may wait; past it people are asked to try again"
    )

    outbound_allow: tuple[AllowRule, ...] = Field(
        default=(), description="Hosts with port, addresses and networks that may be reached though they are not public"
    )
    outbound_ca_file: Path | None = Field(
        default=None, description="Authorities (PEM) that are trusted beside those of the system"
    )
    outbound_timeout_seconds: float = Field(
        default=5, ge=0.1, le=60, description="Time for a whole request to another server"
    )
    outbound_max_bytes: int = Field(
        default=262_144, ge=1024, le=16_777_216, description="Largest answer of another server"
    )

    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged: debug, info, warning or error"
    )
    access_log: Literal["none", "errors", "all"] = Field(
        default="errors", description="Requests that are logged: none, errors or all"
    )

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, issuer: str) -> str:
        parse_issuer(issuer)
        return issuer

    @field_validator("trusted_proxies", "rate_limit_exempt", mode="before")
    @classmethod
    def _parse_networks(cls, value: object) -> object:
        return read_networks(value)

    @field_validator("outbound_allow", mode="before")
    @classmethod
    def _parse_allow_rules(cls, value: object) -> object:
        return tuple(map(AllowRule.parse, read_items(value, "hosts with port, addresses and networks")))

    @field_validator("google_api_clients", mode="before")
    @classmethod
    def _parse_clients(cls, value: object) -> object:
        return tuple(read_items(value, "client ids"))

    @field_validator("registration_domains", "google_hosted_domain", mode="before")
    @classmethod
    def _parse_domains(cls, value: object) -> object:
        return read_domains(value)

    @field_validator("registration_domains")
    @classmethod
    def _check_registration_domains(cls, domains: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("registration") is SignUpPolicy.DOMAINS and not domains:
            raise ValueError("must name the domains whose people may make an account: IDP_REGISTRATION is domains")
        if "*" in domains:
            raise ValueError("must name domains: for everybody IDP_REGISTRATION is open")
        return domains

    @field_validator("google_client_secret")
    @classmethod
    def _check_google(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (info.data.get("google_client_id") is None):
            raise ValueError("must be set exactly if IDP_GOOGLE_CLIENT_ID is: Google gives out both")
        return secret

    @field_validator("google_issuer")
    @classmethod
    def _check_google_issuer(cls, issuer: str) -> str:
        parse_issuer(issuer)
        return issuer

    @field_validator("registration_limit", "request_uri_limit", "authorization_limit", "mail_limit")
    @classmethod
    def _check_limit(cls, limit: str) -> str:
        return check_limit(limit)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: SecretStr) -> SecretStr:
        driver_url(url.get_secret_value())
        return url

    @field_validator("entitlement_namespace")
    @classmethod
    def _check_entitlement_namespace(cls, urn: str | None) -> str | None:
        return None if urn is None else check_urn(urn)

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_smtp_url(url.get_secret_value())
        return url

    @field_validator("mail_from")
    @classmethod
    def _check_mail_from(cls, mailbox: str) -> str:
        return str(parse_mailbox(mailbox))

    @field_validator("breached_passwords")
    @classmethod
    def _check_breached_passwords(cls, url: str) -> str:
        return check_prefix_url(url)

    @field_validator("workers")
    @classmethod
    def _check_workers(cls, workers: int, info: ValidationInfo) -> int:
        url: SecretStr | None = info.data.get("database_url")
        if workers > 1 and url is not None and url.get_secret_value().startswith("sqlite"):
            raise ValueError("must be 1: SQLite serves one worker; use PostgreSQL (IDP_DATABASE_URL)")
        return workers

    @field_validator("session_idle_seconds")
    @classmethod
    def _check_session_idle(cls, idle: int, info: ValidationInfo) -> int:
        if idle > info.data.get("session_ttl_seconds", idle):
            raise ValueError("must not be longer than IDP_SESSION_TTL_SECONDS")
        return idle

    @field_validator("argon2_time_cost")
    @classmethod
    def _check_argon2(cls, time_cost: int, info: ValidationInfo) -> int:
        memory_kib = info.data.get("argon2_memory_kib", 0)
        if memory_kib * time_cost > MAX_ARGON2_KIB_PASSES:
            most = MAX_ARGON2_KIB_PASSES // memory_kib
            raise ValueError(f"must be at most {most} with {memory_kib} KiB: a sign-in would take too long to check")
        return time_cost

    @property
    def has_mail(self) -> bool:
        """Whether mail reaches people: by a mail server, or on the terminal where only this machine is served."""
        return self.smtp_url is not None or is_loopback(self.issuer)

    @property
    def database_driver_url(self) -> str:
        """The database URL with its async driver; it may hold a password."""
        return driver_url(self.database_url.get_secret_value())

    def describe(self) -> dict[str, str]:
        """Every setting by the name of its variable, as text that is safe to show: without secrets and passwords."""
        shown = {PREFIX + name.upper(): written(getattr(self, name)) for name in type(self).model_fields}
        for name, url in (("IDP_DATABASE_URL", self.database_url), ("IDP_SMTP_URL", self.smtp_url)):
            if url is not None:
                shown[name] = without_password(url.get_secret_value())
        return shown
