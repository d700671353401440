"""Lists answer at a glance: columns to choose, views that are kept, what is done with several rows, CSV."""

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cohorts.models import Cohort
from cohorts.sparkline import line_of
from cohortsite import roles
from cohortsite.list_views import MOST, cleaned
from cohortsite.models import ListView
from destinations.models import Destination
from syncs.choices import RunState, Trigger
from syncs.models import Batch, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
COHORTS = reverse("admin:cohorts_cohort_changelist")
DESTINATIONS = reverse("admin:destinations_destination_changelist")
SYNCS = reverse("admin:syncs_sync_changelist")
RUNS = reverse("admin:syncs_run_changelist")
LISTS = (COHORTS, DESTINATIONS, SYNCS, RUNS)


def person(role: str, name: str = "") -> Client:
    roles.grant()
    user = User.objects.create(username=name or role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, url: str, **data: Any) -> str:
    reply = client.get(url, data)
    assert reply.status_code == 200, url
    return " ".join(reply.content.decode().split())


def ran(sync: Sync, state: RunState = RunState.SUCCEEDED, **values: Any) -> Run:
    return Run.objects.create(
        sync=sync, state=state, trigger=Trigger.SCHEDULE, from_version=0, to_version=1,
        started_at=timezone.now(), finished_at=timezone.now(), **values,
    )  # fmt: skip


def grow(first: int, last: int) -> None:
    for n in range(first, last):
        cohort = world.cohort(["u1", "u2"], name=f"Cohort {n}", key=f"c{n}")
        world.fill(cohort, ["u1", "u2", "u3"])
        for to in range(5):
            destination = Destination.objects.filter(name=f"d{to}").first()
            destination = destination or world.destination(
                "http://127.0.0.1:9", name=f"d{to}", title=f"To {to}"
            )
            sync = world.sync(cohort, destination)
            Sync.objects.filter(pk=sync.pk).update(settled_version=2)
            run = ran(sync, RunState.FAILED if to == 1 else RunState.SUCCEEDED)
            Batch.objects.create(run=run, number=1, step="add", latency_ms=30 + to, state="delivered")


def test_lists_say_at_a_glance_how_much_where_and_how_well() -> None:
    grow(0, 2)
    client = person("viewer")
    shown = page(client, COHORTS)
    assert "2 to 3 users in 2 versions" in shown and "2 more" in shown and ">To 2</a>" in shown
    for row, url in ((Cohort, COHORTS), (Destination, DESTINATIONS), (Sync, SYNCS)):
        first = row.objects.first()
        assert first and f'href="{first.get_absolute_url()}"' in page(client, url), "where one reads it"
    assert ">To 3</a>" not in shown
    shown = page(client, DESTINATIONS)
    assert "2 of 2 failed" in shown and "2 syncs, well" in shown and "34 ms" in shown
    assert '<td class="field-users_there' in shown and ">6<" in shown.replace(" ", "")
    shown = page(client, SYNCS)
    assert "1 of the last 1 runs failed" in shown and "None of the last 1 runs failed" in shown
    assert 'title="Equal to version 2, 3 users' in shown, "the sentence, though it does not stand there"


def test_lists_ask_as_often_however_many_rows_there_are() -> None:
    client = person("administrator")

    def asked(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            page(client, url)
        return len(queries)

    grow(0, 2)
    for url in LISTS:
        page(client, url)
    few = {url: asked(url) for url in LISTS}
    grow(2, 8)
    for url in LISTS:
        assert asked(url) == few[url], url


def test_a_line_needs_two_sizes_and_is_level_if_nothing_changes() -> None:
    assert line_of([]) == line_of([5]) == "–"
    assert 'points="0.0,23.0 60.0,23.0 120.0,23.0"' in line_of([7, 7, 7])
    assert 'points="0.0,23.0 120.0,1.0"' in line_of([0, 10**9])
    assert "0 to 1,000,000,000 users in 2 versions" in line_of([0, 10**9])


def test_each_person_chooses_their_columns() -> None:
    grow(0, 1)
    ann, ben = person("viewer", "ann"), person("viewer", "ben")
    views = reverse("admin:cohorts_cohort_views")
    assert "column-key" in page(ann, COHORTS) and "column-next_calculation" not in page(ann, COHORTS)
    reply = ann.post(views, {"columns": ["next_calculation", "nonsense"], "query": "needs=held&p=3"})
    assert reply.headers["Location"] == f"{COHORTS}?needs=held"
    shown = page(ann, COHORTS)
    assert "column-next_calculation" in shown and "column-name" in shown, "the first leads to the row"
    assert "column-key" not in shown and "column-key" in page(ben, COHORTS)
    assert page(ann, DESTINATIONS)
    ann.post(views, {"columns": [], "query": ""})
    assert "column-key" in page(ann, COHORTS), "none: those that everybody has"
    assert client_of_nobody().post(views).status_code in (302, 403)
    assert ann.get(views).status_code == 405


def client_of_nobody() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="nobody"))
    return client


