"""Valid objects: each test changes the one thing that it is about.

With nothing changed they fit together: Alice, in the lab `bio`, signed in in one browser, granted the client `portal`
one grant, from which a code and two tokens came. Tests that need two of a kind give the second its own key.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.client import Client, GrantType
from idp.domain.consent import Consent
from idp.domain.credential import Credential, CredentialKind
from idp.domain.grant import AccessToken, AuthorizationCode, Grant, RefreshToken
from idp.domain.interaction import Interaction
from idp.domain.invitation import Invitation
from idp.domain.join_request import JoinRequest
from idp.domain.lab import Lab, LabMembership, LabRole, Membership
from idp.domain.lab_grant import LabGrant
from idp.domain.lab_rule import LabDeparture, LabRule
from idp.domain.logo import LabLogo, Logo
from idp.domain.logout import LogoutDelivery
from idp.domain.mail import Mail, MailPurpose
from idp.domain.mailed_proof import MailedProof, ProofPurpose
from idp.domain.one_time_link import LinkPurpose, OneTimeLink
from idp.domain.provider import Provider, ProviderKind
from idp.domain.refusal import Refusal
from idp.domain.registration import InitialAccessToken
from idp.domain.resource import Resource
from idp.domain.second_factor import PendingSignIn, RecoveryCode, Totp
from idp.domain.seen_token import SeenToken
from idp.domain.session import Session
from idp.domain.signing_key import DataKey, Installation, SigningAlgorithm, SigningKey, SigningKeyState
from idp.domain.upstream import KeptDocument, LinkedAccount, UpstreamSession, UpstreamVisit, VisitStage
from idp.domain.user import User
from idp.protocol.authorization_request import AuthorizationRequest, check_authorization_request
from idp.protocol.parameters import Parameters
from tests.support.clock import START

USER_ID = "u_alice"
CLIENT_ID = "portal"
LAB_ID = "lab_bio"
GRANT_ID = "g_portal"
SESSION_ID = "s_browser"
REDIRECT_URI = "https://portal.example.org/callback"
ISSUER = "https://idp.example.org"
# The example of RFC 7636 appendix B.
CODE_VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CODE_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def make_user(**changes: Any) -> User:
    defaults = {"id": USER_ID, "email": "alice@example.org", "created_at": START, "updated_at": START}
    return User(**{**defaults, **changes})


def make_credential(**changes: Any) -> Credential:
    defaults = {
        "id": "cred_password",
        "user_id": USER_ID,
        "kind": CredentialKind.PASSWORD,
        "secret": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "created_at": START,
    }
    return Credential(**{**defaults, **changes})


def make_lab(**changes: Any) -> Lab:
    return Lab(**{"id": LAB_ID, "slug": "bio", "name": "Biology", "created_at": START, **changes})


def make_membership(**changes: Any) -> Membership:
    defaults = {"lab_id": LAB_ID, "user_id": USER_ID, "role": LabRole.MEMBER, "created_at": START}
    return Membership(**{**defaults, **changes})


def make_lab_membership(
    slug: str = "bio", role: LabRole = LabRole.MEMBER, *, lab: dict[str, Any] | None = None, **changes: Any
) -> LabMembership:
    """A membership with its lab; `changes` are the membership's."""
    lab_id = f"lab_{slug}"
    return LabMembership(
        lab=make_lab(**{"id": lab_id, "slug": slug, "name": slug.title(), **(lab or {})}),
        membership=make_membership(lab_id=lab_id, role=role, **changes),
    )


def make_client(**changes: Any) -> Client:
    defaults = {
        "client_id": CLIENT_ID,
        "client_name": "Lab Portal",
        "created_at": START,
        "updated_at": START,
        "redirect_uris": (REDIRECT_URI,),
        "grant_types": (GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN),
        "scope": "openid profile email offline_access",
    }
    return Client(**{**defaults, **changes})


