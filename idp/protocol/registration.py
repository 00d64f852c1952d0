"""Dynamic client registration (RFC 7591, RFC 7592, OpenID Connect Registration): what a client may say about itself."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hmac import compare_digest
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from idp.domain.client import ApplicationType, Client, GrantType
from idp.protocol.errors import (
    InvalidClientMetadata,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidSoftwareStatement,
    OAuthError,
    UnapprovedSoftwareStatement,
)
from idp.protocol.response_type import canonical_response_type, grant_types_of
from idp.protocol.scope import SCOPES_SUPPORTED

# What a client may say about itself; whatever else it says is ignored (RFC 7591 §2), most of all what would give it
# rights: `trusted`, `allowed_labs`, `status`, a `client_id` of its own choice.
MEMBERS = (
    "client_name",
    "application_type",
    "redirect_uris",
    "post_logout_redirect_uris",
    "grant_types",
    "response_types",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "scope",
    "client_uri",
    "logo_uri",
    "policy_uri",
    "tos_uri",
    "contacts",
    "software_id",
    "software_version",
    "jwks",
    "jwks_uri",
    "subject_type",
    "sector_identifier_uri",
    "id_token_signed_response_alg",
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "userinfo_signed_response_alg",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "request_object_signing_alg",
    "require_signed_request_object",
    "request_uris",
    "default_max_age",
    "require_auth_time",
    "default_acr_values",
    "initiate_login_uri",
    "frontchannel_logout_uri",
    "frontchannel_logout_session_required",
    "backchannel_logout_uri",
    "backchannel_logout_session_required",
)
# Only the server says these (RFC 7592 §2.2).
_OURS = frozenset(
    {"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}
)
_MAX_TOLD_FAULTS = 5


class RegistrationPolicy(StrEnum):
    """Who may register a client: anybody, whoever has an initial access token, or nobody (RFC 7591 §1.2)."""

    OPEN = "open"
    TOKEN = "token"
    CLOSED = "closed"


def read_metadata(raw: Mapping[str, Any], *, require_pkce: bool) -> dict[str, Any]:
    """Return what counts of the metadata that a client sent, completed by rule (RFC 7591 §2, OIDC Registration §2).

    The values are still to be validated. A member of null counts as absent. Without `grant_types` they follow from
    `response_types`; `scope` is reduced to what speaks about the user and no lab, all of it where it is absent.
    `require_pkce` holds for confidential clients, public ones always need it.

    Raises:
        InvalidSoftwareStatement, UnapprovedSoftwareStatement: there is a software statement.
        InvalidClientMetadata: a grant or scope that is not for clients that register themselves.
    """
    _refuse_software_statement(raw.get("software_statement"))
    metadata = {name: raw[name] for name in MEMBERS if raw.get(name) is not None}
    metadata.setdefault("grant_types", _grant_types(metadata.get("response_types")))
    if isinstance(metadata["grant_types"], list) and GrantType.CLIENT_CREDENTIALS in metadata["grant_types"]:
        raise InvalidClientMetadata("grant_types: client_credentials is not for clients that register themselves.")
    metadata["scope"] = _scope(metadata.get("scope"))
    metadata["require_pkce"] = require_pkce or metadata.get("token_endpoint_auth_method") == "none"
    return metadata


def _refuse_software_statement(statement: object) -> None:
    if statement is None:
        return
    # RFC 7591 §2.3: a signed JWT; whose signature it bears is of no interest as long as nobody's is trusted.
    if isinstance(statement, str) and statement.count(".") == 2:
        raise UnapprovedSoftwareStatement
    raise InvalidSoftwareStatement


def _grant_types(response_types: object) -> list[str]:
    # The specifications say authorization_code; many clients send only the response types, and mean this.
    sent = response_types if isinstance(response_types, list) else []
    known = (canonical_response_type(kind) for kind in sent if isinstance(kind, str))
    needed = {grant for kind in known if kind is not None for grant in grant_types_of(kind)}
    return [str(grant) for grant in GrantType if grant in needed] or [str(GrantType.AUTHORIZATION_CODE)]


def _scope(scope: object) -> object:
    if scope is None:
        return " ".join(SCOPES_SUPPORTED)
    if not isinstance(scope, str):
        return scope
    kept = [token for token in scope.split() if token in SCOPES_SUPPORTED]
    if not kept:
        raise InvalidClientMetadata("scope: it names nothing that a client can register for by itself.")
    return " ".join(kept)


def metadata_refusal(faults: Mapping[str, str]) -> OAuthError:
    """Return the refusal that tells the first few faults; each is a fixed clause about the member that it names."""
    about_redirects = {place: fault for place, fault in faults.items() if place.startswith("redirect_uris")}
    told = islice((about_redirects or faults).items(), _MAX_TOLD_FAULTS)
    # ASCII only (RFC 7591 §3.2.2).
    text = "; ".join(f"{place}: {fault}" for place, fault in told).replace("§", "section ")
    kind = InvalidRedirectUri if about_redirects else InvalidClientMetadata
    return kind(f"{text}.")


def check_implicit_redirects(
    kind: ApplicationType, grant_types: Sequence[GrantType], redirect_uris: Sequence[str], *, on_loopback: bool
) -> None:
    """Check that a web application gets tokens in the redirect itself over https only (OpenID Connect Registration §2).

    `on_loopback` says that this server itself is reached on its own machine alone: there, and nowhere else, localhost
    is where the applications are.

    Raises:
        InvalidRedirectUri: a redirect URI is plain http, or names localhost.
    """
    if kind is not ApplicationType.WEB or GrantType.IMPLICIT not in grant_types:
        return
    for uri in redirect_uris:
        parts = urlsplit(uri)
        if parts.scheme != "https" or (parts.hostname == "localhost" and not on_loopback):
            raise InvalidRedirectUri(
                "redirect_uris: a web application with the implicit grant needs https, and a host other than localhost."
            )


def check_sector(document: bytes, redirect_uris: Sequence[str]) -> None:
    """Check that the document at `sector_identifier_uri` lists every redirect URI (OpenID Connect Registration §5).

    Raises:
        InvalidClientMetadata: it does not, or is no JSON array.
    """
    try:
        listed = json.loads(document)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InvalidClientMetadata("sector_identifier_uri: the document there is no JSON array.")
    if not set(redirect_uris) <= {uri for uri in listed if isinstance(uri, str)}:
        raise InvalidClientMetadata("sector_identifier_uri: the document there does not list every redirect URI.")


def check_update(client: Client, raw: Mapping[str, Any], *, mac: Callable[[str], str], now: datetime) -> None:
    """Check what an update says about the client's identity (RFC 7592 §2.2); `mac` is the keyed hash of secrets.

    Raises:
        InvalidRequest: another `client_id` or `client_secret`, or a member that only the server says.
    """
    if not _OURS.isdisjoint(raw):
        raise InvalidRequest("An update holds no member that only the server tells (RFC 7592 section 2.2).")
    if raw.get("client_id") != client.client_id:
        raise InvalidRequest("client_id is missing, or is that of another client.")
    sent = raw.get("client_secret")
    if sent is None:
        return
    sent_hash = mac(sent if isinstance(sent, str) else "")
    if not any(compare_digest(secret.hash, sent_hash) and secret.valid(now=now) for secret in client.secrets):
        raise InvalidRequest("client_secret differs from the one of this client, and clients do not choose theirs.")


def client_information(client: Client) -> dict[str, Any]:
    """Return everything that is registered (RFC 7591 §3.2.1), what is at its default too, without any secret."""
    registered = {name: getattr(client, name) for name in MEMBERS}
    return {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at.timestamp()),
        **{name: value for name, value in registered.items() if value not in (None, ())},
        # No registered name, but what the developer has to know.
        "require_pkce": client.require_pkce,
    }
