"""The admin's pages of syncs, runs, rejected users and drivers: who may do what, and what it does."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from cohorts.models import Cohort
from destinations.models import Destination
from syncs.choices import BatchState, RejectionKind, RejectionState, RunMode, RunState, Step, Trigger
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db
MARKUP = "<script>alert(1)</script>"
SYNCS = reverse("admin:syncs_sync_changelist")
RUNS = reverse("admin:syncs_run_changelist")
REJECTIONS = reverse("admin:syncs_rejection_changelist")
DRIVERS = reverse("admin:syncs_driver_changelist")
DOWNLOAD = reverse("admin:syncs_rejection_download")


def person(client, *codenames):
    user = User.objects.create_user(f"p{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


@pytest.fixture
def admin_user():
    """Without a password, whose hash would take longer than most tests."""
    return User.objects.create(username="admin", is_staff=True, is_superuser=True)


@pytest.fixture
def admin_client(client, admin_user):
    client.force_login(admin_user)
    return client


@pytest.fixture
def viewer(client):
    return person(client, *(f"view_{model}" for model in ("sync", "run", "rejection", "driver")))


@pytest.fixture
def sync():
    return make_sync()


def make_sync(users=("u1", "u2", "u3"), **values) -> Sync:
    made = world.sync(world.cohort(users), world.destination("http://127.0.0.1:9"))
    for name, value in values.items():
        setattr(made, name, value)
    made.save()
    return made


def make_run(sync: Sync, state=RunState.SUCCEEDED, **values) -> Run:
    given = {"trigger": Trigger.PERSON, "from_version": 0, "to_version": 1, "started_at": timezone.now()}
    if state not in (RunState.PENDING, RunState.RUNNING, RunState.PARKED, RunState.HELD):
        given["finished_at"] = timezone.now()
    return Run.objects.create(sync=sync, state=state, **given | values)


def make_batch(run: Run, number=1, **values) -> Batch:
    given = {
        "step": Step.ADD,
        "first_user": "u1",
        "last_user": "u3",
        "size": 3,
        "state": BatchState.DELIVERED,
    }
    return Batch.objects.create(run=run, number=number, **given | values)


def page_while_it_ends(admin_client, before: int):
    """Return a sync's page of which the run ends just before its query of this number, or None."""
    sync = make_sync(dirty=True)
    run = make_run(sync, RunState.RUNNING)
    asked = 0

    def count(execute, sql, params, many, context):
        nonlocal asked
        asked += 1
        if asked == before:
            Run.objects.end(run.pk, RunState.SUCCEEDED, reason="")
            Sync.objects.settle(run)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        page = admin_client.get(sync.get_absolute_url())
    return page if asked >= before else None


def make_rejection(run: Run, user_id="u1", **values) -> Rejection:
    given = {"kind": RejectionKind.REJECTED, "wanted": True, "code": "invalid_user_id", "message": "Unknown."}
    given |= {"sync": run.sync, "last_at": timezone.now(), "tries": 3, "due_at_run": 9}
    return Rejection.objects.create(run=run, user_id=user_id, **given | values)


