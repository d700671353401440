"""What people are told: once when a sync begins to need them, and once when it is well again.

What each sync needs people for is compared with the last notification; an Alert is written with the change.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from syncs.alert_models import AlertChannel
from syncs.alerts.routing import channels_of, route
from syncs.choices import OPEN_RUNS, AlertKind
from syncs.models import Alert, Sync
from syncs.status.attention import PATIENCE, with_need
from syncs.status.attention import of as attention_of
from syncs.status.facts import facts_of
from syncs.status.state import Facts


def tell_changes(now: datetime) -> list[Alert]:
    """Write an alert for each sync that needs people for something else than they were last notified of."""
    changed = list(_changed(now))
    channels = channels_of() if changed else []
    return [alert for one in changed if (alert := _tell(*one, channels))]


def _tell(sync: Sync, kind: str, sentence: str, channels: Sequence[AlertChannel]) -> Alert | None:
    with transaction.atomic():
        if not Sync.objects.note_alerted(sync.pk, before=sync.alerted, now=kind):
            return None
        kind = kind or AlertKind.RECOVERED
        alert = Alert.objects.create(sync=sync, kind=kind, was=sync.alerted, sentence=sentence)
        route([alert], channels)
        return alert


def _changed(now: datetime) -> Iterator[tuple[Sync, str, str]]:
    """Yield the syncs whose need is another than the last notified, with the alert's kind and sentence."""
    watched: QuerySet[Any] = with_need(Sync.objects.all(), now)
    syncs = watched.exclude(need="", alerted="").select_related("cohort", "destination__driver")
    by_key = {sync.pk: sync for sync in syncs}
    for pk, facts in facts_of(by_key.values(), now).items():
        attention = attention_of(facts)
        kind = attention.alert if attention else ""
        if kind != by_key[pk].alerted and not _is_under_way_again(by_key[pk], facts, kind):
            yield by_key[pk], kind, attention.sentence if attention else "All is well again."


def _is_under_way_again(sync: Sync, facts: Facts, kind: str) -> bool:
    """A run that has waited for hours and goes on now may have to wait again: that is no recovery yet."""
    late = facts.run and facts.run.state in OPEN_RUNS and facts.run.made_at < facts.now - PATIENCE
    return kind == "" and sync.alerted == AlertKind.FAILING and bool(late)


def tell_of_site(worries: Mapping[str, str], proposed: Mapping[str, str] | None = None) -> list[Alert]:
    """Write an alert for each worry about the site that is new, and for each that is over.

    `worries`, and `proposed`, what waits for a second person: sentences, by what they are about.

    One process at a time shall call it: nothing else keeps two from telling the same.
    """
    last: dict[str, str] = {}
    for about, kind in Alert.objects.filter(sync=None).order_by("pk").values_list("about", "kind"):
        last[about] = kind
    notified = {about: kind for about, kind in last.items() if kind != AlertKind.RECOVERED}
    now = {AlertKind.SILENT: worries, AlertKind.PROPOSED: proposed or {}}
    made = [
        Alert(about=about, kind=kind, sentence=sentence)
        for kind, found in now.items()
        for about, sentence in found.items()
        if about not in notified
    ]
    made += [
        Alert(about=about, kind=AlertKind.RECOVERED, was=kind, sentence=_over(about, kind))
        for about, kind in sorted(notified.items())
        if about not in now[AlertKind(kind)]
    ]
    with transaction.atomic():
        written = Alert.objects.bulk_create(made)
        route(written, channels_of() if written else [])
    return written


def _over(about: str, kind: str) -> str:
    if kind == AlertKind.PROPOSED:
        return f"It waits no longer: {about}."
    return f"All is well again with: {about}."
