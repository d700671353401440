"""Tasks of Celery: what waits is sent once, found again, and nothing of it depends on a message."""

from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.utils import timezone
from kombu.exceptions import OperationalError

from cohorts.choices import PreviewState, UploadState
from cohorts.models import Cohort, Preview, Upload
from cohortsite import heartbeat, worker
from events import arrivals, spool
from people.models import ProfileImport
from receiving.models import BodySearch, Workspace
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Run
from tests import world
from tests.brokers import tasks_on
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tasks(settings: Any, tmp_path: Any) -> Iterator[ModuleType]:
    """The tasks, on a broker in memory that has no message."""
    settings.MEDIA_ROOT = tmp_path / "uploads"
    settings.EVENTS_DIR = tmp_path / "events"
    module = tasks_on("memory://")
    with module.app.connection_or_acquire() as connection, connection.channel() as channel:
        for queue in module.app.amqp.queues.values():
            bound = queue(channel)
            bound.declare()
            bound.purge()
    cache.clear()
    yield module
    cache.clear()


def lengths(tasks: ModuleType) -> dict[str, int]:
    found = {name: tasks.length_of(name) for name in tasks.app.amqp.queues}
    return {name: length for name, length in found.items() if length}


def uploaded(cohort: Cohort, ids: str) -> Upload:
    upload = Upload(cohort=cohort, original_name="ids.csv")
    upload.file.save("ids.csv", ContentFile(ids))
    return upload


def due_cohort(key: str, **values: Any) -> Cohort:
    definition = {"version": 1, "where": {"performed": {"event": "cart", "window": {"last": "7d"}}}}
    given = {"source_kind": "behavioral", "definition": definition, "next_due_at": timezone.now()} | values
    return Cohort.objects.create(key=key, name=key, **given)


def did_a_cart(workspace: str) -> None:
    time = (timezone.now() - timedelta(hours=1)).isoformat()
    spool.append(workspace, [{"user_id": "u1", "event": "cart", "time": time, "properties": {}}])


def test_what_waits_has_a_task_on_its_queue_once(tasks: ModuleType) -> None:
    owner = User.objects.create_user("ann")
    for cohort in (world.cohort(), world.cohort()):
        uploaded(cohort, "a\nb\n")
    ProfileImport.objects.create(workspace="default", source="people.csv")
    due_cohort("carts")
    Preview.objects.create(source_kind="behavioral", events_workspace="w", created_by=owner)
    BodySearch.objects.create(workspace=Workspace.objects.create(slug="w"), user_id="u")
    with Partner() as partner:
        for _ in range(3):
            sync = world.sync(world.cohort(["u1"]), world.destination(partner.url))
            lifecycle.start(sync, trigger=Trigger.PERSON)
        waits = {"sending": 3, "importing": 3, "refreshing": 1, "previews": 1, "searches": 1}
        tasks.find_due()
        assert lengths(tasks) == waits | {"housekeeping": 1, "events": 1}
        tasks.find_due()
        assert lengths(tasks) == waits | {"housekeeping": 1, "events": 1}
    assert heartbeat.last_beat() is not None


def test_a_message_that_was_lost_is_sent_again(tasks: ModuleType, monkeypatch: Any) -> None:
    uploaded(world.cohort(), "a\n")
    monkeypatch.setattr(tasks, "AGAIN", 0.0)
    tasks.find_due()
    tasks.find_due()
    assert lengths(tasks)["importing"] == 2


def test_what_came_up_while_a_task_ended_is_found_at_the_next_look(tasks: ModuleType) -> None:
    cohort = world.cohort()
    uploaded(cohort, "a\n")
    tasks.find_due()
    # What a worker does with the message.
    tasks.import_members.apply((cohort.key,))
    assert Upload.objects.get().state == UploadState.DONE
    uploaded(cohort, "b\n")
    tasks.find_due()
    assert lengths(tasks)["importing"] == 2


