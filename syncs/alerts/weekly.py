"""What happened in a week, in a few lines."""

from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum

from syncs.alerts.links import overview
from syncs.alerts.vendors import Message
from syncs.choices import RunState, Severity
from syncs.models import Run, Sync
from syncs.status.attention import needing

WEEK = timedelta(days=7)
MOST = 10


def summary(now: datetime) -> Message:
    ended = Run.objects.filter(finished_at__gt=now - WEEK, finished_at__lte=now)
    found = ended.aggregate(
        runs=Count("pk"),
        well=Count("pk", filter=Q(state=RunState.SUCCEEDED)),
        partly=Count("pk", filter=Q(state=RunState.PARTIAL)),
        failed=Count("pk", filter=Q(state=RunState.FAILED)),
        added=Sum("added"),
        removed=Sum("removed"),
    )
    waiting = needing(Sync.objects.select_related("cohort", "destination"), now)
    names = [str(sync) for sync in waiting.order_by("pk")[:MOST]]
    more = waiting.count() - len(names)
    lines = [
        f"{found['runs']:,} runs ended: {found['well']:,} succeeded, {found['partly']:,} partly, "
        f"{found['failed']:,} failed.",
        f"{found['added'] or 0:,} users were added at partners, {found['removed'] or 0:,} removed.",
        f"Needs somebody now: {', '.join(names)}{f' and {more:,} more' if more else ''}."
        if names
        else "Nothing needs anybody now.",
    ]
    title = "Cohort Sync: the last seven days"
    return Message(title, tuple(lines), "weekly", Severity.INFO, now, url=overview())
