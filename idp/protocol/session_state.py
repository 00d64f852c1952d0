"""Session state (OpenID Connect Session Management 1.0 §3): what an application compares to notice a sign-out."""

from hashlib import sha256


def session_state(*, client_id: str, origin: str, browser_state: str, salt: str) -> str:
    """Return the `session_state` of an authorization response (§2, §3.2): a salted hash, and the salt after a dot.

    `origin` is that of the redirect URI, `browser_state` the value of the cookie that the OP iframe reads, "" where
    there is none. check_session.js computes the same in the browser.
    """
    digest = sha256(f"{client_id} {origin} {browser_state} {salt}".encode()).hexdigest()
    return f"{digest}.{salt}"
