"""Refusals of OAuth 2.0 and OpenID Connect, by their registered codes (RFC 6749 §4.1.2.1 and §5.2, OIDC Core §3.1.2.6).

Each has three texts: `error` is the code, `description` a fixed sentence for the client's developer, `detail` goes to
the log only. What the caller sent is never part of the first two.
"""

from typing import ClassVar


class OAuthError(Exception):
    """A refusal; `description` may be replaced by another fixed sentence, never by input."""

    error: ClassVar[str]
    status: ClassVar[int] = 400
    default_description: ClassVar[str]

    def __init__(self, description: str | None = None, *, detail: str = "") -> None:
        super().__init__(self.error)
        self.description = description or self.default_description
        self.detail = detail


class InvalidRequest(OAuthError):
    """Something is missing, repeated or malformed."""

    error = "invalid_request"
    default_description = "The request is missing a parameter, repeats one, or is otherwise malformed."


class InvalidClient(OAuthError):
    """Client authentication failed (RFC 6749 §5.2)."""

    error = "invalid_client"
    status = 401
    default_description = "Client authentication failed: check client_id, secret and authentication method."


class InvalidGrant(OAuthError):
    """The code or refresh token does not count, or not for this client."""

    error = "invalid_grant"
    default_description = "The code or token is invalid, expired, revoked, or was issued to another client."


class UnauthorizedClient(OAuthError):
    """The client is not registered for this."""

    error = "unauthorized_client"
    default_description = "The client is not registered for this grant or response type."


class UnsupportedGrantType(OAuthError):
    """No such grant here."""

    error = "unsupported_grant_type"
    default_description = "This grant_type is not supported; see grant_types_supported in the discovery document."


class UnsupportedResponseType(OAuthError):
    """No such response type here."""

    error = "unsupported_response_type"
    default_description = "This response_type is not supported; see response_types_supported in the discovery document."


class InvalidScope(OAuthError):
    """Nothing that was asked for can be given."""

    error = "invalid_scope"
    default_description = "The scope is missing, malformed, or not available to this client."


class InvalidTarget(OAuthError):
    """The resource is not one that tokens are issued for (RFC 8707 §2)."""

    error = "invalid_target"
    default_description = "The resource is not registered here, or not available to this client."


class AccessDenied(OAuthError):
    """The user, or a rule, said no."""

    error = "access_denied"
    default_description = "The request was denied."


class LoginRequired(OAuthError):
    """The user would have to sign in (OpenID Connect Core §3.1.2.6)."""

    error = "login_required"
    default_description = "The user has to sign in, and prompt=none forbids asking."


class ConsentRequired(OAuthError):
    """The user would have to consent (OpenID Connect Core §3.1.2.6)."""

    error = "consent_required"
    default_description = "The user has to consent, and prompt=none forbids asking."


class AccountSelectionRequired(OAuthError):
    """The user would have to choose an account (OpenID Connect Core §3.1.2.6)."""

    error = "account_selection_required"
    default_description = "The user has to choose an account, and prompt=none forbids asking."


class InteractionRequired(OAuthError):
    """The user would have to do something else (OpenID Connect Core §3.1.2.6)."""

    error = "interaction_required"
    default_description = "The user has to sign in in another way, and prompt=none forbids asking."


class UnmetAuthenticationRequirements(OAuthError):
    """An essential `acr` cannot be reached (OpenID Connect Core §5.5.1.1, Unmet Authentication Requirements 1.0)."""

    error = "unmet_authentication_requirements"
    default_description = "The user could not be signed in in the way that the request demands."


class RequestNotSupported(OAuthError):
    """Such a request object is not offered to the client (OpenID Connect Core §3.1.2.6)."""

    error = "request_not_supported"
    default_description = "Unsigned request objects are not supported for this client: sign it, or send parameters."


class RequestUriNotSupported(OAuthError):
    """Request objects by reference are not offered to the client (OpenID Connect Core §3.1.2.6)."""

    error = "request_uri_not_supported"
    default_description = "The client has registered no request_uris: register the URI, or send the request by value."


class InvalidRequestUri(OAuthError):
    """The request_uri is not registered, or what it refers to cannot be had (OpenID Connect Core §3.1.2.6)."""

    error = "invalid_request_uri"
    default_description = "The request_uri is not registered for this client."


class InvalidRequestObject(OAuthError):
    """The request object does not count (OpenID Connect Core §3.1.2.6, RFC 9101 §6)."""

    error = "invalid_request_object"
    default_description = "The request object is malformed or not signed by the client."


class RegistrationNotSupported(OAuthError):
    """Self-issued registration is not offered (OpenID Connect Core §3.1.2.6)."""

    error = "registration_not_supported"
    default_description = "The registration parameter is not supported."


class InvalidToken(OAuthError):
    """The bearer token does not count (RFC 6750 §3.1)."""

    error = "invalid_token"
    status = 401
    default_description = "The access token is unknown, expired or revoked."


class MissingToken(InvalidToken):
    """There is no bearer token at all; the challenge then names no error (RFC 6750 §3.1)."""

    default_description = "No access token was sent."


class InsufficientScope(OAuthError):
    """The bearer token counts, but not for this (RFC 6750 §3.1)."""

    error = "insufficient_scope"
    status = 403
    default_description = "The access token lacks the scope that is needed here."


class InvalidRedirectUri(OAuthError):
    """A redirect URI cannot be registered (RFC 7591 §3.2.2)."""

    error = "invalid_redirect_uri"
    default_description = "A redirect URI is missing, malformed or not allowed."


class InvalidClientMetadata(OAuthError):
    """Something else that a client says about itself cannot be registered (RFC 7591 §3.2.2)."""

    error = "invalid_client_metadata"
    default_description = "The client metadata hold a value that is not valid or not offered here."


class InvalidSoftwareStatement(OAuthError):
    """What was sent as software statement is none (RFC 7591 §3.2.2)."""

    error = "invalid_software_statement"
    default_description = "The software statement is no signed JWT."


class UnapprovedSoftwareStatement(OAuthError):
    """Nobody's software statements are trusted here (RFC 7591 §3.2.2)."""

    error = "unapproved_software_statement"
    default_description = "No issuer of software statements is trusted here: leave software_statement out."


class RegistrationClosed(OAuthError):
    """Clients cannot register themselves here (RFC 7591 §3)."""

    error = "access_denied"
    status = 403
    default_description = "Clients are registered by the administrators of this server: ask them."


class RateLimited(OAuthError):
    """Too many requests from one network (RFC 6585 §4)."""

    error = "temporarily_unavailable"
    status = 429
    default_description = "There were too many requests from this network: try again after the time in Retry-After."


class ServerError(OAuthError):
    """Something of ours broke (RFC 6749 §4.1.2.1)."""

    error = "server_error"
    status = 500
    default_description = "Something went wrong here; try again, and tell the operator if it stays."


class TemporarilyUnavailable(OAuthError):
    """Something of ours is overloaded or restarting (RFC 6749 §4.1.2.1)."""

    error = "temporarily_unavailable"
    status = 503
    default_description = "The service is busy or restarting: try again in a moment."