def test_views_are_kept_opened_and_dropped_by_their_owner() -> None:
    grow(0, 1)
    ann, ben = person("viewer", "ann"), person("viewer", "ben")
    views = reverse("admin:syncs_sync_views")
    reply = ann.post(views, {"keep": "1", "name": "<b>Mine</b>", "query": "state=equal", "columns": ["why"]})
    assert reply.headers["Location"] == f"{SYNCS}?state=equal"
    view = ListView.objects.get(name="<b>Mine</b>")
    shown = page(ann, SYNCS, state="equal")
    assert f'href="?view={view.pk}" aria-current="page"' in shown and "&lt;b&gt;Mine&lt;/b&gt;" in shown
    assert "column-why" in shown and "Mine" not in page(ben, SYNCS)
    assert ben.get(SYNCS, {"view": view.pk}).headers["Location"] == SYNCS
    assert "column-held" in page(ben, SYNCS)
    assert ann.get(SYNCS, {"view": "0"}).headers["Location"] == SYNCS
    assert "column-held" in page(ann, SYNCS), "without a view, the columns of before"
    assert ann.get(SYNCS, {"view": view.pk}).headers["Location"] == f"{SYNCS}?state=equal"
    assert "column-held" not in page(ann, SYNCS)
    for bad in ("x", "²", "9" * 30):
        assert ann.get(SYNCS, {"view": bad}).headers["Location"] == SYNCS
        ann.post(views, {"drop": bad})
    ann.post(views, {"keep": "1", "name": "<b>Mine</b>", "query": "", "columns": ["held"]})
    assert ListView.objects.get(name="<b>Mine</b>").query == "", "the same name replaces it"
    for name in ("", " ", "x" * 61, "a\nb"):
        ann.post(views, {"keep": "1", "name": name, "columns": ["why"]})
    assert ListView.objects.exclude(name="").count() == 1
    ben.post(views, {"drop": view.pk})
    assert ListView.objects.filter(pk=view.pk).exists()
    ann.post(views, {"drop": view.pk})
    assert not ListView.objects.filter(pk=view.pk).exists()


def test_a_person_has_so_many_views_and_no_more() -> None:
    ann = person("viewer")
    views = reverse("admin:syncs_sync_views")
    for n in range(MOST + 1):
        reply = ann.post(views, {"keep": "1", "name": f"View {n}"}, follow=True)
    assert "drop one first" in reply.content.decode()
    assert ListView.objects.count() == MOST
    assert cleaned("p=2&state=equal&e=1&o=1.-2") == "state=equal&o=1.-2"


def read(client: Client, url: str, **data: Any) -> list[list[str]]:
    reply = client.get(url, data)
    assert reply.status_code == 200 and reply.headers["Content-Type"].startswith("text/csv")
    text = b"".join(reply.streaming_content).decode()  # type: ignore[attr-defined]
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:])))


def test_a_list_is_downloaded_as_it_is_filtered_with_its_columns() -> None:
    grow(0, 3)
    Cohort.objects.filter(key="c0").update(name="=HYPERLINK(1)")
    client = person("viewer")
    rows = read(client, reverse("admin:cohorts_cohort_export_list"))
    assert rows[0][:3] == ["Name", "Key", "Users"] and len(rows) == 4
    assert rows[1][0] == "'=HYPERLINK(1)"
    by_name = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    one = by_name["Cohort 1"]
    assert one["Goes to"] == "To 0, To 1, To 2, 2 more" and one["State"] == "Ready"
    assert one["Published"].startswith(f"{timezone.now():%Y-%m-%dT}")
    rows = read(client, reverse("admin:syncs_sync_export_list"), state="failed")
    assert len(rows) == 4 and all("To 1" in row[0] for row in rows[1:])
    assert rows[1][1] == "Equal" or rows[1][1]
    runs = reverse("admin:syncs_run_export_list")
    assert len(read(client, runs, state__exact="failed")) == 4
    assert client.get(runs, {"nonsense__x": "1"}).status_code == 404
    url, asked = reverse("admin:syncs_sync_export_list"), []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            read(client, url)
        asked.append(len(queries))
        grow(3 + 3 * len(asked), 6 + 3 * len(asked))
    assert asked[0] == asked[1]
    assert client_of_nobody().get(runs).status_code == 302


