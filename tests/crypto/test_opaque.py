import base64
import re

import pytest

from idp.crypto import opaque


def test_token_holds_256_random_bits_in_base64url_rfc6749_s10_10():
    token = opaque.mint_token()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert len(base64.urlsafe_b64decode(token + "=")) == 32


def test_tokens_ids_and_references_do_not_repeat():
    for mint in (opaque.mint_token, lambda: opaque.mint_id("u"), opaque.mint_reference):
        assert len({mint() for _ in range(200)}) == 200


def test_id_is_the_prefix_and_twenty_four_hexadecimal_digits():
    assert re.fullmatch(r"grant_[0-9a-f]{24}", opaque.mint_id("grant"))


def test_reference_can_be_read_aloud():
    for _ in range(100):
        assert re.fullmatch(r"[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}", opaque.mint_reference())


def test_a_reference_is_read_however_it_was_typed():
    reference = opaque.mint_reference()
    for typed in (reference, reference.lower(), reference.replace("-", ""), f" {reference.replace('-', ' ')} "):
        assert opaque.read_reference(typed) == reference


@pytest.mark.parametrize("text", ["", "K7Q2", "K7Q2-M9X0", "K7Q2-M9XDD", "K7Q2_M9XD", "K7Q2-M9X\0", "\u212a7Q2-M9XD"])
def test_what_was_never_minted_is_no_reference(text):
    assert opaque.read_reference(text) is None


def test_token_hash_is_sha256_of_utf8_fips180_4():
    assert opaque.hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert opaque.hash_token("ä") != opaque.hash_token("a")


def test_mac_is_hmac_sha256_rfc4231_s4_3():
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert opaque.mac(b"Jefe", "what do ya want for nothing?") == expected


def test_successor_is_the_same_every_time_and_looks_like_a_minted_token():
    # The same vector as above, in base64url.
    successor = opaque.derive_successor(b"Jefe", "what do ya want for nothing?")
    assert successor == "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM"
    assert len(successor) == len(opaque.mint_token())


def test_successor_depends_on_key_and_token():
    successors = {opaque.derive_successor(key, token) for key in (b"a", b"b") for token in ("c", "d")}
    assert len(successors) == 4


@pytest.mark.parametrize("secret", ["", "secret", "pässword", "\ud800", "a\0b"])
def test_equal_secrets_are_the_same(secret):
    assert opaque.same(secret, "".join(secret))


@pytest.mark.parametrize("other", ["", "secre", "secret ", "Secret", "sécret", "\udfff", "secret\0"])
def test_different_secrets_are_not_the_same(other):
    assert not opaque.same("secret", other)


def test_lone_surrogates_are_hashed_without_a_crash_and_apart():
    assert opaque.hash_token("\ud800") != opaque.hash_token("\ud801")
    assert opaque.mac(b"k", "\ud800") != opaque.mac(b"k", "\ud801")