def change(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def page_of(row) -> str:
    """Where one reads it: a sync has an overview before its form."""
    return row.get_absolute_url() if isinstance(row, Sync) else change(row)


def do(row, name: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_do", args=[row.pk, name])


def text_of(response) -> str:
    """What the page says, however its lines are broken."""
    words = " ".join(str(response.content.decode()).replace("\xa0", " ").split())
    return words.replace("> <", "><")


def said(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


# --- who may do what ----------------------------------------------------------------------------


def everything() -> dict[str, list[str]]:
    """Addresses by kind: pages to see, actions, and what nobody may do."""
    made = make_sync()
    run = make_run(made, RunState.HELD)
    make_batch(run)
    rejection = make_rejection(run)
    driver = Driver.objects.create(destination=made.destination, learned_size=10, next_at=timezone.now())
    names = {
        made: ["run", "pause", "resume", "full", "empty", "rename", "reset", "archive", "restore"],
        run: ["approve", "refuse", "resume", "try-now", "cancel"],
        rejection: ["retry", "dismiss"],
        driver: ["try-now", "forget-size"],
    }
    return {
        "see": [
            *(SYNCS, RUNS, REJECTIONS, DRIVERS, DOWNLOAD),
            *(page_of(row) for row in (made, run, rejection, driver)),
            reverse("admin:syncs_sync_settings", args=[made.pk]),
            reverse("admin:syncs_sync_history", args=[made.pk]),
            reverse("admin:syncs_sync_dry_run", args=[made.pk]),
            reverse("admin:syncs_run_progress", args=[run.pk]),
            reverse("admin:syncs_run_batch", args=[run.pk, 1]),
        ],
        "do": [do(row, name) for row, actions in names.items() for name in actions],
        "never": [
            *(reverse(f"admin:syncs_{model}_add") for model in ("run", "rejection", "driver")),
            *(
                reverse(f"admin:syncs_{row._meta.model_name}_delete", args=[row.pk])
                for row in (made, run, rejection, driver)
            ),
        ],
    }


def test_a_stranger_is_sent_to_the_login(client):
    for url in sum(everything().values(), []):
        for answer in (client.get(url), client.post(url)):
            assert answer.status_code == 302, url
            assert answer.url.startswith(reverse("admin:login")), url


def test_a_viewer_sees_everything_and_changes_nothing(viewer):
    urls = everything()
    before = list(Sync.objects.values()), list(Run.objects.values()), list(Rejection.objects.values())
    for url in urls["see"]:
        assert viewer.get(url).status_code == 200, url
    for url in [*urls["do"], *urls["never"], reverse("admin:syncs_sync_add")]:
        assert viewer.get(url).status_code == 403, url
        assert viewer.post(url).status_code == 403, url
    for row in (Sync.objects.get(), Run.objects.get(), Rejection.objects.get(), Driver.objects.get()):
        page = text_of(viewer.get(page_of(row)))
        assert "/do/" not in page
        assert 'name="_save"' not in page
        assert viewer.post(change(row), {"schedule_kind": "hourly"}).status_code in (403, 405)
    chosen = {"action": "dismiss_selected", "_selected_action": [Rejection.objects.get().pk]}
    viewer.post(REJECTIONS, chosen)
    after = list(Sync.objects.values()), list(Run.objects.values()), list(Rejection.objects.values())
    assert after == before


def test_who_may_see_nothing_sees_nothing(client):
    urls = everything()
    person(client, "view_user")
    for url in [*urls["see"], *urls["do"]]:
        assert client.get(url).status_code == 403, url


def test_history_is_edited_by_nobody(admin_client):
    urls = everything()
    for url in urls["never"]:
        assert admin_client.post(url, {"post": "yes"}).status_code == 403, url
    for row in (Run.objects.get(), Rejection.objects.get(), Driver.objects.get()):
        assert admin_client.post(change(row), {"state": "succeeded"}).status_code == 405
        assert 'name="_save"' not in text_of(admin_client.get(page_of(row)))
    page = text_of(admin_client.get(RUNS))
    assert "delete_selected" not in page
    assert Run.objects.get().state == RunState.HELD


def test_an_operator_runs_and_pauses_but_does_not_configure(client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1, external_name="Buyers")
    person(client, "view_sync", "run_sync")
    page = text_of(client.get(page_of(sync)))
    for name in ("run", "pause", "full", "empty"):
        assert do(sync, name) in page
    for name in ("rename", "reset", "archive"):
        assert do(sync, name) not in page
        assert client.post(do(sync, name), {"text": "New"}).status_code == 403
    assert client.post(change(sync), FORM).status_code == 403
    assert client.post(do(sync, "run")).status_code == 302
    assert Run.objects.count() == 1


def test_an_action_needs_the_token_of_its_page(admin_user, sync):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(do(sync, "run")).status_code == 403
    assert not Run.objects.exists()


def test_asking_does_nothing(admin_client, sync):
    for name in ("run", "full", "archive", "pause"):
        assert admin_client.get(do(sync, name)).status_code == 200
    assert not Run.objects.exists()
    assert Sync.objects.get().enabled
    assert Sync.objects.get().archived_at is None


@pytest.mark.parametrize("model", ["sync", "run", "rejection", "driver"])
def test_what_does_not_exist_is_not_found(admin_client, sync, model):
    name = {"sync": "run", "run": "cancel", "rejection": "retry", "driver": "try-now"}[model]
    assert admin_client.get(reverse(f"admin:syncs_{model}_do", args=[99, name])).status_code == 404
    assert admin_client.get(reverse(f"admin:syncs_{model}_do", args=[sync.pk, "nonsense"])).status_code == 404


# --- the list of syncs --------------------------------------------------------------------------


def test_the_list_tells_how_each_sync_stands(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1, next_due_at=timezone.now() + timedelta(hours=2))
    run = make_run(sync, RunState.PARTIAL)
    make_rejection(run, "u1")
    make_rejection(run, "u2", state=RejectionState.DISMISSED)
    page = text_of(admin_client.get(SYNCS))
    assert "Equal but for some" in page
    assert "Equal to version 1, 3 users, just now; 1 user rejected; next run in 1 hour." in page
    assert f'href="{REJECTIONS}?sync__id__exact={sync.pk}"' in page
    assert "By hand only" in page


def fill_list(number: int) -> None:
    for _ in range(number):
        made = make_sync(settled_version=1)
        make_rejection(make_run(made, RunState.PARTIAL))
        Driver.objects.create(destination=made.destination)


def test_a_run_that_ends_while_its_page_is_made_is_no_alarm(admin_client):
    """It stands as running, with what watches the end, or as equal; never as ended, the partner not equal."""
    shown = set()
    for before in range(1, 200):
        page = page_while_it_ends(admin_client, before)
        if page is None:
            break
        label = page.context["state"].label
        shown.add(label)
        assert label == "Equal" or (label == "Running" and page.context["open_run"]), before
    assert shown == {"Equal", "Running"}


@pytest.mark.parametrize("url", [SYNCS, RUNS, REJECTIONS, DRIVERS])
def test_a_list_takes_the_same_queries_whatever_its_rows(admin_client, url, django_assert_num_queries):
    fill_list(1)
    with CountedQueries() as few:
        admin_client.get(url)
    fill_list(7)
    with CountedQueries() as many:
        assert admin_client.get(url).status_code == 200
    assert many.count == few.count


class CountedQueries:
    def __enter__(self):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self._context = CaptureQueriesContext(connection)
        self._context.__enter__()
        return self

    def __exit__(self, *error):
        self._context.__exit__(*error)
        self.count = len(self._context)


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ("", {"equal", "behind", "failed", "parked", "held", "off", "open", "destination", "empty"}),
        # That a partner asked for a wait of some minutes needs nobody.
        ("attention", {"failed", "held", "destination"}),
        ("equal", {"equal", "failed", "parked", "held", "off", "open", "destination"}),
        ("behind", {"behind"}),
        ("open", {"open"}),
        ("parked", {"parked"}),
        ("held", {"held"}),
        ("failed", {"failed"}),
        ("rejected", {"equal"}),
        ("paused", {"off"}),
        ("destination", {"destination"}),
        ("empty", {"empty"}),
        ("archived", {"archived"}),
    ],
)
def test_syncs_are_filtered_by_state(admin_client, chosen, found):
    made = {name: make_sync(settled_version=1) for name in ("equal", "failed", "parked", "held", "open")}
    made["behind"] = make_sync(settled_version=1, dirty=True)
    made["off"] = make_sync(settled_version=1, enabled=False)
    made["archived"] = make_sync(archived_at=timezone.now())
    made["empty"] = make_sync(users=())
    made["destination"] = make_sync(settled_version=1)
    Destination.objects.pause(made["destination"].destination_id, "Bad key.")
    states = {"equal": "partial", "failed": "failed", "parked": "parked", "held": "held", "open": "pending"}
    for name, state in states.items():
        make_run(made[name], RunState(state))
    answer = admin_client.get(SYNCS, {"state": chosen} if chosen else {})
    shown = {row.pk for row in answer.context["cl"].result_list}
    assert shown == {made[name].pk for name in found}


def test_runs_are_filtered_by_when_they_began(admin_client, sync):
    """ "Which ran last night?" """
    night = make_run(sync, started_at=timezone.now() - timedelta(hours=8))
    week = make_run(sync, started_at=timezone.now() - timedelta(days=5))
    for chosen, found in {"1": [], "12": [night], "168": [week, night], "junk": [week, night]}.items():
        shown = admin_client.get(RUNS, {"began": chosen}).context["cl"].result_list
        assert [run.pk for run in shown] == [run.pk for run in found], chosen


def test_filters_show_counts(admin_client, sync):
    make_run(sync, RunState.FAILED)
    page = text_of(admin_client.get(SYNCS, {"_facets": "True"}))
    assert re.search(r"Failed\s*\(1\)", page)
    assert admin_client.get(REJECTIONS, {"_facets": "True"}).status_code == 200


def test_an_unknown_state_filter_is_no_error(admin_client, sync):
    assert admin_client.get(SYNCS, {"state": "nonsense"}).status_code in (200, 302)


# --- the form -----------------------------------------------------------------------------------

FORM = {"schedule_kind": "manual", "timezone": "UTC"}
ADD = reverse("admin:syncs_sync_add")


def pair() -> dict[str, object]:
    made = world.cohort(["u1"]), world.destination("http://127.0.0.1:9")
    return {"cohort": made[0].pk, "destination": made[1].pk}


def test_adding_leads_to_the_page_where_it_can_be_run(admin_client):
    answer = admin_client.post(
        ADD, FORM | pair() | {"schedule_kind": "daily", "schedule_at": "09:00", "timezone": "Europe/Berlin"}
    )
    made = Sync.objects.get()
    assert answer.url == page_of(made)
    assert made.next_due_at is not None
    page = text_of(admin_client.get(page_of(made)))
    assert "Every day at 09:00 (Europe/Berlin)" in page
    assert len(re.findall(r"<li>\w+ \d+ \w+ \d{4}, 09:00</li>", page)) == 5
    assert "Nothing was sent yet; 1 user" in page


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"schedule_kind": "daily"}, "schedule_at"),
        ({"schedule_kind": "once"}, "schedule_once_at"),
        (
            {"schedule_kind": "once", "schedule_once_at_0": "2001-01-01", "schedule_once_at_1": "10:00"},
            "schedule_once_at",
        ),
        ({"schedule_kind": "cron", "schedule_cron": "61 * * * *"}, "schedule_cron"),
        ({"schedule_kind": "cron", "schedule_cron": "\x00"}, "schedule_cron"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"guard_percent": "101"}, "guard_percent"),
        ({"guard_users": "-1"}, "guard_users"),
        ({"cohort": "999"}, "cohort"),
        ({"destination": ""}, "destination"),
    ],
)
def test_a_wrong_value_is_reported_on_its_field(admin_client, given, field):
    answer = admin_client.post(ADD, FORM | pair() | given)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not Sync.objects.exists()


