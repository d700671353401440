"""What the lists of cohorts, destinations and syncs say of sending, for a page of rows at once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_

from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Sum, Window
from django.db.models.functions import RowNumber
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from cohorts.models import Cohort
from destinations.models import Destination
from pagekit import lists
from pagekit.lists import Column
from syncs.admin import columns
from syncs.choices import RunState
from syncs.models import Batch, Run, Sync
from syncs.status.facts import held_there, last_runs
from syncs.status.state import RUN_TONES, Tone

# Destinations that a cohort's row names, and runs that a trend is of.
NAMED, RUNS = 3, 12
NOTHING = mark_safe("–")


def goes_to(cohorts: Sequence[Cohort]) -> dict[int, SafeString]:
    """Return where each cohort goes: the first destinations by name, and how many more. One query."""
    live = Sync.objects.filter(cohort__in=[cohort.pk for cohort in cohorts], archived_at=None)
    ranked = live.annotate(
        rank=Window(RowNumber(), partition_by="cohort", order_by=F("destination__name").asc()),
        number=Window(Count("pk"), partition_by="cohort"),
    )
    found: dict[int, list[SafeString]] = defaultdict(list)
    for sync in ranked.filter(rank__lte=NAMED).select_related("destination").order_by("cohort", "rank"):
        names, number = found[sync.cohort_id], vars(sync)["number"]
        names.append(columns.link(columns.sync_url(sync.pk), sync.destination))
        if len(names) == NAMED < number:
            names.append(format_html("{} more", number - NAMED))
    return {cohort.pk: _joined(found[cohort.pk]) for cohort in cohorts}


def users_there(destinations: Sequence[Destination]) -> dict[int, str]:
    """Return how many users each destination holds, by all its syncs. One query."""
    held = _live(destinations).annotate(held=held_there()).values("destination").annotate(users=Sum("held"))
    found = {row["destination"]: row["users"] for row in held}
    return {one.pk: f"{found.get(one.pk, 0):,}" for one in destinations}


def health(destinations: Sequence[Destination]) -> dict[int, SafeString]:
    """Return how many of each destination's syncs failed when they ran last. One query."""
    ran = _live(destinations).annotate(state=Subquery(last_runs().values("state")[:1]))
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for row in ran.values("destination", "state").annotate(number=Count("pk")):
        found[row["destination"]][row["state"]] = row["number"]
    return {one.pk: _health(found[one.pk]) for one in destinations}


def _health(states: dict[str, int]) -> SafeString:
    syncs, failed = sum(states.values()), states.get(RunState.FAILED, 0)
    if not syncs:
        return NOTHING
    if failed:
        return columns.label(f"{failed} of {syncs} failed", Tone.BAD)
    return columns.label("1 sync, well" if syncs == 1 else f"{syncs} syncs, well", Tone.GOOD)


def latencies(destinations: Sequence[Destination]) -> dict[int, str]:
    """Return how quickly each destination answered the latest request of its latest run. Two queries."""
    ran = _live(destinations).annotate(run=Subquery(last_runs().values("pk")[:1]))
    runs = {row["last"]: row["destination"] for row in ran.values("destination").annotate(last=Max("run"))}
    answered = Batch.objects.filter(run=OuterRef("pk"), latency_ms__isnull=False).order_by("-pk")
    asked = Run.objects.filter(pk__in=[run for run in runs if run])
    timed = asked.annotate(ms=Subquery(answered.values("latency_ms")[:1])).values_list("pk", "ms")
    found = {runs[pk]: ms for pk, ms in timed if ms is not None}
    return {one.pk: f"{found[one.pk]:,} ms" if one.pk in found else "–" for one in destinations}


def trends(syncs: Sequence[Sync]) -> dict[int, SafeString]:
    """Return how each sync's latest runs fared, the oldest first. Two queries, by the index on sync."""
    keys = [sync.pk for sync in syncs]
    nth = Subquery(last_runs().values("pk")[RUNS - 1 : RUNS])
    begins = Sync.objects.filter(pk__in=keys).annotate(nth=nth).values_list("pk", "nth")
    of_each = [Q(sync=pk, pk__gte=first or 0) for pk, first in begins]
    found: dict[int, list[str]] = defaultdict(list)
    if of_each:
        latest = Run.objects.filter(reduce(or_, of_each)).order_by("pk")
        for sync, state in latest.values_list("sync", "state"):
            found[sync].append(state)
    return {key: _strip(found[key][-RUNS:]) for key in keys}


def _strip(states: Sequence[str]) -> SafeString:
    """Return a bar a run, coloured by how it ended, and the same in words."""
    if not states:
        return NOTHING
    failed, number = sum(state == RunState.FAILED for state in states), len(states)
    said = (
        f"{failed} of the last {number} runs failed" if failed else f"None of the last {number} runs failed"
    )
    bars = format_html_join(
        "",
        '<rect class="cs-strip-{}" x="{}" y="0" width="7" height="18"/>',
        ((RUN_TONES[RunState(state)].value, 10 * n) for n, state in enumerate(states)),
    )
    return format_html(
        '<svg class="cs-fared" viewBox="0 0 {} 18" role="img" aria-label="{}"><title>{}</title>{}</svg>',
        10 * RUNS, said, said, bars,
    )  # fmt: skip


def _live(destinations: Sequence[Destination]) -> QuerySet[Sync]:
    return Sync.objects.filter(destination__in=[one.pk for one in destinations], archived_at=None).order_by()


def _joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join(", ", "{}", ((part,) for part in parts)) or NOTHING


lists.add(Cohort, Column("goes_to", "Goes to", goes_to))
lists.add(Destination, Column("users_there", "Users there", users_there))
lists.add(Destination, Column("health", "Last runs", health))
lists.add(Destination, Column("latency", "Time to answer", latencies))
