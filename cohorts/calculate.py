"""Calculating cohorts: from what people did, or by a query, as of one instant."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from types import MappingProxyType

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from cohorts import asked, behavioral, following, members, query, received, refresh, window
from cohorts.choices import CALCULATED, SourceKind
from cohorts.definitions import Definition, DefinitionError, parse
from cohorts.importing import check_not_held
from cohorts.models import Cohort, CohortVersion
from cohorts.references import refresh_order
from cohorts.schedule import InvalidSchedule
from cohorts.sources import references_of
from events import arrivals
from events.engine import EngineError
from pagekit import tracing
from people.profiles import InvalidValue

log = logging.getLogger(__name__)

# After so long, a calculation that was due and has not come to its end is begun again.
TAKEN_AGAIN = timedelta(minutes=10)
# A list that is exchanged for another one while it is read is read so often.
READINGS = 3
# Seconds that a run waits for a calculation of its cohort that another process is at.
WAIT = 60.0
_locks = defaultdict[int, threading.Lock](threading.Lock)
# What a calculation may fail with; each says why in a sentence for a person.
FAILURES = (EngineError, DefinitionError, InvalidValue, refresh.RefreshError, members.UnreadableVersion)


@contextmanager
def together(cohorts: Iterable[Cohort], as_of: datetime) -> Iterator[dict[str, behavioral.Round]]:
    """Open a round of calculations: a condition that several of the cohorts share is computed once.

    Yields the round of each workspace of events, for `calculate`.
    """
    definitions: dict[str, list[Definition]] = {}
    for cohort in cohorts:
        if cohort.source_kind == SourceKind.BEHAVIORAL:
            with suppress(DefinitionError):
                definitions.setdefault(cohort.events_workspace, []).append(parse(cohort.definition))
    with ExitStack() as stack:
        yield {
            workspace: stack.enter_context(behavioral.Round(those, as_of, workspace=workspace))
            for workspace, those in definitions.items()
        }


def calculate(
    cohort: Cohort,
    *,
    as_of: datetime | None = None,
    rounds: Mapping[str, behavioral.Round] = MappingProxyType({}),
    replace_held: bool = False,
    wait: float = 0.0,
) -> CohortVersion:
    """Calculate who is in the cohort as of an instant (default: now), as its next version.

    `rounds`: from `together`, of the same instant. Raises one of FAILURES, which is kept with the cohort,
    too; nothing is published then.
    """
    if said := refresh.outside_of_window(cohort, timezone.now()):
        raise refresh.OutsideWindow(said)  # nothing failed: it is as it was configured
    instant = as_of or timezone.now()
    follows = cohort.source_kind == SourceKind.RECEIVED

    def replace() -> CohortVersion:
        with ExitStack() as stack:
            if cohort.source_kind == SourceKind.QUERY:
                ids, said, made_from = _queried(cohort, instant, stack, replace_held=replace_held)
            else:
                ids, said, made_from = _source(cohort, instant, rounds)
            return refresh.replace(
                cohort.pk,
                ids,
                source=said[:300],
                definition=made_from,
                as_of=instant,
                replace_held=replace_held,
                wait=wait,
                unless_nobody_moves=follows,
            )

    try:
        with tracing.span("calculate", cohort=cohort.pk, source=cohort.source_kind):
            version = _follow(cohort, replace) if follows else replace()
    except FAILURES as error:
        _note(cohort, str(error))
        raise
    _note(cohort, "")
    return version


def _follow(cohort: Cohort, replace: Callable[[], CohortVersion]) -> CohortVersion:
    """Read what is received, and keep the mark of what had come before it was read."""
    readings = 1
    while True:
        news = received.offered().news(received.source_of(cohort), {}, timezone.now())
        try:
            version = replace()
        except received.Exchanged:
            if readings == READINGS:
                raise
            readings += 1
        else:
            Cohort.objects.filter(pk=cohort.pk).update(received_mark=news.mark)
            return version


def bring_up_to_date(cohort: Cohort, since: datetime) -> None:
    """Calculate what the cohort's definition names, and then the cohort itself, as a run wants them.

    Events that have arrived are taken in first. What was calculated since `since` (when the round of runs
    began) is left as it is: cohorts of one round share what they name. What fails is kept with its cohort.
    """
    try:
        chain = in_order(with_named(cohort))
        for workspace in {one.events_workspace for one in chain if one.source_kind == SourceKind.BEHAVIORAL}:
            arrivals.take_in(workspace)
    except Exception as error:  # a calculation's edge: the cohort says so
        log.exception("%s was not calculated.", cohort.key)
        _note(cohort, f"Events that have arrived could not be taken in: {error}")
        return
    for one in chain:
        # Two destinations of this process that want it at once get it calculated once.
        with _locks[one.pk]:
            outside = refresh.outside_of_window(one, timezone.now())
            if not outside and not asked.was_calculated_since(one, since):
                try_calculate(one, wait=WAIT)


def with_named(cohort: Cohort) -> list[Cohort]:
    """Return the cohort and all that its definition names, directly and by others."""
    found = {cohort.key: cohort}
    wanted = references_of(cohort.definition)
    while wanted:
        found |= {named.key: named for named in Cohort.objects.filter(key__in=wanted)}
        wanted = {key for named in found.values() for key in references_of(named.definition)} - set(found)
        wanted &= set(Cohort.objects.filter(key__in=wanted).values_list("key", flat=True))
    return list(found.values())


def try_calculate(
    cohort: Cohort,
    *,
    as_of: datetime | None = None,
    rounds: Mapping[str, behavioral.Round] = MappingProxyType({}),
    wait: float = 0.0,
) -> CohortVersion | None:
    """Calculate; None when that failed, and the cohort says why."""
    try:
        return calculate(cohort, as_of=as_of, rounds=rounds, wait=wait)
    except FAILURES as error:
        log.warning("%s was not calculated: %s", cohort.key, error)
        return None
    except Exception as error:  # a calculation's edge: those of the other cohorts go on
        log.exception("%s was not calculated.", cohort.key)
        _note(cohort, f"{type(error).__name__}: {error}")
        return None


def in_order(cohorts: Iterable[Cohort]) -> list[Cohort]:
    """Return the calculated ones among the cohorts, each after those that its definition names."""
    calculated = {cohort.key: cohort for cohort in cohorts if cohort.source_kind in CALCULATED}
    order = refresh_order({key: references_of(cohort.definition) for key, cohort in calculated.items()})
    return [calculated[key] for key in order if key in calculated]


def find_due(now: datetime) -> QuerySet[Cohort]:
    """Return the cohorts whose time has come, those that follow what is received among them."""
    for changed in following.following(now):
        # Of several processes that see the change, one finds it due.
        Cohort.objects.filter(pk=changed.pk, next_due_at=changed.next_due_at).update(next_due_at=now)
    return Cohort.objects.filter(window.is_open(now), next_due_at__lte=now, source_kind__in=CALCULATED)


def due_together(now: datetime) -> list[list[str]]:
    """Return the keys of the cohorts that are due, in groups that several workers may calculate at once.

    Of one group are those that share events, since a condition that they share is then computed once, and
    those of which one names the other, since these have an order.
    """
    groups: list[tuple[set[str], list[str]]] = []
    for cohort in find_due(now):
        shares = {f"cohort {key}" for key in {cohort.key, *references_of(cohort.definition)}}
        if cohort.source_kind == SourceKind.BEHAVIORAL:
            shares.add(f"events {cohort.events_workspace}")
        keys = [cohort.key]
        for group in [group for group in groups if group[0] & shares]:
            groups.remove(group)
            shares |= group[0]
            keys = group[1] + keys
        groups.append((shares, keys))
    return [sorted(keys) for _, keys in groups]


def calculate_due(now: datetime, *, among: Collection[str] | None = None) -> list[Cohort]:
    """Calculate the cohorts whose time has come, all as of one instant; of several processes, one does it.

    `among`: keys of cohorts, to leave all others to somebody else.
    """
    due = find_due(now)
    if among is not None:
        due = due.filter(key__in=among)
    mine: dict[str, datetime | None] = {}
    cohorts = []
    for cohort in due:
        try:
            next_due_at = cohort.due_after(now)
        except InvalidSchedule as error:  # a zone that the system no longer knows
            if cohort.calculation_error != error.message:
                _note(cohort, error.message)
            continue
        # Whoever takes it may be killed before it is calculated: until then, it comes due again.
        again = now + TAKEN_AGAIN
        if cohort.come_due(min(next_due_at or again, again)):
            mine[cohort.key] = next_due_at
            cohorts.append(cohort)
    with together(cohorts, now) as rounds:
        for cohort in in_order(cohorts):
            try_calculate(cohort, as_of=now, rounds=rounds, wait=WAIT)
            cohort.come_due(mine[cohort.key])
    return cohorts


def _queried(
    cohort: Cohort, instant: datetime, stack: ExitStack, *, replace_held: bool
) -> tuple[Iterator[str], str, object]:
    """Return as `_source`; what the query says of people is kept by then, as of the instant."""
    asked, said = (cohort.query_database, cohort.query_sql), f"Query of {cohort.query_database}"
    fields = cohort.kept_fields()
    if fields is None:
        return query.members(*asked), said, {"sql": cohort.query_sql}
    if not replace_held:
        check_not_held(cohort)
    ids, kept = stack.enter_context(query.members_kept(*asked, fields, instant))
    return ids, f"{said}. {kept}", {"sql": cohort.query_sql, "fields": cohort.query_fields}


def _source(
    cohort: Cohort, instant: datetime, rounds: Mapping[str, behavioral.Round]
) -> tuple[Iterator[str], str, object]:
    """Return the ids, where they come from in words, and what they are made from."""
    if cohort.source_kind == SourceKind.RECEIVED:
        source = received.source_of(cohort)
        made_from = {name: value for name, value in source._asdict().items() if value != ""}
        return received.offered().members(source), received.offered().describe(source), made_from
    definition = parse(cohort.definition)
    if opened := rounds.get(cohort.events_workspace):
        ids = opened.members(definition, cohorts=published_members)
    else:
        ids = behavioral.members(
            definition, instant, cohorts=published_members, workspace=cohort.events_workspace
        )
    return ids, definition.sentence(), cohort.definition


def published_members(key: str) -> Iterator[str]:
    """Yield the members of another cohort's published version."""
    cohort = Cohort.objects.filter(key=key).first()
    if cohort is None:
        raise refresh.RefreshError(
            f"It refers to a cohort that is gone: there is no cohort {key!r} any more."
        )
    if cohort.version == 0:
        raise refresh.RefreshError(f"It refers to {cohort.name}, which is not calculated yet.")
    if cohort.source_kind in CALCULATED and cohort.calculation_error and not cohort.held_number:
        raise refresh.RefreshError(
            f"It refers to {cohort.name}, which could not be calculated: {cohort.calculation_error}"
        )
    return members.in_version(cohort.pk, cohort.version)


def _note(cohort: Cohort, error: str) -> None:
    failed_at = Now() if error else None
    Cohort.objects.filter(pk=cohort.pk).update(calculation_error=error, calculation_failed_at=failed_at)
