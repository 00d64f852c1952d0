"""What somebody tells of themselves: the standard claims (OpenID Connect Core §5.1) that are theirs to change."""

from collections.abc import Mapping
from dataclasses import replace

from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.user import User
from idp.services.accounts import AddressInput, UserInput, save_user
from idp.services.audit import audit_event
from idp.store.store import Store

# Not the address of mail and the user name, by which one signs in, nor a picture by an address of somebody's.
OWN_CLAIMS = (
    "name",
    "given_name",
    "middle_name",
    "family_name",
    "nickname",
    "preferred_username",
    "gender",
    "birthdate",
    "phone_number",
    "profile",
    "website",
    "zoneinfo",
    "locale",
)
ADDRESS_FIELDS = tuple(AddressInput.model_fields)


class OwnProfile:
    """Changes the profile of whoever is signed in."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def save(self, user_id: str, told: Mapping[str, str], address: Mapping[str, str]) -> User:
        """Save the claims as they are told now, and return the user; what is empty is taken away.

        Raises:
            AccountRefused: something is wrong with some of them; nothing was saved.
        """
        given = {name: text for name in OWN_CLAIMS if (text := told.get(name, "").strip())}
        lines = {name: text for name in ADDRESS_FIELDS if (text := _lines(address.get(name, "")))}
        # Some address or user name is needed, and neither is read again.
        read = UserInput.read({"username": "own", **given, **({"address": lines} if lines else {})})
        claims = read.model_dump(include={*OWN_CLAIMS, "address"}, exclude_none=True)
        name = claims.pop("name", None)
        async with self._store.write() as tx:
            before = await tx.users.lock(user_id)
            kept = {claim: value for claim, value in before.profile.items() if claim not in {*OWN_CLAIMS, "address"}}
            if claims.get("phone_number") != before.profile.get("phone_number"):
                # Whoever proved the old number has not proved the new one.
                kept.pop("phone_number_verified", None)
            user = replace(before, name=name, profile={**kept, **claims})
            if user == before:
                return before
            now = self._clock()
            user = replace(user, updated_at=now)
            await save_user(tx, user, before=before)
            told_anew = [claim for claim in (*OWN_CLAIMS, "address") if _claim(user, claim) != _claim(before, claim)]
            event = audit_event(AuditAction.USER_UPDATED, actor=user_id, target=user_id, now=now, fields=told_anew)
            await tx.audit_events.add(event)
        return user


def _claim(user: User, claim: str) -> object:
    return user.name if claim == "name" else user.profile.get(claim)


def _lines(text: str) -> str:
    # Forms send the ends of lines as CR LF (HTML, "constructing the entry list").
    return text.replace("\r\n", "\n").strip()
