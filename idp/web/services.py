"""What every request finds in `request.state`: the services, by name."""

from dataclasses import dataclass
from typing import TypedDict

from starlette.requests import Request

from idp.domain.clock import Clock
from idp.observe.metrics import Metrics
from idp.services.activity import Activity
from idp.services.api_access import ApiAccess
from idp.services.applications import Applications
from idp.services.authorization import Authorization
from idp.services.client_authentication import ClientAuthentication
from idp.services.clients import Clients
from idp.services.consent import Consents
from idp.services.email_codes import EmailCodes
from idp.services.introspection import Introspection
from idp.services.invitations import Invitations
from idp.services.join_requests import JoinRequests
from idp.services.lab_applications import LabApplications
from idp.services.lab_csv import LabCsv
from idp.services.lab_grants import LabGrants
from idp.services.labs import Labs
from idp.services.linked_accounts import LinkedAccounts
from idp.services.login import Login
from idp.services.logos import Logos
from idp.services.logout import Logout
from idp.services.one_tap import OneTap
from idp.services.own_data import OwnData
from idp.services.own_profile import OwnProfile
from idp.services.password_change import PasswordChange
from idp.services.provider_test import ProviderTest
from idp.services.providers import Providers
from idp.services.recovery import Recovery
from idp.services.refusals import Refusals
from idp.services.registration import ClientRegistration
from idp.services.revocation import Revocation
from idp.services.second_factor_setup import SecondFactorSetup
from idp.services.second_factors import SecondFactors
from idp.services.sessions import Accounts, Sessions, SignedIn
from idp.services.setup import Setup
from idp.services.sign_in_link import SignInLinks
from idp.services.sign_up_by_mail import SignUpByMail
from idp.services.signing_keys import SigningKeys
from idp.services.step_up import StepUp
from idp.services.token import TokenService
from idp.services.upstream_logout import UpstreamLogout
from idp.services.upstream_sign_in import UpstreamSignIn
from idp.services.upstream_visits import UpstreamVisits
from idp.services.userinfo import UserInfo
from idp.store.store import Store
from idp.web.cookies import Cookies
from idp.web.pages import Pages


@dataclass(frozen=True, slots=True)
class Demo:
    """What demo mode shows: sign-ins as (email, password, who it is), and where the demo application runs."""

    accounts: tuple[tuple[str, str, str], ...]
    rp_url: str


@dataclass(slots=True)
class Drain:
    """Whether the server is stopping, so that load balancers send nothing more."""

    draining: bool = False


class Services(TypedDict):
    """One entry for each thing that a handler may need."""

    store: Store
    clock: Clock
    metrics: Metrics
    clients: Clients
    client_authentication: ClientAuthentication
    signing_keys: SigningKeys
    sessions: Sessions
    providers: Providers
    provider_test: ProviderTest
    upstream_sign_in: UpstreamSignIn
    one_tap: OneTap
    upstream_visits: UpstreamVisits
    linked_accounts: LinkedAccounts
    own_profile: OwnProfile
    activity: Activity
    own_data: OwnData
    login: Login
    second_factors: SecondFactors
    second_factor_setup: SecondFactorSetup
    step_up: StepUp
    email_codes: EmailCodes | None
    sign_up_by_mail: SignUpByMail | None
    recovery: Recovery | None
    sign_in_links: SignInLinks
    password_change: PasswordChange
    authorization: Authorization
    consents: Consents
    applications: Applications
    labs: Labs
    lab_csv: LabCsv
    api_access: ApiAccess
    logos: Logos
    token: TokenService
    userinfo: UserInfo
    introspection: Introspection
    revocation: Revocation
    logout: Logout
    upstream_logout: UpstreamLogout
    registration: ClientRegistration
    invitations: Invitations
    join_requests: JoinRequests
    lab_grants: LabGrants
    lab_applications: LabApplications
    setup: Setup
    refusals: Refusals
    pages: Pages
    cookies: Cookies
    drain: Drain
    demo: Demo | None
    issuer: str
    max_body_bytes: int


async def find_signed_in(request: Request[Services]) -> SignedIn | None:
    """Return who is signed in in this browser: the active account."""
    state = request.state
    return await state["sessions"].find(state["cookies"].session(request))


async def find_accounts(request: Request[Services]) -> Accounts:
    """Return every account that is signed in in this browser."""
    cookies = request.state["cookies"]
    return await request.state["sessions"].find_accounts(
        cookies.session(request), cookies.others(request), cookies.browser_state(request)
    )
