import asyncio
import threading

import argon2
import pytest
from argon2 import low_level
from hypothesis import given, settings
from hypothesis import strategies as st

from idp.crypto.password import HashingBusy, PasswordCheck, PasswordHasher, is_supported_hash

PASSWORD = "pässword – Labor 7"
NO_MATCH = PasswordCheck(matches=False, rehash=False)
MATCH = PasswordCheck(matches=True, rehash=False)
MATCH_TO_REHASH = PasswordCheck(matches=True, rehash=True)

# Made once with Werkzeug 3.1, Django 5.2, bcrypt 5.0 and argon2-cffi 25.1, with parameters that are quick to check.
IMPORTED = {
    "Werkzeug scrypt": (
        "scrypt:1024:8:1$cEYjPRxWioHoCU3q$e7bd0e580ca20ae43f69db27179b463a717bf8ec8ada4f4716fc12f5c44bc1c"
        "b0faf7d1504eb34e71cba88e443678e02a774b3decc9fa6ec3b149bc635d483df"
    ),
    "Werkzeug pbkdf2 sha256": (
        "pbkdf2:sha256:1000$zSJZLKqel0QVgHY1$9801e110c897948f5d944662761dd8ffd22bffd0c39b5202a8da30e5667a7706"
    ),
    "Werkzeug pbkdf2 sha1": "pbkdf2:sha1:1000$bJA9ibcB2xZdyVjN$5e9439d5dce9771570ab5bdc368ad3e432d436e5",
    "Werkzeug pbkdf2 sha512": (
        "pbkdf2:sha512:1000$M4ABvEHr5M4Qp5l5$c9434fabf8d3d4ca398844ce5d9489a7b9b8863e35c93c0429f0517cdc23"
        "664c535e3fb4749fd19aae69b33c9ebee88e749364a7edaa436be699816cdc9fe859"
    ),
    "Django pbkdf2_sha256": "pbkdf2_sha256$1000$saltSALTsaltSALTsalt12$kkWU0I0ch3li21z8tXJfC4IKWTTt1ofTOLcY9u32Z8s=",
    "Django pbkdf2_sha1": "pbkdf2_sha1$1000$saltSALTsaltSALTsalt12$zEx9X7r6CDl7ucJ6tVUdivSGszw=",
    "Django bcrypt_sha256": "bcrypt_sha256$$2b$04$rDxDtT5EmH3i1Puwwux/Ge7yIMxoOsje79iKSSbb.Y.XRbZ4ras3K",
    "Django argon2": (
        "argon2$argon2id$v=19$m=64,t=2,p=2$c2FsdFNBTFRzYWx0U0FMVHNhbHQxMg$CbW4JTH5asH0yD0trAVbD+ceCPl1ZBPGsuPgv/fWXDI"
    ),
    "Django scrypt": (
        "scrypt$1024$saltSALTsaltSALTsalt12$8$5$Es3Jvo9LracjTHHNLUPC+r3xzLmUdkySPulsv2rBfTZETNLCardFD87OK"
        "9mx/k3+Ry/HiCDGZNIOTK3GY/UhQQ=="
    ),
    "bcrypt 2a": "$2a$04$S3uhToooHkboOtnMim7n8.fPJXwYUnTaelurhMy63vwxWXlxGG4qq",
    "bcrypt 2b": "$2b$04$jNv0cd3F5yzxLMtfHjLoUOO8N6aSWx7aJJhgnlrqYyRdSfj1rXXxe",
    "bcrypt 2y": "$2y$04$BDbFJWEI6oQUMEosO53SeeWGN3aF1pb7nd9PvqH3CQZplaC.TZ6Oy",
    "argon2id of others": (
        "$argon2id$v=19$m=64,t=1,p=1$SkoNIfvlyxVEhH68ApEhFQ$tfidlj8pWODt6KkMGmihWGRorGRJvol9Wq5KrWN5+m4"
    ),
}
# What the same libraries wrote with the parameters that they come with.
DEFAULTS = [
    "scrypt:32768:8:1$8XnWYuOWGECsExNq$d890ad75125a286d621a1cce911284871b5460d3e8d9e417062877a355735f76c965e7b81781500e0f88"
    "335fd75ad588af3bb9fb6577ca2d4c85ded3f2c60ce9",
    "pbkdf2:sha256:1000000$0ZT80LyNTtkiImwj$f03582235f6f5c56668382904b77dd697737730908ab792efa6af7c41939752d",
    "pbkdf2_sha256$1000000$bl5xZ63IbvxFKbtUDuTKad$uB2662FmFMrmEHBOJQZqho9BPnhDS/sVie3Ypk7dB5c=",
    "pbkdf2_sha1$1000000$goq8RWU3X0T5UM0FqbcJvy$bDHnP8oUMXqJaLKYyQNmgyXKYEo=",
    "bcrypt_sha256$$2b$12$3wDVvtp34GeJlSPzpZjmNOxXgJwZev9gJKEVtOHHVTsDEFkSUhrjy",
    "argon2$argon2id$v=19$m=102400,t=2,p=8$TUxvRDhJajczM0V2NjU4dzZrWWdmeA$Q1cwYv8OcoDbhctw676XhYmLy59jPYvnoas6uvTncQM",
    "scrypt$16384$hGk9DxLJNY773ZXrln5feE$8$5$qEj+483MWWELnRYL+4uTkQ/y9tGeeaDERAT31ymwLUvMrOSHN4caTkA1ZvRU8YN1PJw/x7Wys/57tDK"
    "zMeWO0w==",
    "$argon2id$v=19$m=65536,t=3,p=4$gT59rQLgIsCNM9CFkGNhNw$rDlnMxiM+pgTYG6LKhWfQLQlH1BeGAiWbIXKpBS38K4",
    "$2b$12$sEvHvIEzZP7LEe49fuY/WuDIRqu9oFaS9vnNYp3y9v22HtaGmlIE2",
]
TAG_32 = "0" * 64
TAG_64 = "0" * 128
SALT_B64 = "c2FsdFNBTFRzYWx0U0FMVA"
TAG_B64 = "A" * 43
REFUSED = {
    "empty": "",
    "unusable in Django": "!f3NOqVLBh5vkM4gVYxTYC3mgYnSMoRYAz4iqGyyt",
    "plain text": "password",
    "plain text, Werkzeug": "plain$$password",
    "md5": "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
    "unsalted sha256": TAG_32,
    "argon2i": f"$argon2i$v=19$m=64,t=1,p=1${SALT_B64}${TAG_B64}",
    "argon2id of 2015": f"$argon2id$v=16$m=64,t=1,p=1${SALT_B64}${TAG_B64}",
    "argon2id without a version": f"$argon2id$m=64,t=1,p=1${SALT_B64}${TAG_B64}",
    "argon2id with 4 GiB": f"$argon2id$v=19$m=4194304,t=1,p=1${SALT_B64}${TAG_B64}",
    "argon2id with a billion passes": f"$argon2id$v=19$m=64,t=1000000000,p=1${SALT_B64}${TAG_B64}",
    "argon2id with a thousand lanes": f"$argon2id$v=19$m=65536,t=1,p=1000${SALT_B64}${TAG_B64}",
    "argon2id with less memory than lanes need": f"$argon2id$v=19$m=15,t=1,p=2${SALT_B64}${TAG_B64}",
    "argon2id with a tag of 4 bytes": f"$argon2id$v=19$m=64,t=1,p=1${SALT_B64}$AAAAAA",
    "argon2id with a salt of 4 bytes": f"$argon2id$v=19$m=64,t=1,p=1$AAAAAA${TAG_B64}",
    "argon2id with stray bits in the salt": f"$argon2id$v=19$m=64,t=1,p=1${SALT_B64[:-1]}B${TAG_B64}",
    "argon2id with stray bits in the tag": f"$argon2id$v=19$m=64,t=1,p=1${SALT_B64}${TAG_B64[:-1]}B",
    "argon2id with impossible base64": f"$argon2id$v=19$m=64,t=1,p=1${SALT_B64}${'A' * 45}",
    "argon2id with a line after it": f"$argon2id$v=19$m=64,t=1,p=1${SALT_B64}${TAG_B64}\n",
    "bcrypt 2x": "$2x$04$jNv0cd3F5yzxLMtfHjLoUOO8N6aSWx7aJJhgnlrqYyRdSfj1rXXxe",
    "bcrypt at cost 31": "$2b$31$jNv0cd3F5yzxLMtfHjLoUOO8N6aSWx7aJJhgnlrqYyRdSfj1rXXxe",
    "bcrypt at cost 3": "$2b$03$jNv0cd3F5yzxLMtfHjLoUOO8N6aSWx7aJJhgnlrqYyRdSfj1rXXxe",
    "bcrypt cut short": "$2b$04$jNv0cd3F5yzxLMtfHjLoUOO8N6aSWx7aJJhgnlrqYyRdSfj1rXXx",
    "bcrypt with stray bits in the salt": "$2b$04$jNv0cd3F5yzxLMtfHjLoUzO8N6aSWx7aJJhgnlrqYyRdSfj1rXXxe",
    "pbkdf2 with a billion iterations": f"pbkdf2:sha256:1000000000$salt${TAG_32}",
    "pbkdf2 with more iterations than numbers have digits for": f"pbkdf2:sha256:{'9' * 300}$salt${TAG_32}",
    "pbkdf2 with no iterations": f"pbkdf2:sha256:0$salt${TAG_32}",
    "pbkdf2 with another script's digits": f"pbkdf2:sha256:٣$salt${TAG_32}",
    "pbkdf2 with md5": f"pbkdf2:md5:1000$salt${TAG_32[:32]}",
    "pbkdf2 with a tag of one byte": "pbkdf2:sha256:1000$salt$00",
    "pbkdf2 with half a byte": "pbkdf2:sha256:1000$salt$000",
    "pbkdf2 of Django with a short tag": "pbkdf2_sha256$1000$salt$AAAA",
    "pbkdf2 of Django with broken base64": f"pbkdf2_sha256$1000$salt$={'A' * 43}",
    "pbkdf2 with a salt of 400 characters": f"pbkdf2:sha256:1000${'s' * 400}${TAG_32}",
    "scrypt with 4 GiB": f"scrypt:4194304:8:1$salt${TAG_64}",
    "scrypt with 512 MiB": f"scrypt:524288:8:1$salt${TAG_64}",
    "scrypt with large blocks": f"scrypt:2:4194304:1$salt${TAG_64}",
    "scrypt with a thousand lanes": f"scrypt:32768:8:1000$salt${TAG_64}",
    "scrypt with N that is no power of two": f"scrypt:1000:8:1$salt${TAG_64}",
    "scrypt with N of one": f"scrypt:1:8:1$salt${TAG_64}",
    "scrypt with N too large for r": f"scrypt:65536:1:1$salt${TAG_64}",
    "scrypt with a short tag": f"scrypt:1024:8:1$salt${TAG_32}",
    "scrypt of Django with 4 GiB": f"scrypt$4194304$salt$8$1${'A' * 86}==",
    "beyond every length": "pbkdf2:sha256:1000$salt$" + "0" * 10_000,
}