def test_the_same_pair_is_added_once(admin_client, sync):
    answer = admin_client.post(ADD, FORM | {"cohort": sync.cohort_id, "destination": sync.destination_id})
    assert "already exists" in text_of(answer)
    assert Sync.objects.count() == 1


def test_adding_an_archived_pair_takes_it_up_again(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(
        archived_at=timezone.now(), enabled=False, settled_version=1, list_id="7", external_name="Buyers"
    )
    given = {"cohort": sync.cohort_id, "destination": sync.destination_id, "schedule_kind": "hourly"}
    answer = admin_client.post(ADD, FORM | given)
    assert answer.url == page_of(sync)
    taken = Sync.objects.get()
    assert (taken.pk, taken.archived_at, taken.enabled) == (sync.pk, None, True)
    assert (taken.settled_version, taken.list_id, taken.schedule_kind) == (1, "7", "hourly")
    assert taken.next_due_at is not None


def test_once_is_read_and_shown_in_the_schedules_zone(admin_client, sync):
    given = {"schedule_once_at_0": "2090-07-01", "schedule_once_at_1": "10:00", "timezone": "Europe/Berlin"}
    admin_client.post(change(sync), FORM | given | {"schedule_kind": "once"})
    sync.refresh_from_db()
    assert sync.schedule_once_at == datetime(2090, 7, 1, 8, tzinfo=UTC)
    assert sync.next_due_at == sync.schedule_once_at
    page = text_of(admin_client.get(change(sync)))
    assert 'value="10:00:00"' in page
    page = text_of(admin_client.get(page_of(sync)))
    assert "Sunday" in page or "Saturday" in page


def test_saving_the_form_leaves_what_a_driver_wrote_meanwhile(admin_client, sync, monkeypatch):
    """A driver settles the sync between the form's reading of the row and its saving."""
    from syncs.admin.sync import SyncAdmin

    save = SyncAdmin.save_model

    def late(self, request, obj, form, change):
        Sync.objects.filter(pk=obj.pk).update(settled_version=1, list_id="7", runs_done=5)
        save(self, request, obj, form, change)

    monkeypatch.setattr(SyncAdmin, "save_model", late)
    admin_client.post(change(sync), FORM | {"schedule_kind": "hourly"})
    sync.refresh_from_db()
    assert (sync.settled_version, sync.list_id, sync.runs_done) == (1, "7", 5)
    assert sync.schedule_kind == "hourly"


def test_changing_the_guard_does_not_put_off_what_is_due(admin_client, sync):
    due = timezone.now() - timedelta(seconds=1)
    Sync.objects.filter(pk=sync.pk).update(schedule_kind="hourly", next_due_at=due)
    admin_client.post(change(sync), FORM | {"schedule_kind": "hourly", "guard_users": "5"})
    sync.refresh_from_db()
    assert (sync.next_due_at, sync.guard_users) == (due, 5)


def test_cohort_and_destination_stay(admin_client, sync):
    other = pair()
    admin_client.post(change(sync), FORM | other)
    stayed = Sync.objects.get(pk=sync.pk)
    assert (stayed.cohort_id, stayed.destination_id) == (sync.cohort_id, sync.destination_id)


# --- what a person does to a sync ---------------------------------------------------------------


def test_run_now_makes_one_run_however_often_it_is_pressed(admin_client, admin_user, sync):
    for _ in range(2):
        answer = admin_client.post(do(sync, "run"), follow=True)
    run = Run.objects.get()
    assert (run.state, run.mode, run.trigger) == (RunState.PENDING, RunMode.CHANGES, Trigger.PERSON)
    assert run.triggered_by == admin_user.get_username()
    assert said(answer) == [f"Run {run.pk} is waiting: the worker sends it."]
    assert LogEntry.objects.filter(object_id=sync.pk, change_message__contains="Run now").count() == 2


def test_run_now_says_what_stands_in_its_way(admin_client, sync):
    Destination.objects.pause(sync.destination_id, "Bad key.")
    assert (
        "But its destination is paused: Bad key." in said(admin_client.post(do(sync, "run"), follow=True))[0]
    )


def test_a_cohort_without_members_is_not_run(admin_client):
    sync = make_sync(users=())
    answer = admin_client.post(do(sync, "run"), follow=True)
    assert "is not calculated yet" in said(answer)[0]
    assert not Run.objects.exists()


def test_full_resync_and_emptying(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1, external_name="Buyers")
    admin_client.post(do(sync, "full"))
    assert Run.objects.get().mode == RunMode.FULL
    answer = admin_client.post(do(sync, "empty"), follow=True)
    run = Run.objects.get(state=RunState.PENDING)
    assert (run.mode, bool(run.approved_by)) == (RunMode.EMPTY, True)
    assert not Sync.objects.get().enabled
    assert "its schedule does not fill the partner again" in said(answer)[-1]


def test_pause_and_resume(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(schedule_kind="hourly", next_due_at=timezone.now())
    admin_client.post(do(sync, "pause"))
    assert not Sync.objects.get().enabled
    page = text_of(admin_client.get(page_of(sync)))
    assert "Its schedule is paused" in page
    assert do(sync, "pause") not in page
    admin_client.post(do(sync, "resume"))
    resumed = Sync.objects.get()
    assert resumed.enabled
    assert resumed.next_due_at is not None
    assert resumed.next_due_at > timezone.now()


def test_what_is_no_longer_possible_is_said(admin_client, sync):
    answer = admin_client.post(do(sync, "resume"), follow=True)
    assert "not possible any more" in said(answer)[0]


def test_archive_offers_to_empty_the_partner_first(admin_client, sync):
    assert do(sync, "empty-and-archive") not in text_of(admin_client.get(do(sync, "archive")))
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    assert do(sync, "empty-and-archive") in text_of(admin_client.get(do(sync, "archive")))
    admin_client.post(do(sync, "empty-and-archive"))
    archived = Sync.objects.get()
    assert archived.archived_at is not None
    assert Run.objects.get().mode == RunMode.EMPTY


def test_archived_and_taken_up_again(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(schedule_kind="hourly")
    admin_client.post(do(sync, "archive"))
    assert Sync.objects.get().archived_at is not None
    page = text_of(admin_client.get(page_of(sync)))
    assert do(sync, "run") not in page
    admin_client.post(do(sync, "restore"))
    restored = Sync.objects.get()
    assert (restored.archived_at, restored.enabled) == (None, True)
    assert restored.next_due_at is not None


def test_start_over_forgets_what_the_partner_holds(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1, list_id="7", fingerprint="elsewhere")
    admin_client.post(do(sync, "reset"))
    forgotten = Sync.objects.get()
    assert (forgotten.settled_version, forgotten.list_id, forgotten.fingerprint) == (0, None, "")


def test_rename_asks_for_the_name(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1, external_name="Old <b>")
    page = text_of(admin_client.get(do(sync, "rename")))
    assert 'value="Old &lt;b&gt;"' in page
    answer = admin_client.post(do(sync, "rename"), {"text": "\x00"}, follow=True)
    assert "Give a line" in said(answer)[0]
    admin_client.post(do(sync, "rename"), {"text": "New"})
    assert Sync.objects.get().next_name == "New"
    assert Run.objects.get().mode == RunMode.EMPTY


def test_a_dry_run_shows_everything_and_sends_nothing(admin_client):
    with Partner() as partner:
        made = world.sync(world.cohort([MARKUP, "u1"]), world.destination(partner.url))
        page = text_of(admin_client.get(reverse("admin:syncs_sync_dry_run", args=[made.pk])))
        assert not partner.calls
    assert not Run.objects.exists()
    assert "<dt>Adds</dt><dd>2</dd>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert MARKUP not in page
    assert "POST /lists HTTP/1.1" in page
    assert partner.key not in page
    assert Sync.objects.get().external_name == ""


def test_a_dry_run_counts_one_by_one_up_to_a_limit_and_says_so(admin_client, monkeypatch):
    made = make_sync([f"u{number:03}" for number in range(60)])
    Sync.objects.update(settled_version=1)
    world.fill(made.cohort, [f"u{number:03}" for number in range(30, 100)])
    url = reverse("admin:syncs_sync_dry_run", args=[made.pk])
    page = text_of(admin_client.get(url))
    assert "<dt>Adds</dt><dd>40</dd>" in page
    assert "<dt>Removes</dt><dd>30</dd>" in page
    monkeypatch.setattr("syncs.preview.SAMPLE", 2)
    monkeypatch.setattr("syncs.admin.sync.MOST_COUNTED", 35)
    Destination.objects.update(batch_size=2)
    page = text_of(admin_client.get(url))
    assert "<dt>Adds</dt><dd>at least 35</dd>" in page
    assert "<dt>Removes</dt><dd>30</dd>" in page
    # What a version has recorded is told whole.
    page = text_of(admin_client.get(url, {"mode": "full"}))
    assert "<dt>Adds</dt><dd>70</dd>" in page


def test_a_dry_run_of_what_cannot_run_says_why(admin_client):
    made = make_sync(users=())
    page = text_of(
        admin_client.get(reverse("admin:syncs_sync_dry_run", args=[made.pk]), {"mode": "nonsense"})
    )
    assert "is not calculated yet" in page


def test_the_page_tells_of_a_parked_destination_and_who_drives_it(admin_client, sync):
    now = timezone.now()
    owner = "abc@worker-1/boot/ns/4242/99"
    Driver.objects.create(
        destination=sync.destination, owner=owner, until=now + timedelta(minutes=1), next_reason="429"
    )
    assert "process 4242 on worker-1" in text_of(admin_client.get(page_of(sync)))
    Driver.objects.update(until=None, owner="", next_at=now + timedelta(hours=2, minutes=1))
    make_run(sync, RunState.PARKED)
    page = text_of(admin_client.get(page_of(sync)))
    assert "Parked; goes on in 2 hours, because: 429." in page
    assert change(Driver.objects.get()) in page


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RunState)
def test_a_run_of_every_state_has_a_page(admin_client, sync, state):
    run = make_run(sync, state, reason="Because <i>so</i>", planned_adds=4, planned_removes=0, added=1)
    page = text_of(admin_client.get(page_of(run)))
    assert state.label in page
    assert "Because &lt;i&gt;so&lt;/i&gt;" in page
    is_open = state in ("pending", "running", "parked", "held")
    assert ("progress.js" in page) == is_open
    assert ("data-progress-url" in page) == is_open


def test_progress_is_reported_as_numbers_and_words(admin_client, sync):
    began = timezone.now() - timedelta(seconds=10)
    run = make_run(sync, RunState.RUNNING, started_at=began, planned_adds=2_000, planned_removes=0, added=500)
    done = make_batch(run, 1, delivered=500, settled_at=began + timedelta(seconds=5))
    Batch.objects.filter(pk=done.pk).update(created_at=began)
    make_batch(run, 2, state=BatchState.SENDING)
    answer = admin_client.get(reverse("admin:syncs_run_progress", args=[run.pk]))
    shown = answer.json()
    assert (shown["open"], shown["percent"], shown["tone"]) == (True, 25, "info")
    assert shown["words"]["done"] == "500 of 2,000"
    assert shown["words"]["rate"] == "100"
    assert shown["words"]["left"] == "15 s"
    assert shown["words"]["in_flight"] == "1"
    Run.objects.end(run.pk, RunState.SUCCEEDED, reason="")
    assert admin_client.get(reverse("admin:syncs_run_progress", args=[run.pk])).json()["open"] is False


def test_batches_come_in_pages_and_by_state(admin_client, sync):
    run = make_run(sync)
    for number in range(1, 121):
        make_batch(run, number, first_user=f"user-{number:04}")
    make_batch(run, 121, state=BatchState.REJECTED, first_user=MARKUP, message="<b>No</b>", status=400)
    page = text_of(admin_client.get(page_of(run)))
    assert "user-0050" in page
    assert "user-0051" not in page
    assert "Page 1 of 3, 121 batches" in page
    assert "user-0051" in text_of(admin_client.get(page_of(run), {"page": 2}))
    bad = text_of(admin_client.get(page_of(run), {"batches": "rejected", "page": "x"}))
    assert "&lt;script&gt;" in bad
    assert MARKUP not in bad
    assert "<b>No</b>" not in bad
    assert "user-00" not in bad


def test_a_batch_shows_its_requests_and_replies_as_text(admin_client, sync):
    run = make_run(sync)
    batch = make_batch(run, request_head="POST /lists HTTP/1.1", reply_head=MARKUP, status=404, latency_ms=12)
    Attempt.objects.create(
        batch=batch,
        at=timezone.now(),
        users=3,
        status=503,
        code="down",
        message="<b>Down</b>",
        reply_head=MARKUP,
    )
    page = text_of(admin_client.get(reverse("admin:syncs_run_batch", args=[run.pk, 1])))
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert MARKUP not in page
    assert "&lt;b&gt;Down&lt;/b&gt;" in page
    assert "status 503" in page
    assert admin_client.get(reverse("admin:syncs_run_batch", args=[run.pk, 2])).status_code == 404


def test_cancel_an_open_run(admin_client, sync):
    run = make_run(sync, RunState.PENDING)
    assert do(run, "cancel") in text_of(admin_client.get(page_of(run)))
    admin_client.post(do(run, "cancel"))
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Cancelled by admin.")
    assert do(run, "cancel") not in text_of(admin_client.get(page_of(run)))


def test_resume_a_failed_run_that_is_the_latest(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(dirty=True)
    old, run = make_run(sync, RunState.FAILED), make_run(sync, RunState.FAILED)
    assert do(old, "resume") not in text_of(admin_client.get(page_of(old)))
    answer = admin_client.post(do(run, "resume"), follow=True)
    run.refresh_from_db()
    assert (run.state, run.reopened) == (RunState.PENDING, True)
    assert "goes on where it stopped" in said(answer)[0]


def test_resuming_a_failed_emptying_empties(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(dirty=True)
    run = make_run(sync, RunState.FAILED, mode=RunMode.EMPTY)
    answer = admin_client.post(do(run, "resume"), follow=True)
    new = Run.objects.get(state=RunState.PENDING)
    assert (new.mode, bool(new.approved_by)) == (RunMode.EMPTY, True)
    assert said(answer) == [f"Run {new.pk} takes over."]


def test_a_failed_emptying_of_an_archived_sync_is_resumed_and_emptied_again(admin_client, sync):
    Sync.objects.filter(pk=sync.pk).update(dirty=True, archived_at=timezone.now())
    changes = make_run(sync, RunState.FAILED)
    assert "/do/resume/" not in admin_client.get(page_of(changes)).content.decode()
    run = make_run(sync, RunState.FAILED, mode=RunMode.EMPTY)
    admin_client.post(do(run, "resume"))
    new = Run.objects.get(state=RunState.PENDING)
    assert new.mode == RunMode.EMPTY
    new.delete()
    admin_client.post(do(sync, "empty"))
    assert Run.objects.get(state=RunState.PENDING).mode == RunMode.EMPTY


def test_try_a_parked_run_again_now(admin_client, sync):
    Driver.objects.create(destination=sync.destination, next_at=timezone.now() + timedelta(hours=1))
    run = make_run(sync, RunState.PARKED)
    admin_client.post(do(run, "try-now"))
    assert Driver.objects.get().next_at is None
    assert "not parked any more" in said(admin_client.post(do(run, "try-now"), follow=True))[-1]


def test_a_held_run_is_approved_or_refused(admin_client, sync):
    run = make_run(sync, RunState.HELD, reason="It would.", planned_adds=3, planned_removes=0)
    page = text_of(admin_client.get(page_of(run)))
    assert do(run, "approve") in page
    assert do(run, "refuse") in page
    assert do(run, "cancel") not in page
    assert "Add 3 and remove 0 users." in page
    assert '<bdi class="cs-user">u3</bdi>' in page
    admin_client.post(do(run, "approve"))
    run.refresh_from_db()
    assert (run.state, run.approved_by) == (RunState.PENDING, "admin")
    Run.objects.filter(pk=run.pk).update(state=RunState.HELD)
    admin_client.post(do(run, "refuse"))
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Refused by admin.")


@pytest.mark.django_db(transaction=True)
def test_the_pages_of_a_run_that_was_really_sent(admin_client):
    bad = [MARKUP, "=cmd|calc", "مستخدم"]

    def refuse(call):
        named = [user for user in call.users if user in bad]
        error = {"error": {"code": "invalid_user_id", "message": "<i>Who?</i>"}, "invalidUserIds": named}
        return Fault(404, error) if named else None

    with Partner() as partner:
        partner.fault = refuse
        made = world.sync(world.cohort([*bad, *world.users(50)]), world.destination(partner.url))
        admin_client.post(do(made, "run"))
        world.go(made.destination)
        run = Run.objects.get()
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, 50, 3)
    page = text_of(admin_client.get(page_of(run)))
    assert "Delivered in parts" in page
    assert f"{REJECTIONS}?run__id__exact={run.pk}" in page
    batch = run.batches.get(state=BatchState.NARROWED)
    shown = text_of(admin_client.get(reverse("admin:syncs_run_batch", args=[run.pk, batch.number])))
    assert "&lt;i&gt;Who?&lt;/i&gt;" in shown
    assert partner.key not in shown
    listed = text_of(admin_client.get(REJECTIONS, {"run__id__exact": run.pk}))
    assert "&lt;script&gt;" in listed
    assert MARKUP not in listed
    assert "Equal but for some" in text_of(admin_client.get(page_of(made)))


def test_keys_beyond_a_thousand_have_no_separators_in_addresses(admin_client):
    made = make_sync()
    Sync.objects.filter(pk=made.pk).update(id=1_234_567, settled_version=1)
    made = Sync.objects.get()
    run = make_run(made, pk=7_654_321, planned_adds=12_345, planned_removes=0, added=12_345)
    make_batch(run, 4_321, size=1_000)
    rejection = make_rejection(run, pk=2_345_678)
    pages = [SYNCS, RUNS, REJECTIONS, change(made), change(run), change(rejection)]
    pages += [reverse("admin:syncs_run_batch", args=[run.pk, 4_321]), do(run, "cancel"), do(made, "archive")]
    for url in pages:
        page = text_of(admin_client.get(url))
        assert not re.findall(r'(?:href|action|value|data-progress-url)="[^"]*\d,\d[^"]*"', page), url
    assert "12,345 of 12,345" in text_of(admin_client.get(page_of(run)))


# --- rejected users -----------------------------------------------------------------------------


def test_a_user_is_found_byte_for_byte(admin_client, sync):
    run = make_run(sync)
    for user_id in ("Ann", "ann", "ann b", "joann", " ann"):
        make_rejection(run, user_id)

    def found(text):
        shown = admin_client.get(REJECTIONS, {"q": text})
        return [row.user_id for row in shown.context["cl"].result_list]

    assert found("ann") == ["ann"]
    assert found("ann b") == ["ann b"]
    assert found(" ann") == [" ann"]
    assert found("nobody") == []


@pytest.mark.parametrize("text", ["\x00", "x" * 1_025, " "])
def test_what_is_no_user_id_finds_nobody(admin_client, sync, text):
    make_rejection(make_run(sync))
    answer = admin_client.get(REJECTIONS, {"q": text})
    assert answer.status_code in (200, 302)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"kind__exact": "undelivered"}, {"u2"}),
        ({"state__exact": "dismissed"}, {"u3"}),
        ({"code": "spent"}, {"u2"}),
    ],
)
def test_rejected_users_are_filtered(admin_client, sync, query, found):
    run = make_run(sync)
    make_rejection(run, "u1")
    make_rejection(run, "u2", kind=RejectionKind.UNDELIVERED, code="spent")
    make_rejection(run, "u3", state=RejectionState.DISMISSED)
    answer = admin_client.get(REJECTIONS, query)
    assert {row.user_id for row in answer.context["cl"].result_list} == found


