"""An OpenID provider whose every answer a test can bend; unbent, it is a correct one that asks nobody anything.

It runs in a thread of the tests. How requests are noted and answers bent stands in `tests.support.bent`.
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.applications import Starlette
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.domain.clock import Clock, system_clock
from tests.support.bent import ABSENT, Bent, credentials, merged, pkce_challenge
from tests.support.server import listen, served, url_of

LIFETIME = timedelta(hours=1)
# As Google's: the keys and the discovery document may be kept for a while.
_KEEP = {"Cache-Control": "public, max-age=3600"}
_ENDPOINTS = {
    "discovery": "/.well-known/openid-configuration",
    "jwks": "/jwks",
    "authorize": "/authorize",
    "token": "/token",
    "userinfo": "/userinfo",
    "revoke": "/revoke",
    "end_session": "/end_session",
}
_SCOPES = {"email": ("email", "email_verified"), "profile": ("name", "given_name", "family_name", "picture", "locale")}


def somebody() -> dict[str, Any]:
    """Return the claims of the person who is signed in at the provider."""
    return {
        "sub": "248289761001",
        "email": "jane@lab.example",
        "email_verified": True,
        "name": "Jane Doe",
        "given_name": "Jane",
        "family_name": "Doe",
        "picture": "https://pictures.example/jane.png",
        "locale": "en-GB",
    }


@dataclass(frozen=True)
class Key:
    """A signing key under a name (RFC 7517 §4.5), which need not be its own."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def new(cls, kid: str | None = None) -> "Key":
        return cls(kid or token_urlsafe(6), rsa.generate_private_key(65537, 2048))

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def public_jwk(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        n, e = (_text(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": e}

    def sign(self, content: bytes) -> bytes:
        return self.private.sign(content, padding.PKCS1v15(), hashes.SHA256())


@dataclass(frozen=True)
class _Authorized:
    """What a code or refresh token stands for."""

    client_id: str
    redirect_uri: str | None
    scope: str
    nonce: str | None
    challenge: str | None
    auth_time: datetime | None


class EvilProvider(Bent):
    """`metadata`, `id_token`, `header`, `token`, `userinfo` and `callback` are merged over the usual answers.

    There a value of ABSENT takes a member away, and a callable gets the usual value and returns the one to send.
    """

    client_id, client_secret = "lab-id", "the-secret-of-lab-id-there"

    def __init__(self, issuer: str, clock: Clock = system_clock) -> None:
        self.issuer, self.clock = issuer, clock
        self.key = Key.new()
        super().__init__()

    def reset(self) -> None:
        """Become correct again, with the same key, and forget who asked what."""
        super().reset()
        self.user = somebody()
        self.redirect_uris: set[str] | None = None
        self.metadata: dict[str, Any] = {}
        self.id_token: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.callback: dict[str, Any] = {}
        self.claims_in_id_token = True
        # When the person signed in; None: right now, at each request.
        self.auth_time: datetime | None = None
        self.published = [self.key]
        self.alg = "RS256"
        self.hmac_key: bytes | None = None
        self._granted: dict[str, _Authorized] = {}
        self._access_tokens: dict[str, str] = {}

    def set_redirect_uris(self, *uris: str) -> None:
        self.redirect_uris = set(uris)

    def set_user(self, sub: str, **claims: Any) -> None:
        """Let somebody else be signed in."""
        self.user = {"sub": sub, **claims}

    def rotate(self, *, keep_old: bool = False) -> Key:
        """Sign with a new key from now on, and publish it."""
        self.key = Key.new()
        self.published = [self.key, *(self.published if keep_old else [])]
        return self.key

    def refuse(self, error: str = "access_denied", **more: str) -> None:
        """Answer authorization requests with an error (RFC 6749 §4.1.2.1)."""
        self.callback |= {"code": ABSENT, "error": error, **more}

    def refuse_token(self, error: str = "invalid_grant", status: int = 400) -> None:
        """Answer token requests with an error (RFC 6749 §5.2)."""
        self.bend["token"] = lambda _request, _usual: JSONResponse({"error": error}, status)

    def usual_claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of an ID token for the person (OpenID Connect Core §2), not merged with anything."""
        issued = int(self.clock().timestamp())
        until = issued + int(LIFETIME.total_seconds())
        usual = {"iss": self.issuer, "aud": self.client_id, "azp": self.client_id, "iat": issued, "exp": until}
        return {**usual, "sub": self.user["sub"], **more}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a JWT (RFC 7519) of exactly these claims, with the algorithm, key and header as they are bent."""
        kid = {} if self.alg == "none" else {"kid": self.key.kid}
        header = merged({"alg": self.alg, "typ": "JWT", **kid}, self.header)
        content = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
        return f"{content.decode()}.{_text(self._signature(content))}"

    def credential(self, nonce: str | None = None, **claims: Any) -> str:
        """Return what Google's One Tap and its button post as `credential`: an ID token with everything in it."""
        now = self.clock()
        own = {"nbf": int((now - timedelta(minutes=5)).timestamp()), "jti": token_urlsafe(15)}
        usual = self.usual_claims(**own, **self.user, **({} if nonce is None else {"nonce": nonce}))
        return self.sign(merged(merged(usual, self.id_token), claims))

    def _signature(self, content: bytes) -> bytes:
        match self.alg:
            case "none":
                return b""
            case "HS256":
                secret = self.client_secret.encode() if self.hmac_key is None else self.hmac_key
                return hmac.digest(secret, content, "sha256")
            case _:
                return self.key.sign(content)

    async def _discovery(self, request: Request) -> Response:
        usual = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "end_session_endpoint": f"{self.issuer}/end_session",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse(merged(usual, self.metadata), headers=_KEEP)

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": [key.public_jwk for key in self.published]}, headers=_KEEP)

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        redirect_uri = asked.get("redirect_uri", "")
        known = self.redirect_uris is None or redirect_uri in self.redirect_uris
        if asked.get("client_id") != self.client_id or not redirect_uri or not known:
            return Response("unknown client or redirect_uri", 400)
        fresh = "max_age" in asked or "login" in asked.get("prompt", "").split()
        code = self._grant(
            _Authorized(
                client_id=self.client_id,
                redirect_uri=redirect_uri,
                scope=asked.get("scope", ""),
                nonce=asked.get("nonce"),
                challenge=asked.get("code_challenge"),
                auth_time=(self.auth_time or self.clock()) if fresh else None,
            )
        )
        answer = merged({"code": code, "state": asked.get("state", ABSENT), "iss": self.issuer}, self.callback)
        return RedirectResponse(str(URL(redirect_uri).include_query_params(**answer)), 302)

    async def _token(self, request: Request) -> Response:
        form = self.last("token").form
        if credentials(request, form) != (self.client_id, self.client_secret):
            return JSONResponse({"error": "invalid_client"}, 401, {"WWW-Authenticate": "Basic"})
        refreshed = form.get("grant_type") == "refresh_token"
        authorized = self._granted.pop(form.get("refresh_token" if refreshed else "code", ""), None)
        if authorized is None or not (_is_refreshed if refreshed else _is_redeemed)(authorized, form):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(merged(self._tokens(authorized), self.token), headers={"Cache-Control": "no-store"})

    def _tokens(self, authorized: _Authorized) -> dict[str, Any]:
        access_token = token_urlsafe()
        self._access_tokens[access_token] = authorized.scope
        later = _Authorized(authorized.client_id, None, authorized.scope, None, None, authorized.auth_time)
        at_hash = _text(sha256(access_token.encode()).digest()[:16])
        own = {"at_hash": at_hash, "nonce": authorized.nonce, "auth_time": authorized.auth_time}
        own["auth_time"] = authorized.auth_time and int(authorized.auth_time.timestamp())
        told = self._told(authorized.scope) if self.claims_in_id_token else {}
        claims = self.usual_claims(**told, **{name: value for name, value in own.items() if value is not None})
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(LIFETIME.total_seconds()),
            "scope": authorized.scope,
            "refresh_token": self._grant(later),
            "id_token": self.sign(merged(claims, self.id_token)),
        }

    def _told(self, scope: str) -> dict[str, Any]:
        """Return what the scope tells of the person; what belongs to no scope is told to everybody."""
        kept_back = {claim for name, claims in _SCOPES.items() if name not in scope.split() for claim in claims}
        return {name: value for name, value in self.user.items() if name not in kept_back | {"sub"}}

    async def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self._access_tokens:
            return JSONResponse({"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        usual = {"sub": self.user["sub"], **self._told(self._access_tokens[token])}
        return JSONResponse(merged(usual, self.userinfo))

    async def _revoke(self, request: Request) -> Response:
        token = self.last("revoke").form.get("token", "")
        self._granted.pop(token, None)
        self._access_tokens.pop(token, None)
        return Response()

    async def _end_session(self, request: Request) -> Response:
        asked = self.last("end_session").query
        if "post_logout_redirect_uri" not in asked:
            return Response("signed out")
        state = {"state": asked["state"]} if "state" in asked else {}
        return RedirectResponse(str(URL(asked["post_logout_redirect_uri"]).include_query_params(**state)), 302)

    def _grant(self, authorized: _Authorized) -> str:
        value = token_urlsafe()
        self._granted[value] = authorized
        return value

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(path, partial(self.answer, name, getattr(self, f"_{name}")), methods=["GET", "POST"])
                for name, path in _ENDPOINTS.items()
            ]
        )


@pytest.fixture(scope="session")
def evil_server() -> Iterator[EvilProvider]:
    with evil_provider() as evil:
        yield evil


@pytest.fixture
def evil(evil_server: EvilProvider) -> EvilProvider:
    """The one of the run, correct again, with the machine's time."""
    evil_server.reset()
    evil_server.clock = system_clock
    return evil_server


@contextmanager
def evil_provider(clock: Clock = system_clock) -> Iterator[EvilProvider]:
    with listen() as listener:
        evil = EvilProvider(url_of(listener), clock)
        with served(evil.app, listener):
            yield evil


def _is_refreshed(authorized: _Authorized, form: Mapping[str, str]) -> bool:
    return authorized.redirect_uri is None


def _is_redeemed(authorized: _Authorized, form: Mapping[str, str]) -> bool:
    """Tell whether this is the token request for the code (RFC 6749 §4.1.3, RFC 7636 §4.6)."""
    same_place = form.get("redirect_uri") == authorized.redirect_uri
    verifier = form.get("code_verifier")
    proven = authorized.challenge == (verifier and pkce_challenge(verifier))
    return form.get("grant_type") == "authorization_code" and same_place and proven


def _text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