def build(**changes):
    return PasswordHasher(**{"memory_kib": 64, "time_cost": 1} | changes)


@pytest.fixture
def hasher():
    hasher = build()
    yield hasher
    hasher.close()


async def test_hash_is_argon2id_with_the_parameters_that_were_set_rfc9106_s3_1():
    hasher = build(memory_kib=128, time_cost=3, parallelism=2)
    encoded = await hasher.hash(PASSWORD)
    hasher.close()
    assert encoded.startswith("$argon2id$v=19$m=128,t=3,p=2$")


async def test_default_parameters_are_the_recommended_19_mib_and_two_passes():
    hasher = PasswordHasher()
    encoded = await hasher.hash(PASSWORD)
    hasher.close()
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert is_supported_hash(encoded)


async def test_the_password_matches_its_hash_and_no_other_does(hasher):
    encoded = await hasher.hash(PASSWORD)
    assert await hasher.verify(encoded, PASSWORD) == MATCH
    assert await hasher.verify(encoded, PASSWORD + " ") == NO_MATCH
    assert await hasher.verify(encoded, "") == NO_MATCH


async def test_the_same_password_has_another_hash_each_time(hasher):
    assert await hasher.hash(PASSWORD) != await hasher.hash(PASSWORD)


@pytest.mark.parametrize("password", ["", "\0", "a\0b", "\ud800", "x" * 1024, "🔑" * 300])
async def test_odd_passwords_are_passwords_too(hasher, password):
    encoded = await hasher.hash(password)
    assert await hasher.verify(encoded, password) == MATCH
    assert await hasher.verify(encoded, password + "x") == NO_MATCH


