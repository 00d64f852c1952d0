"""Consent by lab: which labs a user is asked about, what the answer means, and which labs a client insists on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from idp.domain.client import Client, RequireLab
from idp.domain.consent import DECLINED, LATER, NOT_HELD, LabConsent, role_given, unasked
from idp.domain.lab import Lab, LabMembership, LabRole
from idp.domain.lab_release import LabRelease, release_labs
from idp.domain.lab_scope import LAB_API_SCOPES, LAB_SCOPES, LabRequest, is_about_labs, names_lab, read_lab_request
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.errors import OAuthError

# Applications that name labs which nobody is in would otherwise fill the store.
_MAX_NOT_HELD = 200


@dataclass(frozen=True, slots=True)
class LabChoice:
    """A lab on the consent page: what would be told of it, whether its box is ticked at first, and was before.

    Where the user does not hold what the application names, there is no lab, no role and no box.
    """

    slug: str
    lab: Lab | None = None
    role: LabRole | None = None
    expires_at: datetime | None = None
    named: bool = False
    ticked: bool = False
    given: bool = False


@dataclass(frozen=True, slots=True)
class LabChoices:
    """Everything that a request asks about labs; `all_labs` is whether it asks for later ones as well."""

    labs: tuple[LabChoice, ...] = ()
    all_labs: bool = False
    asked: bool = False
    undecided: bool = False

    @property
    def mark(self) -> list[list[str]]:
        """What the answer has to be about."""
        return [[choice.slug, choice.role or ""] for choice in self.labs]


def lab_scope(request: AuthorizationRequest) -> tuple[str, ...]:
    """Return what a request asks about labs as a scope.

    A claim that userinfo is to tell is a scope of that name. To read or look after labs for the user is to learn them:
    all of them, unless single ones are named.
    """
    wished = [name for name in request.claims.userinfo if name in LAB_SCOPES and name in request.client.scopes]
    asked = [*filter(is_about_labs, request.scope), *wished]
    if not set(LAB_API_SCOPES).isdisjoint(request.scope) and not any(map(names_lab, asked)):
        asked.append("labs")
    return tuple(dict.fromkeys(asked))


def lab_choices(
    request: AuthorizationRequest,
    memberships: Sequence[LabMembership],
    consent: LabConsent | None,
    *,
    acr: str,
    now: datetime,
) -> LabChoices:
    """Return what the user is asked about labs; `consent` is what they answered before, None if nothing."""
    asked = read_lab_request(lab_scope(request))
    if not asked.claims or not request.client.allowed_labs:
        # Nothing would ever be told.
        return LabChoices()
    held = release_labs(memberships, asked, allowed=request.client.allowed_labs, consent=None, now=now, acr=acr)
    choices = [
        LabChoice(
            told.lab.slug,
            told.lab,
            told.role,
            told.expires_at,
            named=told.lab.slug in asked.named,
            ticked=_is_ticked(consent, told.lab.slug, named=told.lab.slug in asked.named),
            given=_is_given(consent, told.lab.slug, told.role),
        )
        for told in held.labs
    ]
    known = {choice.slug for choice in choices}
    choices += [LabChoice(slug, named=True) for slug in asked.named if slug not in known]
    insisting = request.client.require_lab is not None
    undecided = consent is None or any(_is_undecided(choice, consent, insisting=insisting) for choice in choices)
    return LabChoices(tuple(choices), asked.all_labs, asked=True, undecided=undecided)


def _is_ticked(consent: LabConsent | None, slug: str, *, named: bool) -> bool:
    if consent is None or role_given(consent, slug) is not None:
        return True
    # Joined later: what was not asked for by name stays out unless the user says otherwise.
    return named and consent.get(slug) != DECLINED


def _is_given(consent: LabConsent | None, slug: str, role: LabRole) -> bool:
    given = None if consent is None else role_given(consent, slug)
    return given is not None and given.contains(role)


def _is_undecided(choice: LabChoice, consent: LabConsent, *, insisting: bool) -> bool:
    answer, given = consent.get(choice.slug), role_given(consent, choice.slug)
    if given is not None:
        return choice.role is not None and not given.contains(choice.role)
    if choice.role is None:
        return answer is None
    return answer != DECLINED and (choice.named or insisting)


def decided(
    choices: LabChoices, before: LabConsent | None, *, ticked: Collection[str], later: bool
) -> dict[str, str] | None:
    """Return the consent after an answer; `ticked` are the slugs of the labs that may be told.

    It is remembered for what the user does not hold, too, so that an application that names it does not ask each time.
    """
    if not choices.asked:
        return None if before is None else dict(before)
    labs = dict(before or {})
    for choice in choices.labs:
        if choice.role is None:
            labs.setdefault(choice.slug, NOT_HELD)
        elif choice.slug not in ticked:
            labs[choice.slug] = DECLINED
        else:
            given = role_given(labs, choice.slug)
            labs[choice.slug] = (given if given is not None and given.contains(choice.role) else choice.role).value
    if choices.all_labs:
        labs.pop(LATER, None)
        labs |= {LATER: LabRole.ADMIN.value} if later else {}
    for slug in [slug for slug, answer in labs.items() if answer == NOT_HELD][:-_MAX_NOT_HELD]:
        del labs[slug]
    return labs


def consent_to(asked: LabRequest, consent: LabConsent | None) -> LabConsent | None:
    """Return what of a consent a request makes use of; None where all labs are asked for and no consent is needed.

    With it a grant tells of no other lab and no higher role, though lab scopes may be dropped or left out at a refresh.
    """
    if asked.all_labs and not asked.named:
        return consent
    given = unasked(None) if consent is None else consent
    labs = dict(given) if asked.all_labs else {}
    for slug, caps in asked.named.items():
        if (role := role_given(given, slug)) is not None:
            # Members of the set are declared from the highest on.
            highest = min((cap or LabRole.ADMIN for cap in caps), key=list(LabRole).index)
            labs[slug] = role.capped(highest).value
    return labs


def earlier_labs(consent: LabConsent | None, scope: Sequence[str]) -> tuple[str, ...]:
    """Return the labs that a user gave before as scopes, where a request asks for single labs (RFC 6749 §3.3).

    Each is capped at the role that was given; below that, whatever the user holds.
    """
    named = read_lab_request(scope).named
    if consent is None or "labs" in scope or (not named and not LAB_SCOPES.isdisjoint(scope)):
        return ()
    given = {slug: role_given(consent, slug) for slug in consent if slug != LATER}
    return tuple(
        token
        for slug, role in given.items()
        if role is not None and not any(cap is None or cap.contains(role) for cap in named.get(slug, ()))
        for token in _capped_scopes(slug, role)
    )


def _capped_scopes(slug: str, role: LabRole) -> tuple[str, ...]:
    if role is LabRole.ADMIN:
        return (f"lab:{slug}",)
    return tuple(f"lab:{slug}:{each.value}" for each in role.expanded)


def meets_required_labs(
    client: Client,
    released: LabRelease,
    memberships: Sequence[LabMembership],
    *,
    acr: str,
    now: datetime,
) -> bool:
    """Whether a user is in the labs that the client insists on, as far as it is told of them.

    A client that asks nothing about labs is not told of any; then the memberships themselves count.
    """
    if client.require_lab is None:
        return True
    asked, allowed = released.request, client.allowed_labs
    if client.require_lab is RequireLab.ANY and asked.claims:
        return bool(released.labs)
    everything = read_lab_request(("labs",))
    held = release_labs(memberships, everything, allowed=allowed, consent=None, now=now, acr=acr).labs
    roles = {told.lab.slug: told.role for told in (released.labs if asked.claims else held)}
    if client.require_lab is RequireLab.ANY or (allowed == "*" and not asked.named):
        return bool(roles)
    if not asked.all_labs:
        # The scope comes through the browser: who leaves labs out of it is not let in for that.
        roles = {lab.lab.slug: lab.role for lab in held if lab.lab.slug not in asked.named} | roles
    demanded = {**dict.fromkeys(() if allowed == "*" else allowed, ()), **asked.named}
    return all(
        slug in roles and all(cap is None or roles[slug].contains(cap) for cap in caps)
        for slug, caps in demanded.items()
    )


class LabRequired(OAuthError):
    """The user is not in the labs that the client insists on; which labs there are is not told."""

    error = "access_denied"
    default_description = "The user is in no lab that the application is for, or does not share it."
