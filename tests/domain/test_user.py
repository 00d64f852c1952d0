"""Accounts."""

import pytest

from idp.domain.claims import SCOPE_CLAIMS
from idp.domain.user import PROFILE_CLAIMS, AdminRole, UserStatus
from tests.support.factories import USER_ID, make_user


@pytest.mark.parametrize(("status", "active"), [(UserStatus.ACTIVE, True), (UserStatus.DISABLED, False)])
def test_a_disabled_account_is_not_active(status: UserStatus, active: bool):
    assert make_user(status=status).active is active


def test_pages_call_a_person_by_address_else_by_user_name_else_by_id():
    assert make_user(username="alice").label == "alice@example.org"
    assert make_user(email=None, username="alice").label == "alice"
    assert make_user(email=None).label == USER_ID


def test_roles_and_statuses_keep_the_words_that_are_stored_and_written_into_apply_files():
    assert list(AdminRole) == ["super_admin", "admin", "viewer"]
    assert list(UserStatus) == ["active", "disabled"]


def test_every_claim_of_the_scopes_has_a_place_in_the_account_oidc_core_s5_1():
    own_columns = {"name", "email", "email_verified", "updated_at"}
    every_claim = {name for names in SCOPE_CLAIMS.values() for name in names}
    assert set(PROFILE_CLAIMS) == every_claim - own_columns
