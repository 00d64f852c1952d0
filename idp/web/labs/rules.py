"""Rules that make members of a lab by what other providers tell: shown to its admins, written by the installation's."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab, LabRole
from idp.domain.lab_rule import HOSTED_DOMAIN
from idp.domain.user import User
from idp.services.input import InputRefused
from idp.services.lab_permissions import Forbidden
from idp.services.lab_rule_admin import LabRules, ListedRule, RulePreview
from idp.services.lab_rules import LabRuleInput
from idp.store.errors import NotFound
from idp.web.forms import read_query
from idp.web.labs.visit import Visit, faults, lab_page

_CREATED = "Done. Whom the rule takes in comes in when they sign in next."
_REMOVED = "Done. The rule is gone, and so are the memberships that it gave."
_GONE = "That rule was removed in the meantime."
_FIELDS = ("provider", "claim", "value", "role")
# How many people a page names; all are counted.
_NAMED = 20


@lab_page
async def rules(visit: Visit) -> Response:
    """List the rules; to whoever administers the installation, say what one would do, add it, and remove it."""
    lab, form, service = await visit.managed(), visit.form, _service(visit)
    if form is None:
        rule_id = read_query(visit.request).get("remove")
        return await _show(visit, lab, removing=rule_id if visit.actor.manages_all else None)
    try:
        if (rule_id := form.get("remove")) is not None:
            await service.delete(visit.actor, lab.slug, rule_id)
            return await _show(visit, lab, notice=_REMOVED)
        given = LabRuleInput.read({name: form.get(name) or "" for name in _FIELDS})
        if form.get("action") != "create":
            preview = await service.preview(visit.actor, lab.slug, given)
            return await _show(visit, lab, proposed=(given, preview))
        await service.create(visit.actor, lab.slug, given)
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, *_FIELDS), values=form.values, status=422)
    except NotFound:
        return await _show(visit, lab, error=_GONE, status=409)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), values=form.values, status=403)
    return await _show(visit, lab, notice=_CREATED)


async def describe_rule(visit: Visit, lab: Lab, rule_id: str) -> dict[str, Any] | None:
    """Return what pages say of a rule; None where it is gone."""
    try:
        return _row(await _service(visit).find(visit.actor, lab.slug, rule_id))
    except NotFound:
        return None


def _service(visit: Visit) -> LabRules:
    services = visit.services
    return LabRules(services["store"], services["providers"], services["clock"])


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    removing: str | None = None,
    proposed: tuple[LabRuleInput, RulePreview] | None = None,
    errors: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    listed = await _service(visit).of_lab(visit.actor, lab.slug)
    providers = await visit.services["providers"].all() if visit.actor.manages_all else ()
    names = {provider.name: provider.display_name for provider in providers}
    leaving = next((each for each in listed if each.rule.id == removing), None)
    return await visit.show(
        "labs/rules.html",
        lab,
        rules=[_row(each) for each in listed],
        may_write=visit.actor.manages_all,
        providers=list(names.items()),
        leaving=None if leaving is None else {**_row(leaving), "people": await _members(visit, lab, leaving)},
        proposed=None if proposed is None else _proposed(*proposed, names),
        errors=errors or {},
        values=values or {"claim": HOSTED_DOMAIN, "role": str(LabRole.MEMBER)},
        **more,
    )


async def _members(visit: Visit, lab: Lab, listed: ListedRule) -> dict[str, Any]:
    """Return who is a member by a rule, as far as the page names them."""
    members = await _service(visit).members(visit.actor, lab.slug, listed.rule.id, limit=_NAMED)
    return {"count": listed.members, "labels": [member.user.label for member in members]}


def _row(listed: ListedRule) -> dict[str, Any]:
    rule = listed.rule
    return {
        "id": rule.id,
        "provider_name": listed.provider,
        "claim": rule.claim,
        "value": rule.value,
        "role": rule.role,
        "since": rule.created_at,
        "members": listed.members,
    }


def _proposed(given: LabRuleInput, preview: RulePreview, providers: Mapping[str, str]) -> dict[str, Any]:
    """Return what a rule would be, and whom it would meet."""
    return {
        **dict(given),
        "provider_name": providers.get(given.provider, given.provider),
        "comes": _people(preview.comes),
        "belongs": _people(preview.belongs),
        "stays_out": _people(preview.stays_out),
    }


def _people(users: Sequence[User]) -> dict[str, Any]:
    return {"count": len(users), "labels": [user.label for user in users[:_NAMED]]}
