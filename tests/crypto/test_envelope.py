import pytest

from idp.crypto.envelope import CannotUnseal, fingerprint, seal, unseal

KEY = bytes(range(32))


@pytest.mark.parametrize("plaintext", [b"", b"x", b"\x00" * 5000])
def test_what_was_sealed_is_unsealed(plaintext):
    assert unseal(KEY, seal(KEY, plaintext, associated="key_1"), associated="key_1") == plaintext


def test_unseals_the_published_vector_gcm_specification_test_case_15():
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308") * 2
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    ciphertext = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
    )
    tag = bytes.fromhex("b094dac5d93471bdec1a502270e3cc6c")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    )
    assert unseal(key, nonce + ciphertext + tag, associated="") == plaintext


def test_sealing_twice_never_uses_the_same_nonce_sp800_38d_s8_2():
    assert len({seal(KEY, b"same", associated="")[:12] for _ in range(100)}) == 100


def test_what_was_sealed_for_one_row_does_not_open_in_another():
    with pytest.raises(CannotUnseal):
        unseal(KEY, seal(KEY, b"secret", associated="key_1"), associated="key_2")


def test_another_key_does_not_open():
    with pytest.raises(CannotUnseal):
        unseal(bytes(32), seal(KEY, b"secret", associated="a"), associated="a")


def test_every_altered_byte_is_noticed():
    sealed = seal(KEY, b"secret", associated="a")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(CannotUnseal):
            unseal(KEY, bytes(altered), associated="a")


@pytest.mark.parametrize("length", [0, 5, 12, 27])
def test_what_is_too_short_is_refused(length):
    with pytest.raises(CannotUnseal):
        unseal(KEY, bytes(length), associated="a")


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_keys_of_other_ciphers_are_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        seal(bytes(length), b"secret", associated="a")
    with pytest.raises(ValueError, match="32 bytes"):
        unseal(bytes(length), bytes(40), associated="a")


def test_refusals_do_not_show_the_key():
    with pytest.raises(CannotUnseal) as refusal:
        unseal(b"K" * 32, bytes(40), associated="a")
    assert "KKK" not in str(refusal.value)


def test_fingerprint_never_changes_since_databases_keep_it():
    assert fingerprint(KEY) == "c1922bf0441f0c7d"
    assert fingerprint(bytes(32)) != fingerprint(KEY)
