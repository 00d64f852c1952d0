"""Every specification that is switched on, one line each; routes, grants and metadata derive from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.routing import Route

from idp.protocol.registration import RegistrationPolicy
from idp.services.authorization_code import AuthorizationCodeGrant
from idp.services.client_credentials import ClientCredentialsGrant
from idp.services.refresh_token import RefreshTokenGrant
from idp.services.token import GrantHandler
from idp.settings import Settings
from idp.web import account, consent, explain, health, home, login, logo, select_account, setup
from idp.web.oauth import authorize, introspect, logout, registration, revoke, session_management, token, userinfo
from idp.web.oauth.wellknown import JWKS_PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One specification: its routes, its grants, and the endpoints that it adds to the metadata.

    `announced` tells from the settings whether the metadata name them; the routes are mounted in any case.
    """

    spec: str
    routes: Sequence[Route] = ()
    grants: Sequence[type[GrantHandler]] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    announced: Callable[[Settings], bool] = lambda settings: True


_GET_POST = ["GET", "POST"]
_CROSS_ORIGIN = ["POST", "OPTIONS"]

# The hottest routes first: routing tries them in this order.
FEATURES = (
    Feature(
        spec="RFC 6749 token endpoint",
        routes=(Route("/token", token.issue, methods=_CROSS_ORIGIN),),
        metadata={"token_endpoint": "/token"},
    ),
    Feature(
        spec="OpenID Connect Core UserInfo",
        routes=(Route("/userinfo", userinfo.userinfo, methods=[*_GET_POST, "OPTIONS"]),),
        metadata={"userinfo_endpoint": "/userinfo"},
    ),
    Feature(
        spec="RFC 7662",
        routes=(Route("/introspect", introspect.introspect, methods=["POST"]),),
        metadata={"introspection_endpoint": "/introspect"},
    ),
    Feature(
        spec="RFC 6749 authorization code, OpenID Connect Core, RFC 7636, RFC 9207",
        routes=(
            Route("/authorize", authorize.authorize, methods=_GET_POST),
            Route("/authorize/resume", authorize.resume),
            Route("/login", login.login, methods=_GET_POST),
            Route("/select-account", select_account.select_account, methods=_GET_POST),
            Route("/consent", consent.consent, methods=_GET_POST),
            Route("/logo/{digest}.png", logo.logo),
        ),
        grants=(AuthorizationCodeGrant,),
        metadata={"authorization_endpoint": "/authorize"},
    ),
    Feature(spec="RFC 6749 refresh token", grants=(RefreshTokenGrant,)),
    Feature(spec="RFC 6749 client credentials", grants=(ClientCredentialsGrant,)),
    Feature(
        spec="RFC 7009",
        routes=(Route("/revoke", revoke.revoke, methods=_CROSS_ORIGIN),),
        metadata={"revocation_endpoint": "/revoke"},
    ),
    Feature(
        spec="OpenID Connect RP-Initiated, Front-Channel and Back-Channel Logout",
        routes=(Route("/logout", logout.logout, methods=_GET_POST),),
        metadata={"end_session_endpoint": "/logout"},
    ),
    Feature(
        spec="OpenID Connect Session Management",
        routes=(Route("/check_session", session_management.check_session),),
        metadata={"check_session_iframe": "/check_session"},
    ),
    Feature(
        spec="RFC 7591, RFC 7592, OpenID Connect Dynamic Client Registration",
        routes=(
            Route("/clients", registration.register, methods=["POST"]),
            Route("/clients/{client_id}", registration.manage, methods=["GET", "PUT", "DELETE"]),
        ),
        metadata={"registration_endpoint": "/clients"},
        announced=lambda settings: settings.dynamic_registration is not RegistrationPolicy.CLOSED,
    ),
    Feature(spec="OpenID Connect Discovery, RFC 8414, RFC 7517", metadata={"jwks_uri": JWKS_PATH}),
    Feature(
        spec="pages and operations",
        routes=(
            Route("/", home.home),
            Route("/account/apps", account.applications, methods=_GET_POST),
            Route("/explain/{reference}", explain.explain),
            Route("/setup/{token}", setup.setup, methods=_GET_POST),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
        ),
    ),
)