def make_authorization_params(**changes: str | None) -> Parameters:
    """The parameters of an authorization request; None leaves one out."""
    values = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile",
        "state": "a-state",
        "nonce": "a-nonce",
        "code_challenge": CODE_CHALLENGE,
        "code_challenge_method": "S256",
    }
    return Parameters({name: value for name, value in {**values, **changes}.items() if value is not None})


def make_authorization_request(
    client: Client | None = None, *, resources: Sequence[Resource] = (), **changes: str | None
) -> AuthorizationRequest:
    return check_authorization_request(
        client or make_client(),
        make_authorization_params(**changes),
        issuer=ISSUER,
        resources={resource.audience: resource for resource in resources},
    )


def make_resource(**changes: Any) -> Resource:
    defaults = {
        "audience": "https://data.example.org",
        "name": "Data",
        "scopes": ("data:read", "data:write"),
        "created_at": START,
    }
    return Resource(**{**defaults, **changes})


def make_session(**changes: Any) -> Session:
    defaults = {
        "id": SESSION_ID,
        "hash": "hash-of-the-cookie",
        "user_id": USER_ID,
        "auth_time": START,
        "acr": "0",
        "amr": ("pwd",),
        "created_at": START,
        "last_seen_at": START,
        "expires_at": START + timedelta(hours=12),
    }
    return Session(**{**defaults, **changes})


def make_logout_delivery(**changes: Any) -> LogoutDelivery:
    defaults = {
        "id": "l_portal",
        "client_id": CLIENT_ID,
        "user_id": USER_ID,
        "session_id": SESSION_ID,
        "created_at": START,
        "expires_at": START + timedelta(days=1),
        "next_attempt_at": START,
    }
    return LogoutDelivery(**{**defaults, **changes})


def make_mail(**changes: Any) -> Mail:
    """A mail that is well stored but says nothing: what it holds is not sealed."""
    defaults = {
        "id": "m_1",
        "purpose": MailPurpose.INVITATION,
        "sealed": b"sealed",
        "created_at": START,
        "expires_at": START + timedelta(days=2),
        "next_attempt_at": START,
    }
    return Mail(**{**defaults, **changes})


def make_consent(**changes: Any) -> Consent:
    defaults = {
        "user_id": USER_ID,
        "client_id": CLIENT_ID,
        "scopes": ("openid", "profile"),
        "created_at": START,
        "updated_at": START,
    }
    return Consent(**{**defaults, **changes})


def make_interaction(**changes: Any) -> Interaction:
    defaults = {
        "hash": "hash-of-the-handle",
        "client_id": CLIENT_ID,
        "params": {"client_id": CLIENT_ID, "response_type": "code", "redirect_uri": REDIRECT_URI, "scope": "openid"},
        "created_at": START,
        "expires_at": START + timedelta(minutes=30),
    }
    return Interaction(**{**defaults, **changes})


def make_grant(**changes: Any) -> Grant:
    defaults = {
        "id": GRANT_ID,
        "client_id": CLIENT_ID,
        "user_id": USER_ID,
        "session_id": SESSION_ID,
        "scope": "openid profile",
        "auth_time": START,
        "acr": "0",
        "amr": ("pwd",),
        "created_at": START,
        "expires_at": START + timedelta(hours=12),
    }
    return Grant(**{**defaults, **changes})


def make_code(**changes: Any) -> AuthorizationCode:
    defaults = {
        "hash": "hash-of-the-code",
        "grant_id": GRANT_ID,
        "redirect_uri": REDIRECT_URI,
        "code_challenge": None,
        "created_at": START,
        "expires_at": START + timedelta(minutes=1),
    }
    return AuthorizationCode(**{**defaults, **changes})


def make_refresh_token(**changes: Any) -> RefreshToken:
    defaults = {
        "hash": "hash-of-the-refresh-token",
        "grant_id": GRANT_ID,
        "scope": "openid profile",
        "created_at": START,
        "expires_at": START + timedelta(hours=12),
    }
    return RefreshToken(**{**defaults, **changes})


