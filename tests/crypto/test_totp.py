"""Codes that change every half minute."""

from base64 import b32decode, b32encode
from datetime import UTC, datetime

import pytest

from idp.crypto.opaque import mint_recovery_code
from idp.crypto.totp import STEP_SECONDS, matching_step, mint_secret

SECRET = b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_the_vectors_of_the_specification_rfc6238_appendix_b(seconds: int, code: str):
    now = datetime.fromtimestamp(seconds, UTC)
    assert matching_step(SECRET, code, after=0, now=now) == seconds // STEP_SECONDS


@pytest.mark.parametrize(("seconds", "matches"), [(-61, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_of_difference_is_allowed_either_way_rfc6238_s5_2(seconds: int, matches: bool):
    now = datetime.fromtimestamp(1111111109 - 29 + seconds, UTC)
    assert (matching_step(SECRET, "081804", after=0, now=now) is not None) is matches


def test_a_step_that_was_used_matches_no_more_rfc6238_s5_2():
    now = datetime.fromtimestamp(59, UTC)
    assert matching_step(SECRET, "287082", after=0, now=now) == 1
    assert matching_step(SECRET, "287082", after=1, now=now) is None


@pytest.mark.parametrize("code", ["", "28708", "2870822", "abcdef", "\ud800", "２８７０８２"])
def test_anything_else_is_wrong(code: str):
    assert matching_step(SECRET, code, after=0, now=datetime.fromtimestamp(59, UTC)) is None


def test_a_secret_has_160_bits_and_is_no_other_rfc4226_s4():
    secrets = {mint_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(b32decode(secret)) == 20 for secret in secrets)


def test_a_recovery_code_can_be_read_aloud():
    codes = {mint_recovery_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 11 and not set(code) & set("01ILOU") for code in codes)
