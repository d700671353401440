"""Which cohorts name what has a rule (events/naming.py), on pages and for whoever decides."""

from typing import Any

from django.http import HttpRequest

from cohorts.choices import SourceKind
from cohorts.definitions import DefinitionError, parse
from cohorts.definitions.forbidden_names import names_in, names_of, why_not
from cohorts.models import Cohort
from events.models import CatalogueEntry, NameKind, NameRule
from events.naming import read_names


def cohorts_that_name(workspace: str, kind: NameKind, name: str) -> list[Cohort]:
    """Return the behavioral cohorts of a workspace whose definitions ask for this name, or for another one
    that stands for the same."""
    meant = set(names_of(read_names(workspace), kind).stored(name))
    found = Cohort.objects.filter(source_kind=SourceKind.BEHAVIORAL, events_workspace=workspace)
    return [cohort for cohort in found.order_by("name") if _names(cohort, kind, meant)]


def _names(cohort: Cohort, kind: NameKind, meant: set[str]) -> bool:
    try:
        return not meant.isdisjoint(names_in(parse(cohort.definition), kind))
    except DefinitionError:  # said where it is calculated
        return False


# --- On pages ------------------------------------------------------------------------------------


def of_cohort(request: HttpRequest, cohort: Cohort) -> tuple[str, dict[str, Any]] | None:
    """What a cohort names that is not to be used any more."""
    if cohort.source_kind != SourceKind.BEHAVIORAL:
        return None
    names = read_names(cohort.events_workspace)
    try:
        sentences = why_not(parse(cohort.definition), names)
    except DefinitionError:
        return None
    return ("cohorts/names_not_to_use.html", {"sentences": sentences}) if sentences else None


def of_name(request: HttpRequest, entry: CatalogueEntry | NameRule) -> tuple[str, dict[str, Any]] | None:
    """The cohorts that ask for an event or a property, of the catalogue or with a rule."""
    if not entry.name or not request.user.has_perm("cohorts.view_cohort"):
        return None
    found = cohorts_that_name(entry.workspace, NameKind(entry.kind), entry.name)
    return "cohorts/cohorts_that_name.html", {"cohorts": found}


def with_cohorts(rule: NameRule) -> dict[str, Any]:
    """What holds of a name now, and the keys of the cohorts that name it."""
    named = cohorts_that_name(rule.workspace, NameKind(rule.kind), rule.name)
    return {
        "workspace": rule.workspace,
        "kind": rule.kind,
        "name": rule.name,
        "renamed_to": rule.renamed_to,
        "hidden": rule.hidden,
        "forbidden": rule.forbidden,
        "cohorts": [cohort.key for cohort in named],
    }
