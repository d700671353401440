"""Silence is visible: work without a worker, events that nobody takes in, a source that went quiet."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import ScheduleKind, SourceKind, UploadState
from cohorts.models import Cohort, CohortVersion, Upload
from cohortsite import heartbeat, metrics, silence, silence_panel, tokens
from cohortsite.models import ApiToken
from events import arrivals, catalogue, inserting, spool
from events.models import CatalogueEntry, EventFile, EventUpload
from events.models import UploadState as FileState
from events.store import Folders
from people.models import ProfileImport
from receiving.models import Workspace
from syncs import alerts
from syncs.choices import Trigger
from syncs.models import Alert, Comparison, Run
from tests import world

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _settings(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    cache.clear()


def kinds() -> list[str]:
    return [worry.kind for worry in silence.worries(timezone.now())]


def overview() -> str:
    client = Client()
    client.force_login(User.objects.create_superuser(f"root{User.objects.count()}"))
    return client.get("/admin/").content.decode()


def waiting_run() -> Run:
    sync = world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    run = Run.objects.create(sync=sync, trigger=Trigger.PERSON, from_version=0, to_version=1)
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    return run


# --- the worker ---------------------------------------------------------------------------------


def test_a_run_that_waits_while_there_is_no_worker__is_said_everywhere() -> None:
    waiting_run()
    assert kinds() == ["worker"]
    page = overview()
    assert "There is no worker, and there wait: 1 run." in page
    assert "Nothing waits for you" not in page
    health = Client().get("/healthz")
    assert (health.status_code, health.json()["status"]) == (200, "no worker")
    assert health.json()["waiting_for_a_worker"] == "1 run"
    found = {s.labels["what"]: s.value for s in next(iter(metrics.silences(timezone.now()))).samples}
    assert found == {"broker": 0, "worker": 1, "spool": 0, "upload": 0, "source": 0, "window": 0, "token": 0}


def test_with_a_worker_that_lives__a_run_that_waits_is_nothing_to_tell() -> None:
    waiting_run()
    cache.set(heartbeat.KEY, timezone.now().timestamp())
    assert kinds() == []
    assert Client().get("/healthz").json()["status"] == "ok"
    cache.set(heartbeat.KEY, timezone.now().timestamp() - 300)
    [worry] = silence.worries(timezone.now())
    assert worry.sentence.replace("\xa0", " ").startswith("The last sign of a worker was 5 minutes ago")


def test_without_work_no_worker_is_needed() -> None:
    world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    assert kinds() == []


# --- alerts -------------------------------------------------------------------------------------


def test_people_are_reported_once_and_once_when_it_is_over(settings: Any) -> None:
    settings.ALERT_EMAILS = ["ann@example.com"]
    run = waiting_run()
    for _ in range(2):
        cache.delete("silence.tell")
        silence.tell()
    assert list(Alert.objects.values_list("kind", "about")) == [("silent", "worker")]
    run.delete()
    for _ in range(2):
        cache.delete("silence.tell")
        silence.tell()
    assert list(Alert.objects.order_by("pk").values_list("kind", flat=True)) == ["silent", "recovered"]
    assert alerts.send_waiting(timezone.now()) == 2
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/admin/syncs/alert/").content.decode()
    assert "This site" in page and "there wait: 1 run" in page


# --- events that are not taken in ---------------------------------------------------------------


def spooled() -> None:
    at = timezone.now().isoformat()
    spool.append("shop", [{"user_id": "u", "event": "e", "time": at, "properties": {}}])


def spooled_an_hour_ago() -> None:
    [segment] = Folders("shop").spool.glob("*.jsonl")
    old = time.time() - 3_600
    os.utime(segment, (old, old))


def test_events_that_nobody_takes_in__are_a_worry_of_their_workspace() -> None:
    spooled()
    assert kinds() == []
    spooled_an_hour_ago()
    [worry] = silence.worries(timezone.now())
    assert (worry.kind, worry.key) == ("spool", "spool shop")
    assert silence.oldest_spooled(timezone.now()) > timedelta(minutes=59)


# --- sources that went quiet --------------------------------------------------------------------


def every(gap: timedelta, count: int) -> list[datetime]:
    return [datetime(2026, 1, 1, tzinfo=UTC) + number * gap for number in range(count)]


@pytest.mark.parametrize(
    ("times", "limit"),
    [
        (every(DAY, 7), None),  # too few to know
        (every(DAY, 30), 3 * DAY),
        (every(7 * DAY, 8), 21 * DAY),
        (every(HOUR, 300), timedelta(hours=6)),
        (every(HOUR, 24), DAY),  # known for a day only: its nights are not
        (every(timedelta(seconds=1), 200), DAY),
    ],
)
def test_when_a_source_is_unusually_quiet__is_learned_from_its_own_past(
    times: list[datetime], limit: timedelta | None
) -> None:
    assert silence.limit_of(times) == limit


def daily_cohort(last: timedelta) -> Cohort:
    """A cohort that got a file each day for ten days, the last one so long ago."""
    cohort = world.cohort(["u1"], source_kind=SourceKind.UPLOAD, name="Buyers")
    CohortVersion.objects.all().delete()
    for number in range(10):
        made = CohortVersion.objects.create(cohort=cohort, number=number + 1, state="published", source="x")
        at = timezone.now() - last - (9 - number) * DAY
        CohortVersion.objects.filter(pk=made.pk).update(started_at=at)
    Cohort.objects.filter(pk=cohort.pk).update(published_at=timezone.now() - last)
    return cohort


def test_a_cohort_that_gets_no_members_for_unusually_long__is_a_hint(settings: Any) -> None:
    daily_cohort(2 * DAY)
    assert kinds() == []
    cache.clear()
    Cohort.objects.all().update(key="other")
    daily_cohort(4 * DAY)
    [worry] = silence.worries(timezone.now())
    assert worry.sentence.startswith("The cohort “Buyers” has got no members since ")
    settings.QUIET_SOURCES = False
    assert kinds() == []


def test_a_workspace_that_gets_no_events_for_unusually_long__is_a_hint() -> None:
    Folders("shop").make()
    for number in range(10):
        made = EventFile.objects.create(workspace="shop", kind="events", name=f"f{number}", rows=1, size=1)
        EventFile.objects.filter(pk=made.pk).update(created_at=timezone.now() - (number + 4) * DAY)
    [worry] = silence.worries(timezone.now())
    assert (worry.kind, worry.key) == ("source", "events shop")


def test_a_workspace_whose_events_are_inserted_elsewhere__is_a_hint_too(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENTS_INSERT = True
    counted: list[tuple[Any, ...]] = []

    class Tables:
        def workspaces(self) -> list[str]:
            return ["shop"]

        def counts(self, workspace: str) -> list[tuple[Any, ...]]:
            return counted

    for module in (catalogue, inserting):
        monkeypatch.setattr(module, "own_tables", lambda url: Tables())
    now = timezone.now()
    for number in [*range(10), 9]:  # the last count finds nothing new
        moment = now - (14 - number) * DAY
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        counted[:] = [("cart", "", number + 1, 0, 0, moment)]
        cache.delete("events.recounted")
        arrivals.recount_if_due()
    monkeypatch.undo()
    assert len(arrivals.arrivals_inserted("shop")) == 10
    assert not Folders("shop").root.exists()
    [worry] = silence.worries(now)
    assert (worry.kind, worry.key) == ("source", "events shop")


# --- events that no window reaches --------------------------------------------------------------


def carts(**values: Any) -> Cohort:
    where = {"performed": {"event": "cart", "window": {"last": "7d"}}}
    return Cohort.objects.create(
        key="carts",
        name="Carts",
        source_kind=SourceKind.BEHAVIORAL,
        definition={"version": 1, "where": where},
        **values,
    )


def seen(event: str, at: datetime) -> None:
    CatalogueEntry.objects.create(workspace="default", event=event, count=1, last_seen=at)


@pytest.mark.parametrize(("days", "worried"), [(3, []), (8, ["window carts"])])
def test_events_that_all_lie_before_the_windows_of_a_cohort__are_a_worry(
    days: int, worried: list[str]
) -> None:
    carts(schedule_kind=ScheduleKind.HOURLY)
    seen("cart", timezone.now() - days * DAY)
    seen("other", timezone.now())
    assert [worry.key for worry in silence.worries(timezone.now())] == worried


def test_a_cohort_that_is_calculated_by_hand__may_be_meant_as_of_another_time() -> None:
    carts()
    seen("cart", timezone.now() - 80 * DAY)
    assert kinds() == []


def test_events_of_the_future__are_a_worry_of_their_workspace() -> None:
    seen("cart", timezone.now() + 2 * DAY)
    [worry] = silence.worries(timezone.now())
    assert worry.key == "future default"


# --- files that were not imported ---------------------------------------------------------------


def failed_upload(cohort: Cohort) -> Upload:
    return Upload.objects.create(
        cohort=cohort, file="uploads/x.csv", original_name="week.csv", state=UploadState.FAILED,
        error="Line 3 has 2 columns.", finished_at=timezone.now(),
    )  # fmt: skip


def test_a_file_that_was_not_imported__is_said_until_members_come_in_another_way() -> None:
    cohort = world.cohort(["u1"])
    world.sync(cohort, world.destination("http://127.0.0.1:9"))
    failed_upload(cohort)
    [worry] = silence.worries(timezone.now())
    assert (worry.kind, worry.sentence) == (
        "upload",
        f"The file week.csv for “{cohort.name}” was not imported: Line 3 has 2 columns.",
    )
    assert "week.csv" in overview()
    Upload.objects.create(cohort=cohort, file="uploads/y.csv", original_name="y.csv", state=UploadState.DONE)
    assert kinds() == []
    Upload.objects.exclude(state=UploadState.FAILED).delete()
    assert kinds() == ["upload"]
    world.fill(cohort, ["u1", "u2"])
    assert kinds() == []
    failed_upload(cohort)
    assert silence.worries(timezone.now() + 8 * DAY) == []


def test_a_file_of_events_that_was_not_imported__is_said_until_another_one_comes() -> None:
    failed = {"workspace": "shop", "by": "ann", "started_at": timezone.now(), "said": "It is a PDF."}
    EventUpload.objects.create(key="1", name="week.csv", state=FileState.FAILED, **failed)
    [worry] = silence.worries(timezone.now())
    assert (worry.kind, worry.sentence) == (
        "upload",
        "The file of events week.csv for “shop” was not imported: It is a PDF.",
    )
    assert silence.worries(timezone.now() + 8 * DAY) == []
    EventUpload.objects.create(key="2", name="y.csv", state=FileState.LOOKED, workspace="shop", by="ann")
    assert kinds() == []


def test_files_that_quote_somebody_are_said_without_it() -> None:
    failed = {"source": "people.csv", "state": "failed", "error": "email 'ada.example.com' has no @."}
    ProfileImport.objects.create(workspace="shop", finished_at=timezone.now(), **failed)
    cohort = world.cohort(["u1"])
    failed_upload(cohort)
    Upload.objects.update(fields={"workspace": "shop"}, error="email 'ada.example.com' has no @.")
    said = [worry.sentence for worry in silence.worries(timezone.now())]
    assert said[1] == "The file of profiles people.csv for “shop” was not imported: its page says why."
    assert said[0].endswith("was not imported: its page says why.")
    ProfileImport.objects.create(workspace="shop", source="better.csv", state="done")
    assert len(silence.worries(timezone.now())) == 1


def test_files_of_events_and_comparisons_wait_for_a_worker_too() -> None:
    cohort = world.cohort(["u1"])
    Comparison.objects.create(
        sync=world.sync(cohort, world.destination("http://127.0.0.1:9")), trigger="person"
    )
    EventUpload.objects.create(key="1", name="x.csv", workspace="shop", by="ann")
    ProfileImport.objects.create(workspace="shop", source="p.csv")
    assert silence.waiting_for_worker(timezone.now()) == ""
    later = timezone.now() + 2 * silence.WAITS
    assert silence.waiting_for_worker(later) == "2 uploads, 1 comparison"


def test_what_is_too_quiet_about_a_cohort_or_a_workspace__stands_on_its_page() -> None:
    definition = {"version": 1, "where": {"performed": {"event": "e"}}}
    calculated = world.cohort(
        source_kind="behavioral", key="calculated", events_workspace="shop", definition=definition
    )
    other = world.cohort(["u1"], key="other")
    daily_cohort(4 * DAY)
    given = Cohort.objects.latest("pk")
    workspace = Workspace.objects.create(slug="shop")
    spooled()
    spooled_an_hour_ago()
    silence.worries(timezone.now())  # as the worker looks
    client = Client()
    client.force_login(User.objects.create_superuser("root"))

    def page(row: Any) -> str:
        url = reverse("admin:receiving_workspace_change", args=[row.pk])
        url = row.get_absolute_url() if isinstance(row, Cohort) else url
        return client.get(url).content.decode()

    for row in (calculated, workspace):
        assert "are not taken in yet" in page(row)
    assert "has got no members since" in page(given)
    assert silence_panel.silence_of(HttpRequest(), other) is None and "Look at this" not in page(other)


def test_a_token_in_use_that_ends_soon_is_a_worry_until_it_is_revoked() -> None:
    now = timezone.now()
    ann = User.objects.create(username="ann", is_staff=True)

    def token(name: str, days: int, used: int | None) -> ApiToken:
        made, _ = tokens.create(ann, name, expires_at=now + timedelta(days=days))
        ApiToken.objects.update_or_create(
            pk=made.pk, defaults={"last_used_at": None if used is None else now - timedelta(days=used)}
        )
        return made

    soon, gone = token("airflow", 13, 1), token("dbt", -6, 7)
    token("later", 15, 1)
    token("idle", 13, 31)
    token("never used", 13, None)
    token("long gone", -8, 9)
    assert kinds() == ["token", "token"]
    first, second = (worry.sentence for worry in silence.worries(timezone.now()))
    assert "The API token “dbt”" in first and "of ann, which is in use, expired on" in first
    assert "The API token “airflow”" in second and "of ann, which is in use, expires on" in second
    # The overview of an empty site says how to begin.
    world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    assert "The API token “airflow”" in overview()
    client = Client()
    client.force_login(ann)
    rows = {"action": "revoke_selected", "_selected_action": [soon.pk, gone.pk]}
    client.post("/admin/cohortsite/apitoken/", rows)
    assert kinds() == []
