"""Forgetting what nobody will ask for again: membership of old versions; old runs, alerts and comparisons."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from cohorts import prune as cohort_prune
from cohorts.models import Cohort
from syncs import links
from syncs.choices import OPEN_RUNS, RunState
from syncs.models import Alert, Attempt, Batch, Comparison, Rejection, Run, Sync

# Runs deleted at a time; a run of a million users has a thousand batches.
RUNS = 20


@dataclass(frozen=True)
class Pruned:
    """How many rows went; `intervals` are those of membership."""

    intervals: int
    runs: int


def prune(*, before: datetime) -> Pruned:
    """Delete history that is older than `before` and that no sync needs; return what went."""
    intervals = 0
    for cohort in Cohort.every.filter(version__gt=1):
        intervals += cohort_prune.prune(cohort.pk, floor=floor_of(cohort), before=before)
        if cohort.projection_of_id:
            cohort.refresh_from_db(fields=["readable_from"])
            links.drop_ended(cohort.pk, cohort.readable_from)
    links.drop_ownerless()
    # What people were told of a sync last is on the sync; a worry about the site that still is, is told anew.
    Alert.objects.filter(created_at__lt=before).delete()
    prunable_comparisons(before).delete()
    return Pruned(intervals, _prune_runs(before))


def prunable_comparisons(before: datetime) -> QuerySet[Comparison]:
    """Old ones; the last of each sync stays, and what an open run puts right."""
    later = Comparison.objects.filter(sync=OuterRef("sync"), pk__gt=OuterRef("pk"))
    old = Comparison.objects.filter(Exists(later), finished_at__lt=before)
    return old.exclude(repair_runs__state__in=OPEN_RUNS)


def floor_of(cohort: Cohort) -> int:
    """Return the oldest version of a cohort with which somebody may still have to compare.

    The least of the published version (a held one is compared with it), the settled version of each
    sync, and where each open or failed run began. A sync or run that begins with nothing counts only
    when it is dirty, and then keeps everything: whoever was in any version may be at the partner. A sync
    with a projection compares versions of that; and the projection, the version that it is made of.
    """
    mine = Q(cohort=cohort, projection=None) | Q(projection=cohort)
    syncs = Sync.objects.filter(mine).exclude(settled_version=0, dirty=False)
    pinned = Sync.objects.filter(cohort=cohort, pinned_version__isnull=False)
    runs = Run.objects.filter(sync__in=Sync.objects.filter(mine), state__in=[*OPEN_RUNS, RunState.FAILED])
    made_of = Cohort.every.filter(projection_of=cohort, projected_version__gt=0)
    return min(
        cohort.version,
        *made_of.values_list("projected_version", flat=True),
        *syncs.values_list("settled_version", flat=True),
        *_repeated(syncs),
        *_repeated(runs),
        *(version for version in pinned.values_list("pinned_version", flat=True) if version is not None),
        *runs.exclude(from_version=0, from_dirty=False).values_list("from_version", flat=True),
        cohort.version,
    )


def _repeated(rows: QuerySet[Sync] | QuerySet[Run]) -> list[int]:
    """Return the versions after which syncs or runs send everybody who moved once more."""
    found = rows.filter(repeat_from__isnull=False).values_list("repeat_from", flat=True)
    return [version for version in found if version is not None]


def prunable_runs(before: datetime) -> QuerySet[Run]:
    """Runs that ended before a moment, but not a sync's last, nor one that a rejection names."""
    later = Run.objects.filter(sync=OuterRef("sync"), pk__gt=OuterRef("pk"))
    named = Rejection.objects.filter(run=OuterRef("pk"))
    ended = Run.objects.filter(finished_at__lt=before).exclude(state__in=OPEN_RUNS)
    return ended.filter(Exists(later), ~Exists(named))


def _prune_runs(before: datetime) -> int:
    gone = 0
    while page := list(prunable_runs(before).order_by("pk").values_list("pk", flat=True)[:RUNS]):
        Attempt.objects.filter(batch__run__in=page).delete()
        Batch.objects.filter(run__in=page).delete()
        gone += Run.objects.filter(pk__in=page).delete()[1].get("syncs.Run", 0)
    return gone
