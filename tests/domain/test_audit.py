"""Audit events."""

import re

from idp.domain.audit import AuditAction
from tests.support.factories import make_audit_event


def test_an_event_succeeded_and_says_nothing_more_unless_told():
    event = make_audit_event()
    assert event.succeeded
    assert event.detail == {}


def test_events_do_not_share_their_detail():
    assert make_audit_event().detail is not make_audit_event().detail


def test_every_action_is_named_noun_first_and_fits_its_column():
    for action in AuditAction:
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", action)
        assert len(action) <= 40
