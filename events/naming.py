"""What names of events and properties mean, for all definitions of a workspace: decided by people, and read.

No file is rewritten: whatever reads events asks for all the names that one stands for (names.py).
"""

import uuid
from typing import Any

from django.db import transaction

from events.models import Correction, NameKind, NameRule
from events.names import Names, WorkspaceNames

__all__ = ["InvalidName", "NameKind", "decide", "read_names"]


class InvalidName(ValueError):
    """The decision makes no sense; the message says why."""


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


@transaction.atomic
def decide(
    workspace: str,
    kind: NameKind,
    name: str,
    by: str,
    *,
    renamed_to: str | None = None,
    hidden: bool | None = None,
    forbidden: str | None = None,
) -> NameRule:
    """Decide about a name; None leaves as it is, an empty text takes back. Returns what holds of it now.

    Who decided it and when is kept among the corrections. Raises InvalidName.
    """
    check_text(name)
    rule = NameRule.objects.filter(workspace=workspace, kind=kind, name=name).first()
    rule = rule or NameRule(workspace=workspace, kind=kind, name=name)
    said = []
    if renamed_to is not None and renamed_to != rule.renamed_to:
        if renamed_to:
            check_target(rule, renamed_to)
        rule.renamed_to = renamed_to
        said.append(f"is called “{renamed_to}”" if renamed_to else "is called what it came as")
    if hidden is not None and hidden != rule.hidden:
        rule.hidden = hidden
        said.append("is hidden" if hidden else "is shown")
    if forbidden is not None and forbidden != rule.forbidden:
        rule.forbidden = forbidden[:500]
        said.append(f"is not to be used: {rule.forbidden}" if forbidden else "may be used")
    if said:
        keep(rule, f"the {rule.get_kind_display()} “{name}” {', '.join(said)}", by)
    return rule


def keep(rule: NameRule, what: str, by: str) -> None:
    """Write what holds of a name now, and who decided it."""
    key: dict[str, Any] = {"workspace": rule.workspace, "kind": rule.kind, "name": rule.name}
    if rule.sentence:
        # Of two who decide about a name at once, the later one decides.
        values = {"renamed_to": rule.renamed_to, "hidden": rule.hidden, "forbidden": rule.forbidden}
        NameRule.objects.update_or_create(**key, defaults=values)
    else:
        NameRule.objects.filter(**key).delete()
    Correction.objects.create(
        workspace=rule.workspace, key=uuid.uuid4().hex, what=what[:1000].rstrip("."), by=by[:150]
    )


def check_text(name: str) -> None:
    if not name.strip() or len(name) > 255 or "\0" in name:
        raise InvalidName("A name has 1 to 255 characters, and no NUL among them.")
    if name == "*":
        raise InvalidName('"*" stands for any event: it is no name.')


def check_target(rule: NameRule, new: str) -> None:
    """Names are renamed once: whatever a name is called must be a name that is called so itself."""
    check_text(new)
    if new == rule.name:
        raise InvalidName(f"“{new}” is its name already.")
    others = NameRule.objects.filter(workspace=rule.workspace, kind=rule.kind)
    if (further := others.filter(name=new).exclude(renamed_to="").first()) is not None:
        raise InvalidName(f"“{new}” is called “{further.renamed_to}” now: take that name, or take that back.")
    if earlier := sorted(others.filter(renamed_to=rule.name).values_list("name", flat=True)):
        raise InvalidName(f"“{earlier[0]}” is called “{rule.name}”: rename that one to “{new}”, too, first.")
