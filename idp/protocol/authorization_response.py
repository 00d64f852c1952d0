"""Answers of the authorization endpoint (RFC 6749 §4.1.2, RFC 9207)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from idp.protocol.errors import OAuthError
from idp.protocol.redirect_uri import RedirectUri


class ResponseMode(StrEnum):
    """Where the answer's parameters stand (OAuth 2.0 Multiple Response Type Encoding Practices §2.1)."""

    QUERY = "query"


def with_query(uri: str, params: Mapping[str, str]) -> str:
    """Return a registered URI with parameters added to its query, which is kept as it is."""
    separator = "?" if "?" not in uri else "" if uri.endswith(("?", "&")) else "&"
    return f"{uri}{separator}{urlencode(params)}"


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """What the browser carries back to the client."""

    redirect_uri: RedirectUri
    params: Mapping[str, str]
    mode: ResponseMode

    @property
    def location(self) -> str:
        """The redirect target; a query in the registered URI is kept (RFC 6749 §3.1.2)."""
        return with_query(self.redirect_uri.uri, self.params)


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """How to answer one authorization request, success or refusal alike."""

    redirect_uri: RedirectUri
    mode: ResponseMode
    state: str | None
    issuer: str

    def success(self, **params: str) -> AuthorizationResponse:
        """Return the answer with `state` and `iss` (RFC 9207 §2)."""
        if self.state is not None:
            params["state"] = self.state
        return AuthorizationResponse(self.redirect_uri, {**params, "iss": self.issuer}, self.mode)

    def refusal(self, error: OAuthError) -> AuthorizationResponse:
        """Return the refusal with its fixed description (RFC 6749 §4.1.2.1)."""
        return self.success(error=error.error, error_description=error.description)


class Refused(Exception):
    """An authorization request that is refused by redirect."""

    def __init__(self, reply: ReplyAddress, error: OAuthError) -> None:
        super().__init__(error.error)
        self.reply = reply
        self.error = error
