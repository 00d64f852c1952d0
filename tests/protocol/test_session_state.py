"""Session state."""

from hashlib import sha256

import pytest

from idp.protocol.session_state import session_state

GIVEN = {"client_id": "portal", "origin": "https://portal.example.org", "browser_state": "b", "salt": "s"}


def test_it_is_a_salted_hash_with_the_salt_behind_it_session_management_s3_2():
    digest = sha256(b"portal https://portal.example.org b s").hexdigest()
    assert session_state(**GIVEN) == f"{digest}.s"


@pytest.mark.parametrize("name", list(GIVEN))
def test_it_changes_with_each_of_its_parts_session_management_s2(name: str):
    assert session_state(**{**GIVEN, name: "x"}) != session_state(**GIVEN)


def test_it_holds_no_space_which_would_end_it_in_a_message_session_management_s3_1():
    assert " " not in session_state(**{**GIVEN, "client_id": "a client"})
