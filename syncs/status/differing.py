"""Syncs whose partner, read back by a schedule, was not equal, and was not put right since."""

from django.db.models import Case, DateTimeField, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce

from syncs.choices import CompareState, RunMode, RunState, Trigger
from syncs.models import Comparison, Run

DIFFERS = Q(missing__gt=0) | Q(strangers__gt=0) | Q(odd__gt=0)
# What a repair leaves where it is.
STAYS = Q(strangers__gt=0, removes_strangers=False) | Q(odd__gt=0)


def subqueries() -> dict[str, Subquery]:
    """Return, for an annotation of syncs, what their last comparison found.

    `differs_at`: when, if it asks for a person; NULL for all others. `differs_missing`, `differs_strangers`.
    A comparison that a person asked for is looked at by them.
    """
    repair = Run.objects.filter(comparison=OuterRef("pk"), mode=RunMode.REPAIR).order_by("-pk")
    done = (
        Comparison.objects.filter(sync=OuterRef("pk"), state=CompareState.DONE)
        .order_by("-pk")
        .annotate(repaired=Coalesce(Subquery(repair.values("state")[:1]), Value("")))
    )
    open_still = Q(trigger=Trigger.SCHEDULE) & DIFFERS & (STAYS | ~Q(repaired=RunState.SUCCEEDED))
    at = Case(When(open_still, then=F("finished_at")), output_field=DateTimeField())
    return {
        "differs_at": Subquery(done.annotate(at=at).values("at")[:1]),
        "differs_missing": Subquery(done.values("missing")[:1]),
        "differs_strangers": Subquery(done.annotate(all=F("strangers") + F("odd")).values("all")[:1]),
    }