def test_a_queue_that_nobody_takes_from_does_not_grow_for_ever(tasks: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr(tasks, "LONGEST", 2)
    monkeypatch.setattr(tasks, "AGAIN", 0.0)
    uploaded(world.cohort(), "a\n")
    for _ in range(5):
        tasks.find_due()
    assert set(lengths(tasks).values()) == {2}


@pytest.mark.parametrize("refuses", ["apply_async", "length_of"])
def test_a_broker_that_went_away_keeps_nothing_from_being_sent_later(
    tasks: ModuleType, monkeypatch: Any, refuses: str
) -> None:
    uploaded(world.cohort(), "a\n")

    def away(*_: Any, **__: Any) -> int:
        raise OperationalError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(tasks if refuses == "length_of" else tasks.keep_house.__class__, refuses, away)
        with pytest.raises(OperationalError):
            tasks.find_due()
    tasks.find_due()
    assert lengths(tasks) == {"housekeeping": 1, "events": 1, "importing": 1}


def test_a_message_that_comes_five_times_does_its_work_once(tasks: ModuleType) -> None:
    with Partner() as partner:
        sync = world.sync(world.cohort(["u1", "u2"]), world.destination(partner.url))
        lifecycle.start(sync, trigger=Trigger.PERSON)
        uploaded(sync.cohort, "u1\nu2\nu3\n")
        for _ in range(5):
            tasks.drive(sync.destination_id)
            tasks.import_members(sync.cohort.key)
        assert sorted(partner.sent("add")) == ["u1", "u2"]
    assert Run.objects.get().state == RunState.SUCCEEDED
    sync.cohort.refresh_from_db()
    assert sync.cohort.version == 2


def test_a_message_of_which_nothing_is_left_to_do_does_nothing(tasks: ModuleType) -> None:
    destination = world.destination("http://127.0.0.1:1")
    tasks.drive(destination.pk)
    tasks.import_members("no-such-cohort")
    tasks.refresh(["no-such-cohort"])
    tasks.take_in("no-such-workspace")
    for task in (tasks.import_profiles, tasks.preview, tasks.search, tasks.compare):
        task(999)
    tasks.keep_house()
    tasks.find_arrived()


def test_a_refresh_counts_what_has_arrived_and_leaves_what_other_messages_are_about(
    tasks: ModuleType,
) -> None:
    first, second = due_cohort("first"), due_cohort("second", events_workspace="other")
    for workspace in ("default", "other"):
        did_a_cart(workspace)
    tasks.refresh(["first"])
    for cohort in (first, second):
        cohort.refresh_from_db()
    assert [(cohort.version, cohort.size) for cohort in (first, second)] == [(1, 1), (0, 0)]
    assert arrivals.waits("other") and not arrivals.waits("default")
    tasks.find_arrived()
    assert lengths(tasks) == {"events": 1}
    tasks.take_in("other")
    assert not arrivals.waits("other")


def test_a_preview_is_calculated(tasks: ModuleType) -> None:
    made = Preview.objects.create(
        source_kind="behavioral",
        definition=due_cohort("carts").definition,
        events_workspace="default",
        created_by=User.objects.create_user("ann"),
    )
    did_a_cart("default")
    tasks.take_in("default")
    tasks.preview(made.pk)
    made.refresh_from_db()
    assert (made.state, made.size) == (PreviewState.DONE, 1)


def test_every_task_has_a_queue_and_beat_sends_one_that_is_there(tasks: ModuleType) -> None:
    ours = {name for name in tasks.app.tasks if name.startswith("cohortsite.")}
    assert ours == set(tasks.app.conf.task_routes)
    assert {entry["task"] for entry in tasks.app.conf.beat_schedule.values()} <= ours


def test_what_is_kept_no_longer_is_deleted_once_a_day_on_each_machine_if_that_is_set(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    failed = ProfileImport.objects.create(workspace="shop", source="a.csv", state="failed", file="gone")
    ProfileImport.objects.update(created_at=timezone.now() - timedelta(days=40))
    with Partner() as partner:
        sync = world.sync(world.cohort(["u1"]), world.destination(partner.url))
        old = lifecycle.start(sync, trigger=Trigger.PERSON)
        world.go(sync.destination)
        Run.objects.update(finished_at=timezone.now() - timedelta(days=40))
        lifecycle.start(sync, trigger=Trigger.PERSON)
        world.go(sync.destination)
    worker.prune_if_due()
    assert Run.objects.filter(pk=old.pk).exists(), "nobody has asked for it"
    settings.HISTORY_DAYS = 30
    worker.prune_if_due()
    assert not Run.objects.filter(pk=old.pk).exists()
    failed.refresh_from_db()
    assert not failed.file, "what failed is deleted by its own setting"
    ProfileImport.objects.update(file="gone")
    worker.prune_if_due()
    failed.refresh_from_db()
    assert failed.file, "it was done on this day"
    # What lies on the disk of another machine can be pruned there alone.
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    worker.prune_if_due()
    failed.refresh_from_db()
    assert not failed.file
    cache.clear()
