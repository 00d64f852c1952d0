"""Answers of the authorization endpoint (RFC 6749 §4.1.2, RFC 9207) in each response mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from idp.protocol.errors import OAuthError
from idp.protocol.parameters import Parameters
from idp.protocol.redirect_uri import RedirectUri
from idp.protocol.response_type import CODE, canonical_response_type


class ResponseMode(StrEnum):
    """Where the answer's parameters stand (OAuth 2.0 Multiple Response Type Encoding Practices §2.1, Form Post §2)."""

    QUERY = "query"
    FRAGMENT = "fragment"
    FORM_POST = "form_post"


def response_mode(params: Parameters) -> ResponseMode:
    """Return the mode in which to answer, whether the request is otherwise good or not.

    What comes from the authorization endpoint itself stands in the fragment, where no server log sees it (§5); a mode
    that is unknown, or the query for such an answer, is refused later and does not count here.
    """
    response_type = canonical_response_type(params.get("response_type") or "")
    usual = ResponseMode.QUERY if response_type in {None, CODE} else ResponseMode.FRAGMENT
    asked = None if "response_mode" in params.repeated else params.get("response_mode")
    if asked not in set(ResponseMode) or (asked == ResponseMode.QUERY and usual is ResponseMode.FRAGMENT):
        return usual
    return ResponseMode(asked)


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
        """Where the browser goes: by redirect with the parameters in it, or by a form that posts them there.

        A query in the registered URI is kept (RFC 6749 §3.1.2).
        """
        if self.mode is ResponseMode.QUERY:
            return with_query(self.redirect_uri.uri, self.params)
        if self.mode is ResponseMode.FRAGMENT:
            return f"{self.redirect_uri.uri}#{urlencode(self.params)}"
        return self.redirect_uri.uri


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

    def refusal(self, error: OAuthError, *, error_uri: str | None = None) -> AuthorizationResponse:
        """Return the refusal with its fixed description; `error_uri` leads to its explanation (RFC 6749 §4.1.2.1)."""
        more = {} if error_uri is None else {"error_uri": error_uri}
        return self.success(error=error.error, error_description=error.description, **more)


class Refused(Exception):
    """An authorization request that is refused by redirect."""

    def __init__(self, reply: ReplyAddress, error: OAuthError) -> None:
        super().__init__(error.error)
        self.reply = reply
        self.error = error