@pytest.mark.parametrize("query", [{"sync__id__exact": "x"}, {"code": "\x00"}, {"run__id__exact": "x"}])
def test_a_filter_that_makes_no_sense_is_no_error(admin_client, sync, query):
    make_rejection(make_run(sync))
    assert admin_client.get(REJECTIONS, query).status_code in (200, 302)


def test_rejected_users_of_one_sync(admin_client, sync):
    make_rejection(make_run(sync), "u1")
    other = make_sync()
    make_rejection(make_run(other), "u2")
    answer = admin_client.get(REJECTIONS, {"sync__id__exact": other.pk})
    assert [row.user_id for row in answer.context["cl"].result_list] == ["u2"]


def test_the_download_is_safe_to_open_in_a_spreadsheet(admin_client, sync):
    run = make_run(sync)
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain", 'quo"te, comma', "مستخدم"]
    for user_id in dangerous:
        make_rejection(run, user_id, message="=HYPERLINK(1)")
    answer = admin_client.get(DOWNLOAD)
    assert answer["Content-Disposition"] == 'attachment; filename="rejected-users.csv"'
    content = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert {row["user_id"] for row in rows} == {
        *(f"'{user_id}" for user_id in dangerous[:6]),
        *dangerous[6:],
    }
    assert {row["message"] for row in rows} == {"'=HYPERLINK(1)"}


