"""Every specification that is switched on, one line each; routes, grants and metadata derive from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.routing import Route

from idp.protocol.registration import RegistrationPolicy
from idp.services.authorization_code import AuthorizationCodeGrant
from idp.services.client_credentials import ClientCredentialsGrant
from idp.services.refresh_token import RefreshTokenGrant
from idp.services.token import GrantHandler
from idp.services.token_exchange import TokenExchangeGrant
from idp.services.upstream_logout import DONE_PATH
from idp.settings import Settings
from idp.web import (
    account,
    account_activity,
    account_data,
    account_labs,
    account_profile,
    account_security,
    account_sessions,
    consent,
    email_code,
    explain,
    health,
    home,
    invitations,
    linked_accounts,
    login,
    logo,
    mfa,
    one_tap,
    password_change,
    recovery,
    select_account,
    setup,
    sign_in_link,
    sign_up,
    upstream,
)
from idp.web.admin import providers as admin_providers
from idp.web.api import operations as api
from idp.web.labs import invitations as lab_invitations
from idp.web.labs import join_requests, lab_applications, lab_csv, lab_grants, members, profile, rules
from idp.web.labs import settings as lab_settings
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
    Feature(
        # Before the names of providers, which are none of these words.
        spec="Mailed codes and links",
        routes=(
            Route("/login/code", email_code.ask, methods=_GET_POST),
            Route("/login/code/{handle}", email_code.enter, methods=_GET_POST),
            Route("/login/link/{token}", sign_in_link.sign_in_link, methods=_GET_POST),
            Route("/signup", sign_up.sign_up, methods=_GET_POST),
            Route("/verify-email/{token}", sign_up.verify, methods=_GET_POST),
            Route("/recover", recovery.recover, methods=_GET_POST),
            Route("/recover/{token}", recovery.reset, methods=_GET_POST),
            Route("/account/security/password", password_change.password, methods=_GET_POST),
        ),
    ),
    Feature(
        spec="Sign in through other providers: OpenID Connect Core, RFC 6749",
        routes=(
            Route("/login/{provider}", upstream.leave, methods=_GET_POST),
            Route("/login/{provider}/callback", upstream.callback),
            Route("/login/{provider}/one-tap", one_tap.one_tap, methods=["POST"]),
            Route("/login/{provider}/link/{handle}", upstream.link, methods=_GET_POST),
            Route("/login/{provider}/address/{handle}", upstream.address, methods=_GET_POST),
            Route("/account/linked", linked_accounts.linked_accounts, methods=_GET_POST),
        ),
    ),
    Feature(spec="RFC 6749 refresh token", grants=(RefreshTokenGrant,)),
    Feature(spec="RFC 6749 client credentials", grants=(ClientCredentialsGrant,)),
    Feature(spec="RFC 8693", grants=(TokenExchangeGrant,)),
    Feature(
        spec="RFC 7009",
        routes=(Route("/revoke", revoke.revoke, methods=_CROSS_ORIGIN),),
        metadata={"revocation_endpoint": "/revoke"},
    ),
    Feature(
        spec="OpenID Connect RP-Initiated, Front-Channel and Back-Channel Logout",
        routes=(Route("/logout", logout.logout, methods=_GET_POST), Route(DONE_PATH, logout.done)),
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
        spec="Account labs",
        routes=(
            Route("/account/labs", account_labs.labs, methods=_GET_POST),
            Route("/account/labs/{slug}/leave", account_labs.leave),
            Route("/invitations/{token}", invitations.invitation, methods=_GET_POST),
        ),
    ),
    Feature(spec="Labs API (OpenAPI 3.1, RFC 9457)", routes=api.ROUTES),
    Feature(
        spec="Labs",
        routes=(
            Route("/labs/{slug}", members.lab),
            Route("/labs/{slug}/members.csv", lab_csv.export_members),
            Route("/labs/{slug}/members/{user_id}", members.member, methods=_GET_POST),
            Route("/labs/{slug}/import", lab_csv.import_members, methods=_GET_POST),
            Route("/labs/{slug}/invitations", lab_invitations.invitations, methods=_GET_POST),
            Route("/labs/{slug}/requests", join_requests.join_requests, methods=_GET_POST),
            Route("/labs/{slug}/services", lab_grants.lab_grants, methods=_GET_POST),
            Route("/labs/{slug}/applications", lab_applications.lab_applications, methods=_GET_POST),
            Route("/labs/{slug}/rules", rules.rules, methods=_GET_POST),
            Route("/labs/{slug}/settings", lab_settings.settings, methods=_GET_POST),
            Route("/labs/{slug}/join", profile.join, methods=_GET_POST),
        ),
    ),
    Feature(
        spec="pages and operations",
        routes=(
            Route("/", home.home),
            Route("/login/mfa", mfa.mfa, methods=_GET_POST),
            Route("/account/security", account_security.security, methods=_GET_POST),
            Route("/account/security/totp", account_security.totp, methods=_GET_POST),
            Route("/account/security/totp/{interaction}", account_security.totp, methods=_GET_POST),
            Route("/account/apps", account.applications, methods=_GET_POST),
            Route("/account/apps/labs", account.application_labs, methods=_GET_POST),
            Route("/account/activity", account_activity.activity),
            Route("/account/data", account_data.data),
            Route("/account/data/download", account_data.download),
            Route("/account/profile", account_profile.profile, methods=_GET_POST),
            Route("/account/sessions", account_sessions.sessions, methods=_GET_POST),
            Route("/admin/providers", admin_providers.providers, methods=_GET_POST),
            Route("/explain/{reference}", explain.explain),
            Route("/setup/{token}", setup.setup, methods=_GET_POST),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
        ),
    ),
)
