"""Subject and session identifiers under this installation's key (OpenID Connect Core §8.1)."""

from dataclasses import replace

from idp.domain.client import SubjectType
from idp.services.subjects import Subjects
from tests.support.app import Installed
from tests.support.factories import make_client

PAIRWISE = make_client(subject_type=SubjectType.PAIRWISE)


def test_a_pairwise_subject_is_the_same_for_ever_and_fits_into_255_characters_oidc_core_s2(
    installed: Installed,
) -> None:
    first, second = Subjects(installed.data_keys), Subjects(installed.data_keys)
    assert first.of(PAIRWISE, "u_alice") == second.of(PAIRWISE, "u_alice")
    assert len(first.of(PAIRWISE, "u_" + "x" * 1000)) <= 255
    assert first.of(make_client(), "u_alice") == "u_alice"


def test_nobody_without_the_key_can_compute_a_pairwise_subject_oidc_core_s8_1(installed: Installed) -> None:
    another = replace(installed.data_keys, lookup=bytes(32))
    assert Subjects(another).of(PAIRWISE, "u_alice") != Subjects(installed.data_keys).of(PAIRWISE, "u_alice")


def test_a_session_is_called_as_each_sector_calls_it_oidc_core_s8_1(installed: Installed) -> None:
    subjects = Subjects(installed.data_keys)
    elsewhere = replace(PAIRWISE, redirect_uris=("https://else.example.org/a",))
    assert subjects.sid(make_client(), "s_1") == "s_1"
    assert (
        len({"s_1", subjects.sid(PAIRWISE, "s_1"), subjects.sid(elsewhere, "s_1"), subjects.sid(PAIRWISE, "s_2")}) == 4
    )
    assert subjects.sid(replace(PAIRWISE, client_id="neighbour"), "s_1") == subjects.sid(PAIRWISE, "s_1")
    # The one says nothing about the other.
    assert subjects.sid(PAIRWISE, "same") != subjects.of(PAIRWISE, "same")