def chosen(rows: Any, action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": [row.pk for row in rows], **more}


def test_several_syncs_are_run_paused_resumed_and_moved_after_a_question() -> None:
    grow(0, 2)
    syncs = list(Sync.objects.order_by("pk")[:4])
    client = person("administrator")
    Sync.objects.filter(pk=syncs[0].pk).update(enabled=False)
    shown = client.post(SYNCS, chosen(syncs, "run")).content.decode()
    assert "Run now: 3 syncs" in shown and "3 destinations" in shown and "9 users" in shown
    assert "Left out" in shown and not Run.objects.filter(state=RunState.PENDING).exists()
    reply = client.post(SYNCS, chosen(syncs, "run", confirmed="1"), follow=True)
    assert "Run now: done for 3 of 4." in reply.content.decode()
    # One had failed, and is taken up again.
    assert Run.objects.filter(state=RunState.PENDING, sync__in=syncs[1:]).count() == 3

    client.post(SYNCS, chosen(syncs, "pause", confirmed="1"))
    assert not Sync.objects.filter(pk__in=[s.pk for s in syncs], enabled=True).exists()
    client.post(SYNCS, chosen(syncs, "resume", confirmed="1"))
    assert Sync.objects.filter(pk__in=[s.pk for s in syncs], enabled=True).count() == 4

    assert "Daily at" in client.post(SYNCS, chosen(syncs, "schedule")).content.decode()
    given = {"schedule_kind": "daily", "timezone": "Europe/Berlin", "confirmed": "1"}
    reply = client.post(SYNCS, chosen(syncs, "schedule", **given))
    assert reply.context["form"].errors.keys() == {"schedule_at"}
    reply = client.post(
        SYNCS, chosen(syncs, "schedule", **given | {"timezone": "Nowhere", "schedule_at": "07:30"})
    )
    assert reply.context["form"].errors.keys() == {"timezone"}
    client.post(SYNCS, chosen(syncs, "schedule", **given | {"schedule_at": "07:30"}))
    moved = Sync.objects.filter(schedule_kind="daily", schedule_at="07:30", timezone="Europe/Berlin")
    assert moved.count() == 4 and not moved.filter(next_due_at=None).exists()
    assert moved[0].history.latest().history_user.get_username() == "administrator"  # type: ignore[attr-defined]


def test_who_may_not_do_it_to_one_may_not_do_it_to_several() -> None:
    grow(0, 1)
    syncs = list(Sync.objects.all())
    viewer, operator = person("viewer"), person("operator")
    for action in ("run", "pause", "schedule"):
        viewer.post(SYNCS, chosen(syncs, action, confirmed="1"))
    operator.post(SYNCS, chosen(syncs, "schedule", schedule_kind="hourly", timezone="UTC", confirmed="1"))
    viewer.post(DESTINATIONS, chosen(Destination.objects.all(), "pause_selected", reason="x", confirmed="1"))
    assert Run.objects.filter(state=RunState.PENDING).count() == 0
    assert Sync.objects.filter(enabled=True, schedule_kind="manual").count() == 5
    assert not Destination.objects.exclude(paused_at=None).exists()
    operator.post(SYNCS, chosen(syncs, "pause", confirmed="1"))
    assert not Sync.objects.filter(enabled=True).exists()


def test_one_that_cannot_be_done_keeps_no_other_from_it() -> None:
    grow(0, 1)
    client = person("administrator")
    first, *_ = Destination.objects.all()
    Destination.objects.pause(first.pk, "before")
    reply = client.post(
        DESTINATIONS,
        chosen(Destination.objects.all(), "pause_selected", reason="They move", confirmed="1"),
        follow=True,
    )
    assert "done for 4 of 5" in reply.content.decode()
    assert Destination.objects.filter(pause_reason="They move (administrator)").count() == 4
    assert Destination.objects.get(pk=first.pk).pause_reason == "before"
    reply = client.post(DESTINATIONS, chosen([first], "pause_selected"))
    assert "For none of those that you chose" in reply.content.decode()