async def test_characters_after_nul_count(hasher):
    assert await hasher.verify(await hasher.hash("a\0b"), "a\0c") == NO_MATCH


async def test_composed_and_decomposed_letters_are_one_password_rfc8265_s4_2_2(hasher):
    composed, decomposed = "Z\u00fcrich", "Zu\u0308rich"
    assert await hasher.verify(await hasher.hash(composed), decomposed) == MATCH
    assert await hasher.verify(await hasher.hash(decomposed), composed) == MATCH


async def test_compatibility_letters_stay_apart(hasher):
    assert await hasher.verify(await hasher.hash("\ufb01sh and more"), "fish and more") == NO_MATCH


async def test_imported_argon2id_hash_of_decomposed_letters_still_matches_and_is_replaced(hasher):
    encoded = "$argon2id$v=19$m=64,t=1,p=1$/KGODQHvl9/zRmiUftQd5g$nmaPSibwPq9HBR0JKky4D1hNISPHDrCqUt4IlrtRTP0"
    assert await hasher.verify(encoded, "Zu\u0308rich 1234") == MATCH_TO_REHASH
    assert await hasher.verify(encoded, "Zu\u0308rich 1235") == NO_MATCH


@pytest.mark.parametrize("changed", [{"memory_kib": 128}, {"time_cost": 2}, {"parallelism": 2}])
async def test_hash_with_outdated_parameters_matches_and_is_replaced(hasher, changed):
    renewed = build(**changed)
    encoded = await hasher.hash(PASSWORD)
    assert await renewed.verify(encoded, PASSWORD) == MATCH_TO_REHASH
    assert await renewed.verify(encoded, "wrong") == NO_MATCH
    renewed.close()


