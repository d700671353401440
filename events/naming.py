"""What names of events and properties mean, for all definitions of a workspace: decided by people, and read.

No file is rewritten: whatever reads events asks for all the names that one stands for (names.py).
"""

import uuid
from typing import Any

from django.db import IntegrityError, transaction

from events.models import Correction, NameKind, NameRule
from events.names import InvalidName, Names, WorkspaceNames

__all__ = ["InvalidName", "NameKind", "check", "check_others", "decide", "keep", "read_names", "wanted"]


def read_names(workspace: str) -> WorkspaceNames:
    rules = list(NameRule.objects.filter(workspace=workspace))

    def of(kind: NameKind) -> Names:
        mine = [rule for rule in rules if rule.kind == kind]
        return Names(
            {rule.name: rule.renamed_to for rule in mine if rule.renamed_to},
            frozenset(rule.name for rule in mine if rule.hidden),
            {rule.name: rule.forbidden for rule in mine if rule.forbidden},
        )

    return WorkspaceNames(of(NameKind.EVENT), of(NameKind.PROPERTY), of(NameKind.USER_PROPERTY))


def wanted(
    workspace: str,
    kind: NameKind,
    name: str,
    *,
    renamed_to: str | None = None,
    hidden: bool | None = None,
    forbidden: str | None = None,
) -> NameRule:
    """Return what would hold of a name, not written yet; None leaves as it is, an empty text takes back."""
    rule = _stored(NameRule(workspace=workspace, kind=kind, name=name))
    if renamed_to is not None:
        rule.renamed_to = renamed_to
    if hidden is not None:
        rule.hidden = hidden
    if forbidden is not None:
        rule.forbidden = forbidden[:500]
    return rule


def decide(workspace: str, kind: NameKind, name: str, by: str, **decision: Any) -> NameRule:
    """Decide about a name, as `wanted` says. Returns what holds of it now. Raises InvalidName."""
    rule = wanted(workspace, kind, name, **decision)
    check(rule)
    keep(rule, by)
    return rule


def _stored(rule: NameRule) -> NameRule:
    """Return what holds of the name; of a name about which nothing was decided, a rule that says nothing."""
    key: dict[str, Any] = {"workspace": rule.workspace, "kind": rule.kind, "name": rule.name}
    return NameRule.objects.filter(**key).first() or NameRule(**key)


def differences(rule: NameRule) -> list[str]:
    """Say what would hold and does not yet; nothing when all of it does."""
    old = _stored(rule)
    said = []
    if rule.renamed_to != old.renamed_to:
        called = f"“{rule.renamed_to}”" if rule.renamed_to else "what it came as"
        said.append(f"is called {called}")
    if rule.hidden != old.hidden:
        said.append("is hidden" if rule.hidden else "is shown")
    if rule.forbidden != old.forbidden:
        said.append(f"is not to be used: {rule.forbidden}" if rule.forbidden else "may be used")
    return said


@transaction.atomic
def keep(rule: NameRule, by: str) -> None:
    """Write what holds of a name now, and among the corrections who decided it and when."""
    if not (said := differences(rule)):
        return
    # Of two who decide about a name at once, the later one decides.
    stored = _stored(rule)
    rule.pk = stored.pk
    if rule.sentence:
        try:
            with transaction.atomic():
                rule.save()
        except IntegrityError:
            rule.pk = _stored(rule).pk
            rule.save()
    elif rule.pk:
        stored._change_reason = getattr(rule, "_change_reason", None)  # type: ignore[attr-defined]
        stored.delete()
    what = f"the {rule.get_kind_display()} “{rule.name}” {', '.join(said)}"
    Correction.objects.create(
        workspace=rule.workspace, key=uuid.uuid4().hex, what=what[:1000].rstrip("."), by=by[:150]
    )


def check(rule: NameRule) -> None:
    """Raise InvalidName when what would hold of a name makes no sense, by itself or with other names."""
    rule.check_texts()
    if rule.renamed_to and rule.renamed_to != _stored(rule).renamed_to:
        check_others(rule)


def check_others(rule: NameRule) -> None:
    """Names are renamed once: whatever a name is called must be a name that is called so itself."""
    if not (new := rule.renamed_to):
        return
    others = NameRule.objects.filter(workspace=rule.workspace, kind=rule.kind)
    if (further := others.filter(name=new).exclude(renamed_to="").first()) is not None:
        raise InvalidName(f"“{new}” is called “{further.renamed_to}” now: take that name, or take that back.")
    if earlier := sorted(others.filter(renamed_to=rule.name).values_list("name", flat=True)):
        raise InvalidName(f"“{earlier[0]}” is called “{rule.name}”: rename that one to “{new}”, too, first.")
