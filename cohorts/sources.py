"""What each kind of source needs to be told, checked when a cohort is saved."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from cohorts import received
from cohorts.choices import CALCULATED, ScheduleKind, SourceKind
from cohorts.definitions import Definition, DefinitionError, parse
from cohorts.definitions.forbidden_names import why_not
from cohorts.references import refresh_order
from events.engine_errors import EngineError
from events.naming import read_names
from people import profiles
from people.profiles import InvalidValue

if TYPE_CHECKING:
    from cohorts.models import Cohort

# The right that it takes to set or change a query.
USE_QUERY = "cohorts.use_query_source"
# And the right that it takes to keep what a query says of people.
KEEP_PROFILES = "people.add_profileimport"


def sets_query(values: Mapping[str, Any], old: "Cohort | None") -> bool:
    """Say whether the new values of a cohort's fields set a query, or change the one that it is.

    A text of a query counts in a cohort of any source: it is what the cohort runs when its source is changed.
    """
    texts = ("query_database", "query_sql", "query_fields", "query_skip_invalid")
    changed = [
        name for name in texts if name in values and (values[name] or "") != (getattr(old, name, "") or "")
    ]
    if any(values[name] for name in changed):
        return True
    is_query = values.get("source_kind", old.source_kind if old else "") == SourceKind.QUERY
    becomes = "source_kind" in values and (old is None or old.source_kind != SourceKind.QUERY)
    return is_query and bool(changed or becomes)


def sets_fields(values: Mapping[str, Any], old: "Cohort | None") -> bool:
    """Say whether the new values of a cohort's fields keep other columns of a query than before."""
    before = old.query_fields if old else []
    return bool(values.get("query_fields")) and values["query_fields"] != before


def check(cohort: "Cohort") -> None:
    """Raise ValidationError, keyed by field, unless the cohort's source can be used."""
    if cohort.source_kind == SourceKind.BEHAVIORAL:
        _check_definition(cohort)
    elif cohort.source_kind == SourceKind.QUERY:
        from cohorts.query import check_query  # here: parsers and drivers of databases take long to import

        try:
            check_query(cohort.query_database, cohort.query_sql, _columns(cohort))
        except EngineError as error:
            raise ValidationError({"query_sql": str(error)}) from None
    elif cohort.source_kind == SourceKind.RECEIVED:
        received.check(cohort)
    if cohort.schedule_kind == ScheduleKind.CHANGES and cohort.source_kind != SourceKind.RECEIVED:
        raise ValidationError(
            {"schedule_kind": "Only a cohort that follows what a workspace receives knows when that changes."}
        )
    if cohort.refresh_before_sync and cohort.source_kind not in CALCULATED:
        raise ValidationError({"refresh_before_sync": "Only a cohort that is calculated can be refreshed."})


def _columns(cohort: "Cohort") -> tuple[str, ...]:
    """Return the columns of a query that become fields. Raises ValidationError."""
    try:
        fields = cohort.kept_fields()
        known = fields is None or profiles.store().knows(fields.workspace)
    except (InvalidValue, profiles.Refused) as error:
        raise ValidationError({"query_fields": str(error)}) from None
    if fields is None:
        return ()
    if not known:
        raise ValidationError(
            {"events_workspace": f"There is no workspace {fields.workspace!r} that keeps profiles."}
        )
    return tuple(one.column for one in fields.mapped)


def _check_definition(cohort: "Cohort") -> None:
    try:
        definition = parse(cohort.definition)
    except DefinitionError as error:
        raise ValidationError({"definition": [f"{at}: {said}" for at, said in error.problems]}) from None
    _check_names(cohort, definition)
    keys = definition.cohort_keys()
    others = dict(type(cohort).objects.exclude(pk=cohort.pk).values_list("key", "definition"))
    if unknown := sorted(keys - set(others) - {cohort.key}):
        raise ValidationError({"definition": f"There is no cohort {unknown[0]!r}."})
    references = {key: references_of(definition) for key, definition in others.items()}
    try:
        refresh_order({**references, cohort.key: keys})
    except EngineError as error:
        raise ValidationError({"definition": str(error)}) from None


def _check_names(cohort: "Cohort", definition: Definition) -> None:
    """Refuse names that are not to be used, but not to change something else about a cohort that has one."""
    asked = (cohort.definition, cohort.events_workspace)
    kept = type(cohort).objects.filter(pk=cohort.pk).values_list("definition", "events_workspace").first()
    if kept != asked and (sentences := why_not(definition, read_names(cohort.events_workspace))):
        raise ValidationError({"definition": sentences})


def references_of(definition: object) -> set[str]:
    """Return the keys of the cohorts that a stored definition names; none for one that does not parse."""
    try:
        return parse(definition).cohort_keys() if definition else set()
    except DefinitionError:
        return set()
