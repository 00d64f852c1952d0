"""Who may make an account here by themselves."""

from enum import StrEnum


class SignUpPolicy(StrEnum):
    """IDP_REGISTRATION: anybody, people of certain mail domains, whoever was invited into a lab, or nobody."""

    OPEN = "open"
    DOMAINS = "domains"
    INVITE = "invite"
    CLOSED = "closed"


def may_sign_up(policy: SignUpPolicy, email: str, *, domains: tuple[str, ...], invited: bool) -> bool:
    """Whether somebody whose address this is, verified, may make an account.

    Whoever was invited into a lab may under every policy but `closed`: an admin has asked for them.
    """
    if policy is SignUpPolicy.CLOSED:
        return False
    _, _, domain = email.rpartition("@")
    return policy is SignUpPolicy.OPEN or invited or (policy is SignUpPolicy.DOMAINS and domain in domains)
