"""Rules that make members of labs by what other providers tell, as part of `idp lab`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import Json, LabSlug, echo_json, over_store
from idp.domain.lab import LabRole

if TYPE_CHECKING:
    from idp.domain.lab_rule import LabRule
    from idp.domain.user import User
    from idp.opening import Opened
    from idp.services.lab_rule_admin import LabRules, ListedRule, RulePreview

_Provider = Annotated[str, typer.Option(help="Name of the provider, such as google.")]
_Claim = Annotated[str, typer.Option(help="Which claim counts: hd is the hosted domain of Google's organisations.")]
_Value = Annotated[str, typer.Option(help="What it must be, or hold, exactly.")]
_Role = Annotated[LabRole, typer.Option(help="What it gives: member or viewer.")]
_RuleId = Annotated[str, typer.Argument(metavar="RULE", help="Id of the rule, as `idp lab rules` shows it.")]
_SHOWN = 20


def rules(lab: LabSlug, as_json: Json = False) -> None:
    """List the rules of a lab, the oldest first, with how many are members by each."""

    async def run(opened: "Opened") -> "tuple[ListedRule, ...]":
        from idp.services.lab_permissions import OPERATOR

        return await _service(opened).of_lab(OPERATOR, lab)

    found = over_store(run)
    if as_json:
        echo_json([{**_document(each.rule), "members": each.members} for each in found])
        return
    for each in found:
        typer.echo(f"{each.rule.id}  {_words(each.rule)} ({_people(each.members)})")


def preview_rule(
    lab: LabSlug, provider: _Provider, claim: _Claim, value: _Value, role: _Role = LabRole.MEMBER, as_json: Json = False
) -> None:
    """Say whom a rule would take in, by what the provider told when they signed in last; nothing is written."""
    raw = {"provider": provider, "claim": claim, "value": value, "role": role}

    async def run(opened: "Opened") -> "RulePreview":
        from idp.services.lab_permissions import OPERATOR
        from idp.services.lab_rules import LabRuleInput

        return await _service(opened).preview(OPERATOR, lab, LabRuleInput.read(raw))

    preview = over_store(run)
    parts = {
        "comes": ("come in when they sign in next", preview.comes),
        "belongs": ("belong to it already, and keep what they have", preview.belongs),
        "stays_out": ("were removed or left, and stay out", preview.stays_out),
    }
    if as_json:
        echo_json({name: [_person(user) for user in users] for name, (_, users) in parts.items()})
        return
    for told, users in parts.values():
        typer.echo(f"{len(users)} {told}")
        for user in users[:_SHOWN]:
            typer.echo(f"  {user.label}")
        if len(users) > _SHOWN:
            typer.echo(f"  and {len(users) - _SHOWN} more: see --json")


def add_rule(
    lab: LabSlug, provider: _Provider, claim: _Claim, value: _Value, role: _Role = LabRole.MEMBER, as_json: Json = False
) -> None:
    """Let everybody into a lab of whom a provider tells something; `idp lab preview-rule` says whom that takes in."""
    raw = {"provider": provider, "claim": claim, "value": value, "role": role}

    async def run(opened: "Opened") -> "LabRule":
        from idp.services.lab_permissions import OPERATOR
        from idp.services.lab_rules import LabRuleInput

        return await _service(opened).create(OPERATOR, lab, LabRuleInput.read(raw))

    rule = over_store(run)
    if as_json:
        echo_json({"lab": lab, **_document(rule)})
    else:
        typer.echo(f"added: {rule.id}  {_words(rule)}; it counts when people sign in next")


def remove_rule(
    lab: LabSlug, rule_id: _RuleId, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove a rule from a lab, and end the memberships that it gave."""

    async def look(opened: "Opened") -> "ListedRule":
        from idp.services.lab_permissions import OPERATOR

        return await _service(opened).find(OPERATOR, lab, rule_id)

    async def run(opened: "Opened") -> int:
        from idp.services.lab_permissions import OPERATOR

        return await _service(opened).delete(OPERATOR, lab, rule_id)

    if not yes:
        found = over_store(look)
        typer.echo(f"{_words(found.rule)}: {_people(found.members)} by it, who leave the lab with it", err=True)
        typer.confirm("Remove the rule?", abort=True, err=True)
    ended = over_store(run)
    typer.echo(f"removed: {rule_id} ({ended} {'membership' if ended == 1 else 'memberships'} ended)")


def _service(opened: "Opened") -> "LabRules":
    from idp.services.lab_rule_admin import LabRules

    return LabRules(opened.store, opened.providers, opened.clock)


def _words(rule: "LabRule") -> str:
    return f"{rule.role} by {rule.provider}: {rule.claim} = {rule.value}"


def _people(count: int) -> str:
    return "1 member" if count == 1 else f"{count} members"


def _person(user: "User") -> dict[str, Any]:
    return {"id": user.id, "label": user.label}


def _document(rule: "LabRule") -> dict[str, Any]:
    names = ("id", "provider", "claim", "value", "role", "created_by", "created_at", "managed_by")
    return {name: getattr(rule, name) for name in names}
