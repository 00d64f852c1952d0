"""Which passwords people may choose, and what they are told."""

import hashlib

import pytest

from idp.crypto.password_strength import Strength, judge
from idp.outbound.client import Fetched, OutboundError
from idp.services.accounts import AccountRefused
from idp.services.breached_passwords import BreachedPasswords
from idp.services.login import MAX_PASSWORD_CHARS
from idp.services.password_policy import BREACHED, GUESSABLE, KNOWN_BAD, PERSONAL, PasswordPolicy, personal_words
from tests.support.factories import make_user

GOOD = "maple-window-thirteen-otter"
URL = "https://leaks.example.org/range/"


class Leaks:
    """Answers as a service of leaked passwords does, padding included, and notes what it is asked."""

    def __init__(self, *passwords: str, status: int = 200, fails: bool = False) -> None:
        self.suffixes = [hashlib.sha1(password.encode()).hexdigest().upper()[5:] for password in passwords]
        self.status = status
        self.fails = fails
        self.asked: list[tuple[str, dict[str, str], float]] = []

    async def send(self, method: str, url: str, headers: dict[str, str], content: None, *, timeout: object) -> Fetched:
        self.asked.append((f"{method} {url}", headers, timeout.total_seconds()))
        if self.fails:
            raise OutboundError("no answer")
        lines = [*(f"{suffix}:3" for suffix in self.suffixes), f"{'0' * 35}:0", "cut off"]
        return Fetched(self.status, "text/plain", "\r\n".join(lines).encode(), None)


@pytest.fixture
def policy() -> PasswordPolicy:
    return PasswordPolicy(min_length=8, service_name="Lab ID")


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("short", "it must have at least 8 characters"),
        ("1234567", "it must have at least 8 characters"),
        ("x" * (MAX_PASSWORD_CHARS + 1), f"it must have at most {MAX_PASSWORD_CHARS} characters"),
        ("maple\x00window", "it holds NUL"),
        ("password1", KNOWN_BAD),
        ("PassWord1", KNOWN_BAD),
        ("qwertyuiop", KNOWN_BAD),
        ("alice@example.org", PERSONAL),
        ("Alice.Liddell", PERSONAL),
        ("liddell1865!", PERSONAL),
        ("labidlabid", PERSONAL),
        ("aaaaaaaaaaaa", GUESSABLE),
        ("zxcvbnm,./", GUESSABLE),
        (GOOD, None),
        ("пароль из четырёх слов", None),
        ("x" * 8 + GOOD * 20, None),
    ],
)
async def test_a_password_is_refused_with_what_is_wrong_and_what_helps(
    policy: PasswordPolicy, password: str, fault: str | None
) -> None:
    alice = make_user(username="alice", name="Alice Liddell")
    assert await policy.fault(password, personal=personal_words(alice)) == fault


async def test_a_refusal_never_repeats_the_password(policy: PasswordPolicy) -> None:
    with pytest.raises(AccountRefused) as refused:
        await policy.check("qwertyuiop", personal=())
    assert set(refused.value.errors) == {"password"}
    assert "qwertyuiop" not in str(refused.value)
    assert await policy.check(GOOD, personal=(None,)) is Strength.STRONG


def test_what_is_longer_than_zxcvbn_takes_is_judged_by_its_beginning() -> None:
    assert judge(GOOD * 30).strength is Strength.STRONG
    assert judge("a" * 1000).strength <= Strength.WEAK


# ── Leaks ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_leaked_password_is_refused_and_five_characters_of_its_hash_leave_the_server() -> None:
    leaks = Leaks(GOOD)
    policy = PasswordPolicy(min_length=8, service_name="Lab ID", breached=BreachedPasswords(leaks, URL))
    assert await policy.fault(GOOD, personal=()) == BREACHED
    assert await policy.fault("another-" + GOOD, personal=()) is None
    prefix = hashlib.sha1(GOOD.encode()).hexdigest().upper()[:5]
    request, headers, seconds = leaks.asked[0]
    assert request == f"GET {URL}{prefix}"
    assert headers["Add-Padding"] == "true"
    assert seconds == 2


async def test_padding_counts_for_nothing() -> None:
    leaks = Leaks()
    body = f"{hashlib.sha1(GOOD.encode()).hexdigest().upper()[5:]}:0"

    async def padded(*_: object, **__: object) -> Fetched:
        return Fetched(200, "text/plain", body.encode(), None)

    leaks.send = padded
    assert not await BreachedPasswords(leaks, URL).has(GOOD)


@pytest.mark.parametrize("leaks", [Leaks(GOOD, status=503), Leaks(GOOD, fails=True)])
async def test_a_service_that_does_not_answer_stops_nobody(leaks: Leaks, caplog: pytest.LogCaptureFixture) -> None:
    policy = PasswordPolicy(min_length=8, service_name="Lab ID", breached=BreachedPasswords(leaks, URL))
    assert await policy.fault(GOOD, personal=()) is None
    assert "breached_passwords.failed" in caplog.text


async def test_what_the_policy_refuses_anyhow_is_asked_of_nobody() -> None:
    leaks = Leaks()
    policy = PasswordPolicy(min_length=8, service_name="Lab ID", breached=BreachedPasswords(leaks, URL))
    assert await policy.fault("password1", personal=()) == KNOWN_BAD
    assert not leaks.asked
