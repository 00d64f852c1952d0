"""Invitations, requests to join, and what labs give to services."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.invitation import Invitation, InvitationStatus
from idp.domain.join_request import ASK_AGAIN_AFTER, JoinRequest
from idp.domain.lab import LabRole
from idp.domain.lab_grant import LabGrant
from tests.support.clock import START

DAY = timedelta(days=1)


def invitation(**changes: Any) -> Invitation:
    defaults = {
        "id": "i_1",
        "hash": "h",
        "lab_id": "lab_bio",
        "role": LabRole.MEMBER,
        "invited_by": "u_alice",
        "created_at": START,
        "expires_at": START + DAY,
    }
    return Invitation(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, InvitationStatus.OPEN),
        ({"expires_at": START}, InvitationStatus.EXPIRED),
        ({"accepted_at": START, "expires_at": START}, InvitationStatus.ACCEPTED),
        ({"declined_at": START}, InvitationStatus.DECLINED),
        ({"revoked_at": START}, InvitationStatus.REVOKED),
    ],
)
def test_an_invitation_is_open_until_it_is_answered_revoked_or_over(changes: dict[str, Any], status: InvitationStatus):
    assert invitation(**changes).status(now=START) is status


def test_a_request_waits_until_it_is_denied_and_may_be_repeated_after_a_while():
    waiting = JoinRequest(lab_id="lab_bio", user_id="u_alice", created_at=START)
    assert waiting.open
    assert not waiting.may_be_repeated(now=START + 10 * ASK_AGAIN_AFTER)
    denied = JoinRequest(lab_id="lab_bio", user_id="u_alice", created_at=START, denied_at=START)
    assert not denied.open
    assert not denied.may_be_repeated(now=START + ASK_AGAIN_AFTER - timedelta(seconds=1))
    assert denied.may_be_repeated(now=START + ASK_AGAIN_AFTER)


def test_what_a_lab_gives_to_a_service_counts_until_it_ends_and_reads_as_a_membership():
    grant = LabGrant(
        client_id="robot",
        lab_id="lab_bio",
        role=LabRole.VIEWER,
        granted_by="u_alice",
        created_at=START,
        expires_at=START + DAY,
    )
    assert grant.valid(now=START + DAY - timedelta(seconds=1))
    assert not grant.valid(now=START + DAY)
    membership = grant.membership
    assert (membership.user_id, membership.role, membership.expires_at) == ("robot", LabRole.VIEWER, START + DAY)
    assert not membership.valid(now=START + DAY)