def make_access_token(**changes: Any) -> AccessToken:
    defaults = {
        "hash": "hash-of-the-access-token",
        "jti": "jti-1",
        "grant_id": GRANT_ID,
        "client_id": CLIENT_ID,
        "scope": "openid profile",
        "audience": "https://idp.example.org",
        "created_at": START,
        "expires_at": START + timedelta(minutes=10),
    }
    return AccessToken(**{**defaults, **changes})


def make_one_time_link(**changes: Any) -> OneTimeLink:
    defaults = {
        "hash": "hash-of-the-link",
        "purpose": LinkPurpose.FIRST_SUPER_ADMIN,
        "created_at": START,
        "expires_at": START + timedelta(hours=1),
    }
    return OneTimeLink(**{**defaults, **changes})


def make_signing_key(**changes: Any) -> SigningKey:
    """A key that is well stored but signs nothing: its private half is no sealed key."""
    defaults = {
        "kid": "kid-1",
        "alg": SigningAlgorithm.RS256,
        "state": SigningKeyState.ACTIVE,
        "public_jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        "sealed_private_key": b"sealed",
        "created_at": START,
    }
    return SigningKey(**{**defaults, **changes})


def make_data_key(**changes: Any) -> DataKey:
    return DataKey(**{"purpose": "client_secrets", "wrapped": b"wrapped", "created_at": START, **changes})


def make_installation(**changes: Any) -> Installation:
    return Installation(**{"key_fingerprint": "0123456789abcdef", "created_at": START, **changes})


def make_audit_event(**changes: Any) -> AuditEvent:
    defaults = {
        "id": "e_1",
        "at": START,
        "action": AuditAction.LOGIN_SUCCEEDED,
        "actor": USER_ID,
        "target": USER_ID,
    }
    return AuditEvent(**{**defaults, **changes})


def make_initial_access_token(**changes: Any) -> InitialAccessToken:
    defaults = {
        "hash": "hash-of-the-initial-access-token",
        "id": "iat_1",
        "note": "for the portal's developers",
        "created_at": START,
        "expires_at": START + timedelta(days=7),
    }
    return InitialAccessToken(**{**defaults, **changes})


def make_refusal(**changes: Any) -> Refusal:
    """A ticket that is well stored but holds no explanation: what it holds is not sealed."""
    defaults = {
        "reference": "K7Q2-M9XD",
        "client_id": CLIENT_ID,
        "error": "invalid_grant",
        "address": "192.0.2.7",
        "created_at": START,
        "expires_at": START + timedelta(days=7),
        "sealed": b"sealed",
    }
    return Refusal(**{**defaults, **changes})


def make_logo(**changes: Any) -> Logo:
    defaults = {
        "client_id": CLIENT_ID,
        "uri": "https://portal.example.org/logo.png",
        "fetched_at": START,
        "digest": "d" * 64,
        "content": b"png",
    }
    return Logo(**{**defaults, **changes})


def make_lab_logo(**changes: Any) -> LabLogo:
    defaults = {"lab_id": LAB_ID, "uri": "https://bio.example.org/logo.png", "fetched_at": START}
    return LabLogo(**{**defaults, "digest": "e" * 64, "content": b"png", **changes})


def make_seen_token(**changes: Any) -> SeenToken:
    return SeenToken(**{"hash": "hash-of-an-assertion", "expires_at": START + timedelta(minutes=2), **changes})


def make_invitation(**changes: Any) -> Invitation:
    defaults = {
        "id": "inv_1",
        "hash": "hash-of-an-invitation",
        "lab_id": LAB_ID,
        "role": LabRole.MEMBER,
        "invited_by": USER_ID,
        "created_at": START,
        "expires_at": START + timedelta(days=14),
    }
    return Invitation(**{**defaults, **changes})


def make_join_request(**changes: Any) -> JoinRequest:
    return JoinRequest(**{"lab_id": LAB_ID, "user_id": USER_ID, "created_at": START, **changes})


