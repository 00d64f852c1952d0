"""Refreshing (RFC 6749 §6, RFC 9700 §4.14.2): rotation that forgives a lost answer and punishes a theft.

The successor follows from the presented token by a keyed hash, so a retry within the grace gets the same one and five
tabs never log anybody out.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from idp.domain.client import Client
from idp.domain.grant import Grant, RefreshToken
from idp.domain.user import User
from idp.protocol.errors import InvalidGrant


class RefreshTokenReplayed(InvalidGrant):
    """A token came back after its successor was used, or after the grace: its grant is to be revoked."""


class Rotation(StrEnum):
    """What a presented refresh token leads to."""

    ROTATE = "rotate"
    REPEAT = "repeat"


def refresh(
    token: RefreshToken,
    grant: Grant,
    user: User,
    client: Client,
    *,
    successor: RefreshToken | None,
    grace: timedelta,
    now: datetime,
) -> Rotation:
    """Decide one refresh; `successor` is the token that this one was exchanged for, if it was.

    Returns ROTATE when a successor is to be made, REPEAT when the same one is to be given again.

    Raises:
        RefreshTokenReplayed: it was used before and the grace is over, or its successor was used.
        InvalidGrant: it is another client's, expired or revoked.
    """
    if grant.client_id != client.client_id:
        raise InvalidGrant(detail="the refresh token belongs to another client")
    if not grant.valid(now=now):
        raise InvalidGrant(detail="the grant was revoked or has expired")
    if not user.active:
        raise InvalidGrant(detail="the account is disabled")
    if token.used_at is not None:
        if now - token.used_at > grace:
            raise RefreshTokenReplayed(detail="the refresh token was used before and the grace is over")
        if successor is None or successor.used_at is not None:
            raise RefreshTokenReplayed(detail="the refresh token was used before, and so was its successor")
        return Rotation.REPEAT
    if now >= token.expires_at:
        raise InvalidGrant(detail="the refresh token has expired")
    return Rotation.ROTATE
