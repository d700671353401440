"""What is kept, for how long, and what a pruning takes: the page says it, and `prune_history` does it."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohorts.models import Preview, Upload
from cohortsite import pruning, retention
from events import spool
from events.models import Correction, EventFile
from people.models import ProfileImport
from receiving.models import RequestLog, SeenMessage, UserTrait, Workspace
from syncs.models import Alert, Comparison, Run
from tests import world

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=400)


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    settings.EVENTS_DIR, settings.MEDIA_ROOT = tmp_path / "events", tmp_path / "media"


def make(number: int, admin_user) -> None:
    """One of each kind, long ago."""
    then = timezone.now() - LONG_AGO
    workspace = Workspace.objects.create(slug=f"shop{number}", log_days=14 + number)
    entry = {"method": "POST", "path": "/lists", "duration_ms": 1, "status": 200, "stored_bytes": 1_000_000}
    RequestLog.objects.create(workspace=workspace, received_at=then, **entry)
    SeenMessage.objects.create(workspace_id=workspace.pk, message="m", seen_at=then)
    UserTrait.objects.create(trait_id=number, user_id="u", value="1", time=1)
    sync = world.sync(
        world.cohort(["a", "b", "c"]), world.destination("http://127.0.0.1:9", name=f"d{number}")
    )
    for _ in range(2):
        run = Run.objects.create(sync=sync, trigger="person", from_version=0, to_version=1, state="succeeded")
        Run.objects.filter(pk=run.pk).update(finished_at=then, created_at=then)
        compared = Comparison.objects.create(sync=sync, trigger="person", state="done")
        Comparison.objects.filter(pk=compared.pk).update(finished_at=then, created_at=then)
    world.fill(sync.cohort, ["a"])
    sync.cohort.versions.update(finished_at=then, started_at=then)
    Alert.objects.filter(pk=Alert.objects.create(sync=sync, kind="failing", sentence="x").pk).update(
        created_at=then
    )
    for model, more in (
        (Upload, {"cohort": sync.cohort, "original_name": "a.csv"}),
        (ProfileImport, {"workspace": "shop", "source": "a.csv"}),
    ):
        failed = model.objects.create(state="failed", file=ContentFile(b"u1\n", name="a.csv"), **more)
        model.objects.filter(pk=failed.pk).update(created_at=then)
    preview = Preview.objects.create(source_kind="query", events_workspace="x", created_by=admin_user)
    Preview.objects.filter(pk=preview.pk).update(created_at=then)
    EventFile.objects.create(
        workspace="shop", kind="events", name=f"f{number}", rows=7, size=2_000_000, state="listed"
    )
    EventFile.objects.create(
        workspace="shop", kind="events", name=f"g{number}", rows=7, size=9, state="retired", retired_at=then
    )


def by_name() -> dict[str, retention.Kept]:
    return {one.what: one for one in retention.kept(timezone.now())}


def test_an_empty_site_keeps_nothing_and_takes_nothing(db):
    found = by_name()
    assert found["Events"].holds == "0 events, 0 bytes in 0 files"
    assert {one.takes for one in found.values()} == {""}
    # The migrations' own records may be there.
    assert {one.oldest for name, one in found.items() if not name.startswith("Changes")} == {None}


def test_it_says_what_there_is_what_the_settings_say_and_what_goes(admin_user, settings):
    make(1, admin_user)
    settings.EVENTS_HISTORY_DAYS = 365
    found = by_name()
    said = {name: (one.holds, one.takes) for name, one in found.items() if one.takes}
    assert said["Replaced files of events"] == ("1 file, 9 bytes", "1 file.")
    assert said["Request log"] == ("1 call, bodies of 976.6 KB", "1 call beyond the days.")
    assert said["Message ids"] == ("1 id", "1 id.")
    assert said["Runs and batches"] == ("2 runs", "1 run with their batches.")
    assert said["Old versions of cohorts"] == ("2 intervals of membership that ended", "At most 2 intervals.")
    assert said["Comparisons with partners"] == (
        "2 comparisons",
        "1 comparison with the users that differed.",
    )
    assert said["Alerts"] == ("1 alert", "1 alert.")
    assert said["Uploaded files"] == ("0 files that wait, 2 files that failed", "2 failed files, 1 preview.")
    assert said["Events"][0] == "7 events, 1.9 MB in 1 file" and "Those before " in said["Events"][1]
    assert "365 days" in found["Events"].rule and "90 days" in found["Alerts"].rule
    assert (timezone.now() - found["Request log"].oldest).days == LONG_AGO.days


def test_the_page_says_the_days_that_are_set(settings):
    assert by_name()["Alerts"].rule == "Kept for 90 days (HISTORY_DAYS)."
    settings.HISTORY_DAYS = 30
    assert by_name()["Alerts"].rule == "Kept for 30 days (HISTORY_DAYS)."


def test_what_failed_lately_is_kept_to_be_tried_again(admin_user):
    make(1, admin_user)
    Upload.objects.update(created_at=timezone.now())
    assert pruning.prune(timezone.now(), 90).uploads == 1
    assert [rows.count() for rows in pruning.failed_files()] == [1, 0]


def test_a_pruning_takes_what_the_page_said(admin_user):
    make(1, admin_user)
    kept = Upload.objects.create(
        cohort=world.cohort(), original_name="b.csv", state="failed", file=ContentFile(b"u1\n", name="b.csv")
    )
    out = StringIO()
    call_command("prune_history", "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert (said["runs"], said["intervals"], said["uploads"], said["previews"]) == (1, 2, 2, 1)
    assert (said["receiving"]["requests"], said["receiving"]["messages"], said["events"]) == (1, 1, 0)
    kept.refresh_from_db()
    assert kept.file.storage.exists(kept.file.name)
    # Files of events are removed by the worker, which knows that no query reads them.
    assert {one.what for one in retention.kept(timezone.now()) if one.takes} == {"Replaced files of events"}


def test_no_more_statements_for_more_of_everything(admin_user):
    def statements() -> int:
        with CaptureQueriesContext(connection) as caught:
            list(retention.kept(timezone.now()))
        return len(caught)

    make(1, admin_user)
    few = statements()
    for number in range(2, 6):
        make(number, admin_user)
    assert statements() == few <= 45


def test_what_is_beyond_counting_is_said_as_more_than(monkeypatch):
    monkeypatch.setattr(retention, "MOST", 2)
    world.fill(world.cohort([f"u{number}" for number in range(5)]), [])
    assert by_name()["Old versions of cohorts"].holds.startswith("more than 2 intervals")


def test_the_page_is_for_whoever_may_see_runs(admin_client, client, admin_user, django_user_model):
    make(1, admin_user)
    text = admin_client.get("/admin/retention/").content.decode()
    assert "Replaced files of events" in text and "2 failed files, 1 preview." in text
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    assert client.get("/admin/retention/").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_events_beyond_their_days_are_deleted(settings):
    call_command("prune_history", "--json", stdout=StringIO())
    settings.EVENTS_HISTORY_DAYS = 30
    for days in (1, 29, 31, 400):
        at = timezone.now() - timedelta(days=days)
        spool.append("default", [{"user_id": f"u{days}", "event": "play", "time": at.isoformat()}])
    for gone in (2, 0):
        out = StringIO()
        call_command("prune_history", "--json", stdout=out)
        assert json.loads(out.getvalue())["events"] == gone
    assert EventFile.objects.live("default", "events").aggregate(rows=Sum("rows"))["rows"] == 2


@pytest.mark.django_db(transaction=True)
def test_a_workspace_that_cannot_be_corrected_keeps_no_other_from_being_pruned(settings):
    settings.EVENTS_HISTORY_DAYS = 30
    for workspace in ("acme", "shop"):
        spool.append(workspace, [{"user_id": "u", "event": "play", "time": "2020-01-01"}])
    EventFile.objects.create(workspace="acme", kind="events", name="x", rows=1, size=1, state="damaged")
    with pytest.raises(CommandError, match=r"^All but events was pruned\. "):
        call_command("prune_history")
    assert [correction.workspace for correction in Correction.objects.all()] == ["shop"]


@pytest.mark.django_db(transaction=True)
def test_a_file_of_events_that_is_set_aside_is_said_and_all_else_is_pruned(settings, admin_user):
    settings.EVENTS_HISTORY_DAYS = 30
    make(1, admin_user)
    spool.append("default", [{"user_id": "u", "event": "play", "time": "2020-01-01"}])
    EventFile.objects.create(workspace="default", kind="events", name="x", rows=1, size=1, state="damaged")
    with pytest.raises(CommandError, match=r"^All but events was pruned\. "):
        call_command("prune_history")
    assert Run.objects.count() == 1
