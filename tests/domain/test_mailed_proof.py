from dataclasses import replace
from datetime import timedelta

from idp.domain.mailed_proof import CODE_LIFETIME, MAX_ATTEMPTS, RESEND_AFTER, MailedProof, ProofPurpose
from tests.support.clock import START

PROOF = MailedProof(
    hash="h",
    purpose=ProofPurpose.SIGN_IN,
    address="a",
    browser="b",
    sealed=b"",
    created_at=START,
    sent_at=START,
    expires_at=START + CODE_LIFETIME,
)


def test_a_proof_can_be_given_until_it_expires_or_is_used() -> None:
    assert PROOF.valid(now=START + CODE_LIFETIME - timedelta(seconds=1))
    assert not PROOF.valid(now=START + CODE_LIFETIME)
    assert not replace(PROOF, used_at=START).valid(now=START)


def test_attempts_run_out_and_are_not_forgiven_by_another_code() -> None:
    proof = PROOF
    for left in range(MAX_ATTEMPTS - 1, -1, -1):
        proof = proof.tried()
        assert proof.attempts_left == left
    assert proof.tried().attempts_left == 0
    again = proof.sent_again("other", now=START + RESEND_AFTER)
    assert (again.attempts_left, again.sends, again.secret) == (0, 2, "other")
    assert again.expires_at == START + RESEND_AFTER + CODE_LIFETIME


def test_another_code_may_be_sent_after_a_minute() -> None:
    assert PROOF.resend_in(now=START) == RESEND_AFTER
    assert PROOF.resend_in(now=START + RESEND_AFTER) == timedelta()
    assert PROOF.resend_in(now=START + 2 * RESEND_AFTER) == timedelta()