def make_lab_grant(**changes: Any) -> LabGrant:
    defaults = {
        "client_id": CLIENT_ID,
        "lab_id": LAB_ID,
        "role": LabRole.MEMBER,
        "granted_by": USER_ID,
        "created_at": START,
        "expires_at": START + timedelta(days=365),
    }
    return LabGrant(**{**defaults, **changes})


def make_provider(**changes: Any) -> Provider:
    defaults = {
        "name": "campus",
        "kind": ProviderKind.OIDC,
        "display_name": "Campus login",
        "issuer": "https://login.campus.example",
        "client_id": "lab-id",
        "created_at": START,
        "updated_at": START,
    }
    return Provider(**{**defaults, **changes})


def make_linked_account(**changes: Any) -> LinkedAccount:
    defaults = {
        "id": "la_campus",
        "issuer": "https://login.campus.example",
        "sub": "4711",
        "user_id": USER_ID,
        "provider": "campus",
        "created_at": START,
        "email": "alice@campus.example",
    }
    return LinkedAccount(**{**defaults, **changes})


def make_upstream_visit(**changes: Any) -> UpstreamVisit:
    defaults = {
        "hash": "e" * 64,
        "provider": "campus",
        "stage": VisitStage.LEFT,
        "browser": "f" * 64,
        "sealed": b"sealed",
        "created_at": START,
        "expires_at": START + timedelta(minutes=15),
    }
    return UpstreamVisit(**{**defaults, **changes})


def make_mailed_proof(**changes: Any) -> MailedProof:
    defaults = {
        "hash": "d" * 64,
        "purpose": ProofPurpose.SIGN_IN,
        "address": "a" * 64,
        "browser": "f" * 64,
        "sealed": b"sealed",
        "created_at": START,
        "sent_at": START,
        "expires_at": START + timedelta(minutes=10),
    }
    return MailedProof(**{**defaults, **changes})


def make_upstream_session(**changes: Any) -> UpstreamSession:
    defaults = {"session_id": SESSION_ID, "provider": "campus", "sealed_id_token": b"sealed", "created_at": START}
    return UpstreamSession(**{**defaults, **changes})


def make_totp(**changes: Any) -> Totp:
    defaults = {"user_id": USER_ID, "sealed": b"sealed", "created_at": START, "last_step": 1}
    return Totp(**{**defaults, **changes})


def make_recovery_code(**changes: Any) -> RecoveryCode:
    return RecoveryCode(**{"hash": "a" * 64, "user_id": USER_ID, "created_at": START, **changes})


def make_pending_sign_in(**changes: Any) -> PendingSignIn:
    defaults = {
        "hash": "e" * 64,
        "user_id": USER_ID,
        "browser": "f" * 64,
        "method": "password",
        "acr": "1",
        "amr": ("pwd",),
        "created_at": START,
        "expires_at": START + timedelta(minutes=10),
    }
    return PendingSignIn(**{**defaults, **changes})


def make_kept_document(**changes: Any) -> KeptDocument:
    defaults = {
        "uri": "https://login.campus.example/jwks",
        "body": "{}",
        "fetched_at": START,
        "expires_at": START + timedelta(days=7),
    }
    return KeptDocument(**{**defaults, **changes})


def make_lab_rule(**changes: Any) -> LabRule:
    defaults = {
        "id": "lr_hosted",
        "lab_id": LAB_ID,
        "provider": "campus",
        "claim": "hd",
        "value": "campus.example",
        "role": LabRole.MEMBER,
        "created_by": "cli",
        "created_at": START,
    }
    return LabRule(**{**defaults, **changes})


def make_lab_departure(**changes: Any) -> LabDeparture:
    defaults = {"lab_id": LAB_ID, "user_id": USER_ID, "ended_by": "cli", "ended_at": START}
    return LabDeparture(**{**defaults, **changes})