def test_the_download_has_what_the_list_shows(admin_client, sync):
    run = make_run(sync)
    make_rejection(run, "u1")
    make_rejection(run, "u2", state=RejectionState.DISMISSED)
    page = text_of(admin_client.get(REJECTIONS, {"state__exact": "dismissed"}))
    address = re.search(rf'href="({DOWNLOAD}[^"]*)"', page)
    assert address
    content = b"".join(admin_client.get(address[1].replace("&amp;", "&")).streaming_content).decode()
    assert "u2" in content
    assert "u1" not in content


def test_rejected_users_are_retried_or_dismissed_together(admin_client, sync):
    run = make_run(sync)
    rows = [make_rejection(run, user_id, state=RejectionState.SPENT) for user_id in ("u1", "u2", "u3")]
    chosen = {"_selected_action": [rows[0].pk, rows[1].pk], "index": 0}
    answer = admin_client.post(REJECTIONS, chosen | {"action": "retry_selected"}, follow=True)
    assert said(answer) == ["2 users will be tried again at the next run of their sync."]
    states = dict(Rejection.objects.values_list("user_id", "state"))
    assert states == {"u1": "waiting", "u2": "waiting", "u3": "spent"}
    retried = Rejection.objects.get(user_id="u1")
    assert (retried.due_at_run, retried.tries) == (0, 0)
    admin_client.post(REJECTIONS, chosen | {"action": "dismiss_selected"})
    states = dict(Rejection.objects.values_list("user_id", "state"))
    assert states == {"u1": "dismissed", "u2": "dismissed", "u3": "spent"}


