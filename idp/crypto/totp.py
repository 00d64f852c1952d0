"""Codes that change every half minute (RFC 6238), as the common apps make them: SHA-1, six digits, thirty seconds."""

import secrets
from datetime import datetime

from idp.crypto.opaque import same

STEP_SECONDS = 30
# One step of difference between the clocks either way (§5.2), which also allows for the time that typing takes.
_TOLERANCE = 1
_SECRET_BYTES = 20
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def mint_secret() -> str:
    """Return a shared secret: 160 random bits, as long as the hash (RFC 4226 §4), in Base32."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_BYTES * 8 // 5))


def matching_step(secret: str, code: str, *, after: int, now: datetime) -> int | None:
    """Return the time step whose code this is; None where it is wrong, or of a step that is not newer than `after`.

    Every step is looked at, so that time does not tell which one it was.
    """
    # Loaded with the first code.
    import pyotp

    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    present = int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in range(present - _TOLERANCE, present + _TOLERANCE + 1):
        if same(totp.generate_otp(step), code) and step > after:
            found = step
    return found


def provisioning_uri(secret: str, *, account: str, issuer: str) -> str:
    """Return what an app reads from the QR code: an `otpauth` URI that names the account and whose it is."""
    import pyotp

    # A colon parts issuer and account there, whoever chose the names.
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(
        name=account.replace(":", " "), issuer_name=issuer.replace(":", " ")
    )
