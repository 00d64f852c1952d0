"""What becomes of an invitation, and of who belongs to a lab already and takes an offer."""

from datetime import timedelta

import pytest

from idp.domain.invitation import InvitationStatus, joined
from idp.domain.join_request import ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_WITHDRAWAL
from idp.domain.lab import LabRole
from tests.support.clock import START
from tests.support.factories import make_invitation, make_join_request, make_membership

DAY = timedelta(days=1)
NEVER, SOON, LATER = None, START + DAY, START + 9 * DAY
ADMIN, MEMBER, VIEWER = LabRole.ADMIN, LabRole.MEMBER, LabRole.VIEWER


def test_what_was_answered_or_taken_back_stays_so_and_what_was_not_expires():
    after = START + 99 * DAY
    assert make_invitation().status(now=START) is InvitationStatus.OPEN
    assert make_invitation().status(now=after) is InvitationStatus.EXPIRED
    for change, status in (
        ("accepted_at", InvitationStatus.ACCEPTED),
        ("declined_at", InvitationStatus.DECLINED),
        ("revoked_at", InvitationStatus.REVOKED),
    ):
        assert make_invitation(**{change: START}).status(now=after) is status


def test_who_did_not_belong_gets_what_was_offered():
    offered = make_membership(expires_at=SOON)
    assert joined(None, offered, now=START) is offered


@pytest.mark.parametrize(
    ("held", "offered", "after"),
    [
        # A longer time with the same role, or more.
        ((MEMBER, SOON), (MEMBER, LATER), (MEMBER, LATER)),
        ((MEMBER, SOON), (MEMBER, NEVER), (MEMBER, NEVER)),
        ((VIEWER, SOON), (ADMIN, SOON), (ADMIN, SOON)),
        ((VIEWER, NEVER), (MEMBER, NEVER), (MEMBER, NEVER)),
        # Never shorter.
        ((MEMBER, LATER), (MEMBER, SOON), (MEMBER, LATER)),
        ((MEMBER, NEVER), (MEMBER, LATER), (MEMBER, NEVER)),
        # Never lower.
        ((ADMIN, NEVER), (VIEWER, NEVER), (ADMIN, NEVER)),
        # Never the higher role of the one for as long as the other.
        ((ADMIN, SOON), (MEMBER, LATER), (ADMIN, SOON)),
        ((VIEWER, NEVER), (ADMIN, SOON), (VIEWER, NEVER)),
        # What has ended does not count.
        ((ADMIN, START), (VIEWER, SOON), (VIEWER, SOON)),
    ],
)
def test_who_belongs_already_gets_more_but_never_what_neither_of_the_two_gives(held, offered, after):
    present, offer = (make_membership(role=role, expires_at=end) for role, end in (held, offered))
    membership = joined(present, offer, now=START)
    assert (membership.role, membership.expires_at) == after


def test_who_takes_an_offer_belongs_from_now_on_and_is_told_of_the_new_end():
    present = make_membership(not_before=SOON, expires_at=LATER, granted_by="u_old", reminded_of=LATER)
    after = joined(present, make_membership(expires_at=NEVER, granted_by="u_new", created_at=SOON), now=START)
    assert (after.not_before, after.granted_by, after.created_at) == (None, "u_new", START)
    assert after.reminded_of != after.expires_at


def test_one_may_ask_again_after_withdrawing_and_a_while_after_being_denied():
    assert not make_join_request().may_be_repeated(now=START + 99 * DAY)
    withdrawn = make_join_request(withdrawn_at=START)
    assert not withdrawn.may_be_repeated(now=START + ASK_AGAIN_AFTER_WITHDRAWAL - timedelta(seconds=1))
    assert withdrawn.may_be_repeated(now=START + ASK_AGAIN_AFTER_WITHDRAWAL)
    denied = make_join_request(denied_at=START)
    assert denied.repeatable_at == START + ASK_AGAIN_AFTER
    assert not denied.may_be_repeated(now=START + ASK_AGAIN_AFTER - DAY)
    assert denied.may_be_repeated(now=START + ASK_AGAIN_AFTER)
    assert [each.open for each in (make_join_request(), make_join_request(withdrawn_at=START), denied)] == [
        True,
        False,
        False,
    ]