def test_one_rejected_user_is_retried_or_dismissed(admin_client, sync):
    rejection = make_rejection(make_run(sync), MARKUP, state=RejectionState.SPENT)
    page = text_of(admin_client.get(page_of(rejection)))
    assert MARKUP not in page
    admin_client.post(do(rejection, "retry"))
    rejection.refresh_from_db()
    assert (rejection.state, rejection.due_at_run, rejection.tries) == (RejectionState.WAITING, 0, 0)
    assert "at the next run" in text_of(admin_client.get(page_of(rejection)))
    admin_client.post(do(rejection, "dismiss"))
    rejection.refresh_from_db()
    assert rejection.state == RejectionState.DISMISSED
    assert do(rejection, "dismiss") not in text_of(admin_client.get(page_of(rejection)))


@pytest.mark.django_db(transaction=True)
def test_a_user_who_is_tried_again_is_sent_by_the_next_run():
    with Partner() as partner:
        partner.fault = lambda call: (
            Fault(404, {"error": {"code": "invalid_user_id"}, "invalidUserIds": ["u1"]})
            if "u1" in call.users
            else None
        )
        made = world.sync(world.cohort(["u1", "u2"]), world.destination(partner.url))
        world.run(made)
        partner.fault = lambda call: None
        Rejection.objects.update(state=RejectionState.SPENT)
        world.run(made)
        assert world.rejected(made) == {"u1"}
        Rejection.objects.all().retry()
        world.run(made)
        assert world.rejected(made) == set()
        assert partner.members(Sync.objects.get().external_name) == {"u1", "u2"}


