"""The composition root: settings in, ASGI application out; the one place where everything is wired."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from idp.crypto.jwe import ENCRYPTION_ALGS, ENCRYPTION_ENCS
from idp.domain.clock import Clock, system_clock
from idp.features import FEATURES
from idp.opening import Opened, entitlement_namespace, open_store, password_policy
from idp.protocol.metadata import server_metadata
from idp.resources import templates_dir
from idp.services import mailed_proofs, registration, request_objects
from idp.services.activity import Activity
from idp.services.api_access import ApiAccess
from idp.services.applications import Applications
from idp.services.authorization import LIMIT as AUTHORIZATION_LIMIT
from idp.services.authorization import Authorization
from idp.services.authorization_answer import AuthorizationAnswer
from idp.services.backchannel_logout import BackchannelLogout
from idp.services.client_authentication import ClientAuthentication
from idp.services.client_encryption import ClientEncryption
from idp.services.client_keys import ClientKeys
from idp.services.consent import Consents
from idp.services.email_codes import EmailCodes
from idp.services.hints import Hints
from idp.services.introspection import Introspection
from idp.services.invitations import Invitations
from idp.services.jobs import Jobs
from idp.services.join_requests import JoinRequests
from idp.services.lab_applications import LabApplications
from idp.services.lab_csv import LabCsv
from idp.services.lab_grants import LabGrants
from idp.services.lab_reminders import LabReminders
from idp.services.labs import Labs
from idp.services.linked_accounts import LinkedAccounts
from idp.services.login import Login
from idp.services.logos import Logos
from idp.services.logout import Logout
from idp.services.mailed_proofs import MailedProofs
from idp.services.one_tap import OneTap
from idp.services.own_data import OwnData
from idp.services.own_profile import OwnProfile
from idp.services.password_change import PasswordChange
from idp.services.provider_test import ProviderTest
from idp.services.rate_limit import RateLimits
from idp.services.recovery import Recovery
from idp.services.refusals import Refusals
from idp.services.registration import ClientRegistration
from idp.services.request_objects import RequestObjects
from idp.services.resources import Resources
from idp.services.revocation import Revocation
from idp.services.second_factor_setup import SecondFactorSetup
from idp.services.second_factors import SecondFactors
from idp.services.sessions import Sessions, SessionTimes
from idp.services.setup import Setup
from idp.services.sign_in import SignIn
from idp.services.sign_in_link import SignInLinks
from idp.services.sign_up import SignUp
from idp.services.sign_up_by_mail import SignUpByMail
from idp.services.step_up import StepUp
from idp.services.subjects import Subjects
from idp.services.sweep import Sweep
from idp.services.token import GrantHandler, TokenService
from idp.services.token_exchange import ExchangeContext
from idp.services.token_issuer import TokenIssuer, TokenTimes
from idp.services.upstream_arrival import UpstreamArrival
from idp.services.upstream_logout import UpstreamLogout
from idp.services.upstream_sign_in import LIMIT as UPSTREAM_LIMIT
from idp.services.upstream_sign_in import UpstreamSignIn
from idp.services.upstream_visits import UpstreamVisits
from idp.services.userinfo import UserInfo
from idp.settings import Settings, is_loopback
from idp.web.cookies import Cookies
from idp.web.direct import Direct
from idp.web.errors import EXCEPTION_HANDLERS
from idp.web.middleware.edge import Edge
from idp.web.oauth.wellknown import WellKnown
from idp.web.pages import Pages
from idp.web.services import Demo, Drain, Services

# Beside the issuer, an assertion may be meant for the endpoint that it is sent to, or for the token endpoint, which is
# what RFC 7523 §3 and OpenID Connect Core §9 told clients to name wherever they authenticate.
_ASSERTION_AUDIENCES = ("token_endpoint", "introspection_endpoint", "revocation_endpoint")


def create_app(
    settings: Settings, *, clock: Clock = system_clock, demo: Demo | None = None, drain: Drain | None = None
) -> ASGIApp:
    """Return the server; its lifespan opens and closes the store. `drain` is set by whoever stops it."""
    pages = Pages(service_name=settings.service_name, templates_dir=templates_dir())
    grants = [grant for feature in FEATURES for grant in feature.grants]
    routes = [route for feature in FEATURES for route in feature.routes]
    announced = [feature for feature in FEATURES if feature.announced(settings)]
    endpoints = {member: path for feature in announced for member, path in feature.metadata.items()}
    metadata = server_metadata(
        issuer=settings.issuer,
        endpoints=endpoints,
        grant_types=[str(grant.grant_type) for grant in grants],
        encryption_algs=ENCRYPTION_ALGS,
        encryption_encs=ENCRYPTION_ENCS,
        entitlements=settings.entitlement_namespace is not None,
    )
    drain = drain or Drain()

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[Mapping[str, object]]:
        async with open_store(settings, clock=clock) as opened:
            well_known.open(opened.signing_keys, opened.metrics)
            edge.open(opened.metrics)
            subjects = Subjects(opened.keys)
            backchannel_logout = _backchannel_logout(opened, subjects)
            logos = Logos(opened.store, opened.outbound, clock)
            jobs = _jobs(opened, backchannel_logout, logos)
            jobs.start()
            try:
                yield _services(opened, subjects, backchannel_logout, logos, metadata, pages, drain, demo)
            finally:
                # Before the jobs, of which one waits for what is being fetched.
                await logos.close()
                await jobs.stop()
                await asyncio.gather(backchannel_logout.finish(), opened.outbox.finish())

    application = Starlette(
        routes=[*routes, *pages.static.routes()],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    # A redirect to the path without its slash would name whatever host was asked for, and carry a form along (307).
    application.router.redirect_slashes = False
    https = settings.issuer.startswith("https:")
    edge = Edge(
        Direct(application, routes),
        trusted_proxies=settings.trusted_proxies,
        https=https,
        access_log=settings.access_log,
    )
    well_known = WellKnown(edge, metadata, jwks_max_age=_seconds(settings.jwks_max_age_seconds), https=https)
    return well_known


def _services(
    opened: Opened,
    subjects: Subjects,
    backchannel_logout: BackchannelLogout,
    logos: Logos,
    metadata: Mapping[str, Any],
    pages: Pages,
    drain: Drain,
    demo: Demo | None,
) -> Services:
    settings, clock, store, clients = opened.settings, opened.clock, opened.store, opened.clients
    issuer = settings.issuer
    session_times = SessionTimes(_seconds(settings.session_idle_seconds), _seconds(settings.session_ttl_seconds))
    sessions = Sessions(store, clock, session_times, on_end=backchannel_logout.wake)
    client_keys = ClientKeys(opened.outbound, clock)
    rate_limits = RateLimits(
        {
            registration.LIMIT: settings.registration_limit,
            registration.REFUSAL_LIMIT: settings.registration_limit,
            request_objects.LIMIT: settings.request_uri_limit,
            AUTHORIZATION_LIMIT: settings.authorization_limit,
            UPSTREAM_LIMIT: settings.authorization_limit,
            mailed_proofs.LIMIT: settings.mail_limit,
        },
        exempt=settings.rate_limit_exempt,
    )
    encryption = ClientEncryption(client_keys)
    resources = Resources(store, clock)
    labs = Labs(store, clock)
    invitations = Invitations(store, opened.outbox, clock, issuer=issuer)
    hints = Hints(opened.signing_keys, issuer=issuer)
    namespace = entitlement_namespace(settings)
    token_issuer = TokenIssuer(
        store,
        opened.signing_keys,
        subjects,
        resources,
        encryption,
        issuer=issuer,
        times=_token_times(settings),
        namespace=namespace,
    )
    authorization = Authorization(
        store,
        clients,
        resources,
        opened.providers,
        RequestObjects(client_keys, opened.outbound, rate_limits, clock, issuer=issuer),
        hints,
        subjects,
        AuthorizationAnswer(store, token_issuer, clock),
        rate_limits,
        clock,
        issuer=issuer,
        interaction_ttl=_seconds(settings.interaction_ttl_seconds),
        entitlements=namespace is not None,
    )
    visits = UpstreamVisits(store, opened.keys, clock)
    sign_up = SignUp(settings.registration, settings.registration_domains)
    authentication = ClientAuthentication(
        clients,
        client_keys,
        store,
        opened.keys,
        clock,
        issuer=issuer,
        audiences=[metadata[member] for member in _ASSERTION_AUDIENCES],
    )
    grants: list[GrantHandler] = [
        grant(ExchangeContext(store, token_issuer, opened.keys, resources, opened.providers))
        for feature in FEATURES
        for grant in feature.grants
    ]
    client_registration = ClientRegistration(
        store,
        clients,
        opened.keys,
        opened.outbound,
        rate_limits,
        clock,
        issuer=issuer,
        policy=settings.dynamic_registration,
        require_pkce=settings.dynamic_require_pkce,
        on_loopback=is_loopback(issuer),
        on_change=logos.begin,
    )
    activity, applications = Activity(store), Applications(store, clock)
    linked_accounts = LinkedAccounts(
        store, opened.keys, opened.providers, sessions, opened.outbox, clock, issuer=issuer
    )
    sign_in = SignIn(store, sessions, opened.metrics)
    proofs = MailedProofs(store, opened.keys, rate_limits, clock)
    policy = password_policy(settings, opened.outbound)
    mails = (opened.outbox, opened.hasher, policy)
    upstream_sign_in = _upstream_sign_in(opened, visits, sessions, sign_up, authorization, rate_limits)
    return Services(
        store=store,
        clock=clock,
        metrics=opened.metrics,
        clients=clients,
        client_authentication=authentication,
        signing_keys=opened.signing_keys,
        sessions=sessions,
        providers=opened.providers,
        provider_test=ProviderTest(opened.providers, sign_up, clock, issuer=issuer),
        upstream_sign_in=upstream_sign_in,
        one_tap=OneTap(store, opened.providers, upstream_sign_in, opened.keys, clock),
        upstream_visits=visits,
        linked_accounts=linked_accounts,
        own_profile=OwnProfile(store, clock),
        activity=activity,
        own_data=OwnData(store, sessions, linked_accounts, applications, activity, clock),
        login=Login(store, sign_in, opened.hasher, clock, opened.metrics),
        second_factors=SecondFactors(
            store, opened.keys, sessions, sign_in, opened.outbox, clock, opened.metrics, issuer=issuer
        ),
        second_factor_setup=SecondFactorSetup(
            store, opened.keys, sessions, opened.outbox, clock, issuer=issuer, service_name=settings.service_name
        ),
        step_up=StepUp(store, authorization, clock),
        email_codes=EmailCodes(store, opened.keys, proofs, opened.outbox, sign_in, clock, opened.metrics)
        if settings.email_codes
        else None,
        sign_up_by_mail=SignUpByMail(store, proofs, *mails, sign_up, sign_in, clock, issuer=issuer)
        if settings.has_mail
        else None,
        recovery=Recovery(store, proofs, *mails, opened.providers, clock, issuer=issuer) if settings.has_mail else None,
        sign_in_links=SignInLinks(store, sign_in, clock),
        password_change=PasswordChange(store, sessions, *mails, clock, issuer=issuer),
        authorization=authorization,
        consents=Consents(store, authorization, resources, clock),
        applications=applications,
        labs=labs,
        lab_csv=LabCsv(store, labs, invitations, clock),
        api_access=ApiAccess(store, clients, labs, clock, issuer=issuer),
        logos=logos,
        token=TokenService(authentication, grants, clock, opened.metrics),
        userinfo=UserInfo(
            store, clients, subjects, opened.signing_keys, encryption, clock, issuer=issuer, namespace=namespace
        ),
        introspection=Introspection(
            store, authentication, clients, resources, subjects, clock, issuer=issuer, namespace=namespace
        ),
        revocation=Revocation(store, authentication, clock),
        logout=Logout(clients, sessions, hints, subjects, clock, issuer=issuer),
        upstream_logout=UpstreamLogout(store, opened.keys, opened.providers, clock, issuer=issuer),
        registration=client_registration,
        invitations=invitations,
        join_requests=JoinRequests(store, opened.outbox, clock, issuer=issuer),
        lab_grants=LabGrants(store, clients, clock),
        lab_applications=LabApplications(store, clients, clock),
        setup=Setup(store, opened.hasher, clock, policy),
        refusals=Refusals(
            store,
            clients,
            opened.keys,
            clock,
            per_address=settings.refusals_per_address,
            exempt=settings.rate_limit_exempt,
        ),
        pages=pages,
        cookies=Cookies(issuer=issuer, csrf_key=opened.keys.csrf),
        drain=drain,
        demo=demo,
        issuer=issuer,
        max_body_bytes=settings.max_body_bytes,
    )


def _upstream_sign_in(
    opened: Opened,
    visits: UpstreamVisits,
    sessions: Sessions,
    sign_up: SignUp,
    authorization: Authorization,
    rate_limits: RateLimits,
) -> UpstreamSignIn:
    arrival = UpstreamArrival(opened.store, opened.keys, opened.providers, sessions, sign_up, opened.clock)
    return UpstreamSignIn(
        opened.store,
        opened.providers,
        visits,
        arrival,
        authorization,
        rate_limits,
        opened.clock,
        opened.metrics,
    )


def _backchannel_logout(opened: Opened, subjects: Subjects) -> BackchannelLogout:
    return BackchannelLogout(
        opened.store,
        opened.signing_keys,
        subjects,
        opened.outbound,
        opened.clock,
        opened.metrics,
        issuer=opened.settings.issuer,
    )


def _jobs(opened: Opened, backchannel_logout: BackchannelLogout, logos: Logos) -> Jobs:
    sweep = Sweep(opened.store, opened.clock)
    reminders = LabReminders(opened.store, opened.outbox, opened.clock, issuer=opened.settings.issuer)
    return Jobs(
        {
            "sweep": (timedelta(minutes=10), sweep.run),
            "rotate_signing_keys": (timedelta(minutes=1), opened.signing_keys.rotate_when_due),
            "sample_metrics": (timedelta(seconds=5), opened.metrics.sample),
            "deliver_logout_tokens": (backchannel_logout.due, backchannel_logout.begin),
            "count_logout_deliveries": (timedelta(minutes=1), backchannel_logout.count),
            "remind_of_memberships": (timedelta(minutes=10), reminders.run),
            "send_mail": (opened.outbox.due, opened.outbox.begin),
            "count_mails": (timedelta(minutes=1), opened.outbox.count),
            "fetch_logos": (timedelta(seconds=30), logos.fetch_due),
        }
    )


def _token_times(settings: Settings) -> TokenTimes:
    return TokenTimes(
        access_token=_seconds(settings.access_token_ttl_seconds),
        id_token=_seconds(settings.id_token_ttl_seconds),
        code=_seconds(settings.code_ttl_seconds),
        refresh_token=_seconds(settings.refresh_token_ttl_seconds),
        refresh_grace=_seconds(settings.refresh_grace_seconds),
    )


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
