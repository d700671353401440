"""Whether a sync needs a person is answered once: state, alerts, list, overview and /metrics agree."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import ScheduleKind, SourceKind
from cohorts.models import Cohort
from cohortsite import dashboard, metrics
from destinations.models import Destination
from syncs import alerts
from syncs.choices import AlertKind, CompareState, RunMode, RunState, Trigger
from syncs.models import Alert, Comparison, Driver, Run, Sync
from syncs.status import attention
from syncs.status.attention import RULES, Need, needing, of, with_need
from syncs.status.facts import facts_of
from tests import world

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ENDED = [RunState.SUCCEEDED, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED]


def draw(count: int, seed: int, now: datetime) -> None:
    """Make syncs in all kinds of states, each with its own cohort and destination."""
    chance = random.Random(seed)

    def when(*ages: timedelta) -> datetime | None:
        return chance.choice([None, *(now - age for age in ages)])

    hours, minutes = timedelta(hours=1), timedelta(minutes=1)
    for number in range(count):
        kind = chance.choice(list(SourceKind))
        cohort = Cohort.objects.create(
            key=f"c{number}",
            name=f"C{number}",
            source_kind=kind,
            version=chance.choice([0, 1, 2]),
            last_number=3,
            held_number=chance.choice([None, None, None, 3]),
            calculation_error=chance.choice(["", "", "", "No such table."]),
            next_due_at=when(-hours, 5 * minutes, 2 * hours),
        )
        destination = Destination.from_preset("amplitude-list")
        destination.name, destination.base_url = f"d{number}", "https://partner.example"
        destination.paused_at = chance.choice([None] * 4 + [now])
        destination.save()
        if chance.random() < 0.7:
            Driver.objects.create(
                destination=destination,
                until=when(hours, -hours),
                next_at=when(hours, -hours),
                opened=chance.choice([0, 0, 1]),
            )
        sync = Sync.objects.create(
            cohort=cohort,
            destination=destination,
            enabled=chance.random() < 0.85,
            archived_at=chance.choice([None] * 4 + [now]),
            schedule_kind=chance.choice([*ScheduleKind, *[ScheduleKind.ONCE] * 4]),
            next_due_at=when(-hours, 5 * minutes, 2 * hours),
            settled_version=chance.choice([0, 1]),
            dirty=chance.random() < 0.1,
            runs_done=chance.choice([0, 0, 3]),
            pinned_version=1 if number % 9 < 2 else None,
            pinned_at={0: now - timedelta(days=8), 1: now - hours}.get(number % 9),
        )
        if number % 7 < 4:  # with the two halves of what a repair may leave
            Comparison.objects.create(
                sync=sync,
                trigger=[Trigger.SCHEDULE, Trigger.PERSON][number % 14 > 10],
                state=CompareState.DONE,
                missing=[0, 1][number % 7 < 3],
                strangers=[0, 2][number % 3 == 0],
                finished_at=now,
            )
        states = [chance.choice(ENDED) for _ in range(chance.choice([0, 1, 2]))]
        states = [] if number % 5 == 0 else [*states, chance.choice([*RunState, *[RunState.PENDING] * 3])]
        for state in states:
            run = Run.objects.create(
                sync=sync,
                mode=chance.choice(list(RunMode)),
                trigger="person",
                from_version=0,
                to_version=1,
                state=state,
                reopened=chance.random() < 0.2,
                started_at=chance.choice([None, now]),
                finished_at=now if state in ENDED else None,
            )
            Run.objects.filter(pk=run.pk).update(created_at=now - chance.choice([1, 30, 500]) * minutes)


@pytest.fixture
def drawn() -> dict[int, str]:
    """What each of 400 drawn syncs needs a person for, by the value."""
    now = timezone.now()
    draw(400, seed=20, now=now)
    syncs = Sync.objects.select_related("cohort", "destination__driver")
    found = {pk: of(facts) for pk, facts in facts_of(syncs, now).items()}
    return {pk: needed.need if needed else "" for pk, needed in found.items()}


def test_every_rule_holds_for_some_drawn_sync(drawn: dict[int, str]) -> None:
    assert {need for need in drawn.values() if need} == set(Need)
    assert [rule.need for rule in RULES] == list(Need), "the most urgent first, each once"


def test_the_query_says_what_the_value_says(drawn: dict[int, str]) -> None:
    found: Any = with_need(Sync.objects.all(), timezone.now())
    assert dict(found.values_list("pk", "need")) == drawn
    assert set(needing(Sync.objects.all(), timezone.now())) == set(
        Sync.objects.filter(pk__in=[pk for pk, need in drawn.items() if need])
    )


def test_alerts_tell_of_just_those(drawn: dict[int, str]) -> None:
    alerts.tell_changes(timezone.now())
    kinds = {rule.need.value: rule.alert.value for rule in RULES}
    expected = {pk: kinds[need] for pk, need in drawn.items() if need}
    assert dict(Alert.objects.values_list("sync", "kind")) == expected
    assert alerts.tell_changes(timezone.now()) == [], "once"


def test_the_list_shows_just_those(drawn: dict[int, str]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    url = reverse("admin:syncs_sync_changelist")
    shown = client.get(url, {"state": "attention", "all": ""}).context["cl"].queryset
    assert {sync.pk for sync in shown} == {pk for pk, need in drawn.items() if need}
    for need in Need:
        shown = client.get(url, {"state": f"attention-{need.value}"}).context["cl"].queryset
        assert {sync.pk for sync in shown} == {pk for pk, found in drawn.items() if found == need}


def test_the_overview_and_metrics_count_just_those(drawn: dict[int, str]) -> None:
    def number(need: str) -> int:
        return sum(found == need for found in drawn.values())

    rows = {need.words: need for need in dashboard._needs(timezone.now())[0]}
    for need, words in dashboard.NEEDS.items():
        assert rows[words[number(need) != 1]].number == f"{number(need):,}"
    # Each of the drawn ones has a destination of its own.
    assert rows["destinations paused"].number == f"{number(Need.PAUSED)}"
    assert set(dashboard.NEEDS) | {Need.PAUSED} == set(Need)
    found = {sample.labels["need"]: sample.value for sample in metrics.needs(timezone.now()).samples}
    assert found == {need.value: number(need) for need in Need}


def test_each_need_has_a_kind_of_alert_that_is_not_all_clear() -> None:
    assert {rule.alert for rule in attention.RULES} == set(AlertKind) - {
        AlertKind.RECOVERED,
        AlertKind.SILENT,
        AlertKind.PROPOSED,  # of a change, not of a sync
    }


def test_a_run_that_was_interrupted__waits_for_its_worker_without_an_alarm() -> None:
    """A worker that is started anew looks for what to tell before it takes the run up."""
    sync = world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    run = Run.objects.create(
        sync=sync, trigger="schedule", from_version=0, to_version=1, started_at=timezone.now()
    )
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(hours=1))
    assert alerts.tell_changes(timezone.now()) == []
    Run.objects.filter(pk=run.pk).update(started_at=None)
    assert [alert.kind for alert in alerts.tell_changes(timezone.now())] == [AlertKind.UNATTENDED]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite compiles nothing.")
def test_the_question_is_not_compiled_for_seconds_before_it_runs_a_millisecond() -> None:
    asked = with_need(Sync.objects.all(), timezone.now()).exclude(Q(need="", alerted=""))
    assert "JIT" not in asked.explain(analyze=True)