@pytest.mark.parametrize("scheme", IMPORTED)
async def test_imported_hash_matches_its_password(hasher, scheme):
    encoded = IMPORTED[scheme]
    assert is_supported_hash(encoded)
    check = await hasher.verify(encoded, PASSWORD)
    assert check == (MATCH if scheme == "argon2id of others" else MATCH_TO_REHASH)


@pytest.mark.parametrize("encoded", IMPORTED.values(), ids=IMPORTED)
async def test_imported_hash_matches_nothing_else(hasher, encoded):
    for other in ("", PASSWORD[:-1], PASSWORD.upper(), "\ud800", "x" * 1024):
        assert await hasher.verify(encoded, other) == NO_MATCH


@pytest.mark.parametrize("encoded", DEFAULTS)
def test_libraries_default_parameters_are_within_the_bounds(encoded):
    assert is_supported_hash(encoded)


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED)
async def test_unknown_weak_and_hostile_hashes_are_refused_and_match_nothing(hasher, encoded):
    assert not is_supported_hash(encoded)
    assert await hasher.verify(encoded, "password") == NO_MATCH


async def test_bcrypt_looks_at_72_bytes_as_it_always_did(hasher):
    encoded = "$2b$04$K1JGCtBSTa1JLk3tn5R9tuDCXDB8DilEcXVVCUug8NFYD60P2TTMW"
    assert await hasher.verify(encoded, "x" * 72) == MATCH_TO_REHASH
    assert await hasher.verify(encoded, "x" * 200) == MATCH_TO_REHASH
    assert await hasher.verify(encoded, "x" * 71) == NO_MATCH


@settings(max_examples=40, deadline=None, database=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.from_regex(r"\$2[aby]\$04\$[./A-Za-z0-9]{53}", fullmatch=True),
        st.from_regex(r"\$argon2id\$v=19\$m=[1-9]{1,3},t=[1-3],p=[1-9]\$[A-Z+/]{8,30}\$[A-Z+/]{15,50}", fullmatch=True),
        st.from_regex(r"scrypt:(1|2|4|16|64|60):[1-4]:[1-4]\$[a-z]{1,9}\$[0-9a-f]{128}", fullmatch=True),
    ),
    st.text(max_size=40),
)
def test_whatever_is_accepted_for_import_can_be_verified_without_an_error(encoded, password):
    async def verify() -> PasswordCheck:
        hasher = build(threads=1)
        try:
            return await hasher.verify(encoded, password)
        finally:
            hasher.close()

    assert asyncio.run(verify()) == NO_MATCH


def test_parameters_that_no_later_verification_would_accept_are_refused():
    with pytest.raises(ValueError, match="beyond"):
        build(memory_kib=1024 * 1024)


