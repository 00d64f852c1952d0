"""Who may make an account here by themselves."""

import pytest

from idp.domain.sign_up import SignUpPolicy, may_sign_up

DOMAINS = ("lab.example", "uni.example")


@pytest.mark.parametrize(
    ("policy", "email", "invited", "may"),
    [
        (SignUpPolicy.OPEN, "nora@anywhere.example", False, True),
        (SignUpPolicy.OPEN, "nora@anywhere.example", True, True),
        (SignUpPolicy.DOMAINS, "nora@lab.example", False, True),
        (SignUpPolicy.DOMAINS, "nora@uni.example", False, True),
        (SignUpPolicy.DOMAINS, "nora@anywhere.example", False, False),
        (SignUpPolicy.DOMAINS, "nora@anywhere.example", True, True),
        (SignUpPolicy.INVITE, "nora@lab.example", False, False),
        (SignUpPolicy.INVITE, "nora@anywhere.example", True, True),
        (SignUpPolicy.CLOSED, "nora@lab.example", False, False),
        (SignUpPolicy.CLOSED, "nora@lab.example", True, False),
    ],
)
def test_each_policy_lets_in_whom_it_names(policy: SignUpPolicy, email: str, invited: bool, may: bool) -> None:
    assert may_sign_up(policy, email, domains=DOMAINS, invited=invited) is may


@pytest.mark.parametrize(
    "email",
    [
        "nora@evil.lab.example",  # a domain below it is another one
        "nora@evillab.example",
        "nora@lab.example.evil.example",
        "nora@lab.example@evil.example",  # the last @ begins the domain
        '"nora@lab.example"@evil.example',
        "nora",
        "",
    ],
)
def test_only_the_very_domain_counts(email: str) -> None:
    assert not may_sign_up(SignUpPolicy.DOMAINS, email, domains=DOMAINS, invited=False)


def test_no_domain_is_nobodys() -> None:
    assert not may_sign_up(SignUpPolicy.DOMAINS, "nora", domains=(), invited=False)
