"""What is released to a client at one moment, and why."""

from datetime import timedelta

import pytest

from idp.domain.claims import EntitlementNamespace
from idp.domain.client import Profile
from idp.domain.lab import LabRole
from idp.domain.lab_release import LabReason
from idp.domain.release import ADMIN_TOKEN_TTL, ClaimReason, release
from tests.support.clock import START
from tests.support.factories import make_client, make_lab_membership, make_user

NAMESPACE = EntitlementNamespace("urn:example:idp", "idp.example.org")
PORTAL = make_client(allowed_labs="*")
HOUR = timedelta(hours=1)


def test_one_function_tells_claims_scope_and_reasons():
    released = release(
        PORTAL,
        ("openid", "email", "phone", "groups", "lab:bio", "lab:dust"),
        now=START,
        user=make_user(email_verified=True),
        memberships=[make_lab_membership("bio"), make_lab_membership("chem")],
    )
    assert released.claims == {
        "email": "alice@example.org",
        "email_verified": True,
        "labs": [{"id": "lab_bio", "slug": "bio", "name": "Bio", "role": "member"}],
        "groups": ["bio:member", "bio:viewer"],
    }
    assert released.scope == ("openid", "email", "phone", "groups", "lab:bio")
    assert released.labs.reasons == {"chem": LabReason.NOT_REQUESTED, "dust": LabReason.NOT_A_MEMBER}
    reasons = released.reasons
    assert reasons["email"] is ClaimReason.RELEASED
    assert reasons["phone_number"] is ClaimReason.NOT_ON_FILE
    assert reasons["given_name"] is ClaimReason.NOT_REQUESTED
    assert reasons["groups"] is ClaimReason.RELEASED
    assert reasons["entitlements"] is ClaimReason.NOT_REQUESTED


@pytest.mark.parametrize(
    ("scope", "changes", "name", "reason"),
    [
        ("labs", {"claim_aliases": {"labs": "memberships"}}, "labs", ClaimReason.RELEASED),
        ("entitlements", {}, "entitlements", ClaimReason.NO_NAMESPACE),
        ("labs", {"profile": Profile.WLCG}, "labs", ClaimReason.NOT_IN_PROFILE),
        ("groups", {}, "labs", ClaimReason.NOT_REQUESTED),
    ],
)
def test_a_claim_about_labs_is_there_or_the_reason_is_said(scope: str, changes: dict, name: str, reason: ClaimReason):
    client = make_client(allowed_labs="*", **changes)
    released = release(client, [scope], now=START, memberships=[make_lab_membership("bio")])
    assert released.reasons[name] is reason


def test_too_many_labs_are_left_out_whole_and_the_reason_is_their_size():
    memberships = [make_lab_membership(f"lab-{number}") for number in range(100)]
    released = release(PORTAL, ["labs", "groups"], now=START, memberships=memberships, max_lab_bytes=2048)
    assert released.claims == {"labs_overflow": True}
    assert released.reasons["labs"] is released.reasons["groups"] is ClaimReason.TOO_LARGE


def test_labs_gave_a_service_what_it_may_tell_whatever_the_client_may_see_of_people():
    client = make_client(allowed_labs=())
    held = [make_lab_membership("bio")]
    assert release(client, ["groups"], now=START, memberships=held).claims == {"groups": []}
    assert release(client, ["groups"], now=START, memberships=held, allowed="*").claims == {
        "groups": ["bio:member", "bio:viewer"]
    }


@pytest.mark.parametrize(
    ("role", "membership_ends", "ends"),
    [
        (LabRole.MEMBER, None, START + HOUR),
        (LabRole.MEMBER, START + HOUR / 2, START + HOUR / 2),
        (LabRole.ADMIN, None, START + ADMIN_TOKEN_TTL),
        (LabRole.ADMIN, START + ADMIN_TOKEN_TTL / 2, START + ADMIN_TOKEN_TTL / 2),
    ],
)
def test_a_token_ends_with_the_first_membership_and_soon_where_it_tells_of_an_admin(role, membership_ends, ends):
    held = [make_lab_membership("bio", role, expires_at=membership_ends), make_lab_membership("chem")]
    released = release(PORTAL, ["groups"], now=START, memberships=held)
    assert released.expires_at(START + HOUR, now=START) == ends


def test_a_token_that_tells_of_no_lab_lives_as_long_as_others():
    held = [make_lab_membership("bio", LabRole.ADMIN, expires_at=START + HOUR / 2)]
    released = release(PORTAL, ["openid"], now=START, memberships=held, namespace=NAMESPACE)
    assert released.expires_at(START + HOUR, now=START) == START + HOUR