# --- drivers ------------------------------------------------------------------------------------


def test_a_driver_shows_why_nothing_is_sent_and_ends_the_wait(admin_client, sync):
    made = Driver.objects.create(
        destination=sync.destination,
        next_at=timezone.now() + timedelta(hours=1),
        next_reason="<b>Busy</b>",
        learned_size=125,
    )
    for page in (text_of(admin_client.get(DRIVERS)), text_of(admin_client.get(page_of(made)))):
        assert "Parked" in page
        assert "&lt;b&gt;Busy&lt;/b&gt;" in page
        assert "125, learned (set: 1,000)" in page
    admin_client.post(do(made, "try-now"))
    admin_client.post(do(made, "forget-size"))
    made.refresh_from_db()
    assert (made.next_at, made.next_reason, made.learned_size) == (None, "", None)
    page = text_of(admin_client.get(page_of(made)))
    assert "/do/" not in page
    assert "Idle" in page


def test_empty_lists_say_what_would_be_there(admin_client):
    assert "No run here." in text_of(admin_client.get(RUNS))
    assert "every partner took every user" in text_of(admin_client.get(REJECTIONS))
    assert "No destination was sent to yet." in text_of(admin_client.get(DRIVERS))
    assert admin_client.get(SYNCS).status_code == 200
    assert not Cohort.objects.exists()