@pytest.mark.parametrize("encoded", [None, "!", REFUSED["pbkdf2 with a billion iterations"]])
async def test_an_unknown_user_costs_what_a_wrong_password_costs(hasher, monkeypatch, encoded):
    runs = []

    def verify_secret(encoded: bytes, password: bytes, kind: argon2.Type) -> bool:
        runs.append((argon2.extract_parameters(encoded.decode()), len(password)))
        return real(encoded, password, kind)

    real = low_level.verify_secret
    monkeypatch.setattr(low_level, "verify_secret", verify_secret)
    assert await hasher.verify(await hasher.hash("something else"), PASSWORD) == NO_MATCH
    assert await hasher.verify(encoded, PASSWORD) == NO_MATCH
    known, unknown = runs
    assert known == unknown


class Gate:
    """Holds every hash back until it is opened, and tells when the first one has begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        self.passwords: list[bytes] = []
        monkeypatch.setattr(argon2.PasswordHasher, "hash", self.hash)

    def hash(self, password: bytes) -> str:
        self.passwords.append(password)
        self.begun.set()
        assert self.open.wait(30)
        return "hashed"


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


async def begin(hasher: PasswordHasher, gate: Gate, password: str) -> "asyncio.Task[str]":
    task = asyncio.create_task(hasher.hash(password))
    # The loop is free while a thread hashes, or this would never return.
    await asyncio.to_thread(gate.begun.wait, 30)
    return task


async def test_past_the_queue_limit_callers_are_told_to_come_back(gate):
    hasher = build(threads=1, queue_limit=1)
    running = await begin(hasher, gate, "runs")
    waiting = asyncio.create_task(hasher.hash("waits"))
    await asyncio.sleep(0)
    with pytest.raises(HashingBusy) as refusal:
        await hasher.hash("refused")
    with pytest.raises(HashingBusy):
        await hasher.verify(None, "refused")
    assert refusal.value.retry_after_seconds >= 1
    gate.open.set()
    assert await asyncio.gather(running, waiting) == ["hashed", "hashed"]
    assert await hasher.hash("later") == "hashed"
    hasher.close()
    assert gate.passwords == [b"runs", b"waits", b"later"]


async def test_whoever_stops_waiting_frees_the_place_in_the_queue(gate):
    hasher = build(threads=1, queue_limit=1)
    running = await begin(hasher, gate, "runs")
    waiting = asyncio.create_task(hasher.hash("gives up"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    next_one = asyncio.create_task(hasher.hash("takes the place"))
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(running, next_one) == ["hashed", "hashed"]
    hasher.close()
    assert gate.passwords == [b"runs", b"takes the place"]


async def test_a_running_hash_keeps_its_place_when_its_caller_gives_up(gate):
    hasher = build(threads=1, queue_limit=0)
    running = await begin(hasher, gate, "runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(HashingBusy):
        await hasher.hash("refused")
    gate.open.set()
    hasher.close()
    assert gate.passwords == [b"runs"]


async def test_no_more_than_the_set_number_of_threads_hash_at_once(gate):
    hasher = build(threads=2, queue_limit=10)
    tasks = [await begin(hasher, gate, "0"), *(asyncio.create_task(hasher.hash(str(n))) for n in range(1, 6))]
    await asyncio.sleep(0)
    assert sum(thread.name.startswith("password") for thread in threading.enumerate()) <= 2
    gate.open.set()
    assert await asyncio.gather(*tasks) == ["hashed"] * 6
    hasher.close()


async def test_a_hash_that_fails_frees_its_place(monkeypatch):
    def fail(self: argon2.PasswordHasher, password: bytes) -> str:
        raise MemoryError

    hasher = build(threads=1, queue_limit=0)
    with monkeypatch.context() as patch:
        patch.setattr(argon2.PasswordHasher, "hash", fail)
        with pytest.raises(MemoryError):
            await hasher.hash(PASSWORD)
    assert (await hasher.hash(PASSWORD)).startswith("$argon2id$")
    hasher.close()


async def test_close_ends_the_threads_and_drops_what_waits(gate):
    hasher = build(threads=1, queue_limit=1)
    running = await begin(hasher, gate, "runs")
    waiting = asyncio.create_task(hasher.hash("waits"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(hasher.close))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await closing
    assert await running == "hashed"
    assert not any(thread.name.startswith("password") for thread in threading.enumerate())
    assert gate.passwords == [b"runs"]
