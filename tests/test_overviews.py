"""A cohort, a destination and a sync open on a page to read; their forms are a step away."""

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cohorts.models import Cohort, CohortVersion
from cohortsite import roles
from destinations.models import Destination
from syncs.choices import RunState, Trigger
from syncs.models import Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
Row = Cohort | Destination | Sync


@pytest.fixture
def rows() -> list[Row]:
    to = world.destination("http://127.0.0.1:9", name="acme", title="Acme")
    sync = world.sync(world.cohort(["u1", "u2", "u3"], name="Buyers"), to)
    return [sync.cohort, to, sync]


def person(role: str) -> Client:
    user = User.objects.create(username=role, is_staff=True)
    roles.grant()
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def form_of(row: Row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def ran(sync: Row, state: RunState = RunState.SUCCEEDED, reason: str = "") -> None:
    Run.objects.create(
        sync_id=sync.pk, state=state, trigger=Trigger.SCHEDULE, from_version=0, to_version=1, reason=reason,
        started_at=timezone.now(), finished_at=timezone.now(), added=3,
    )  # fmt: skip


def page(client: Client, url: str) -> str:
    reply = client.get(url)
    assert reply.status_code == 200, url
    return " ".join(reply.content.decode().split())


def test_a_row_opens_on_its_overview_and_edit_is_a_step_away(rows: list[Row]) -> None:
    client = person("administrator")
    for row in rows:
        shown = page(client, row.get_absolute_url())
        assert 'aria-current="page">Overview</a>' in shown
        assert f'href="{form_of(row)}"' in shown and 'name="_save"' not in shown
        form = page(client, form_of(row))
        assert 'name="_save"' in form and f'href="{row.get_absolute_url()}">Overview</a>' in form


def test_who_may_only_look_reads_what_is_configured_and_is_led_past_the_form(rows: list[Row]) -> None:
    viewer = person("viewer")
    for row in rows:
        assert viewer.get(form_of(row)).headers["Location"] == row.get_absolute_url()
        assert viewer.post(form_of(row), {"name": "x"}).status_code == 403
        assert form_of(row) not in page(viewer, row.get_absolute_url())
        assert 'aria-current="page"' in page(viewer, f"{row.get_absolute_url()}settings/")
    nobody = Client()
    nobody.force_login(User.objects.create(username="nobody", is_staff=True))
    for row in rows:
        for url in (row.get_absolute_url(), f"{row.get_absolute_url()}settings/"):
            assert nobody.get(url).status_code == 403
            assert Client().get(url).status_code == 302
            assert viewer.post(url).status_code == 405
    assert viewer.get(reverse("admin:syncs_sync_overview", args=[0])).status_code == 404


def test_settings_say_in_words_what_applies_and_no_secret(rows: list[Row]) -> None:
    cohort, destination, sync = rows
    client = person("viewer")
    said = page(client, f"{destination.get_absolute_url()}settings/")
    assert "<dt>Credential</dt> <dd> <bdi>Set</bdi>" in said and world.KEY not in said
    assert "/lists/$list_id/add" in said and "Property" not in said, "of its kind alone"
    said = page(client, f"{sync.get_absolute_url()}settings/")
    assert "<bdi>By hand only</bdi>" in said and "Cron expression" not in said
    definition = {"version": 1, "where": {"performed": {"event": "<b>cart</b>"}}}
    Cohort.objects.filter(pk=cohort.pk).update(source_kind="behavioral", definition=definition)
    said = page(client, f"{cohort.get_absolute_url()}settings/")
    assert "Users who performed &quot;&lt;b&gt;cart&lt;/b&gt;&quot; at any time." in said
    assert "<dt>Database</dt>" not in said
    Cohort.objects.filter(pk=cohort.pk).update(definition={"version": 9})
    assert "version" in page(client, f"{cohort.get_absolute_url()}settings/")


def test_what_was_saved_is_read_on_the_overview(rows: list[Row]) -> None:
    sync = rows[2]
    reply = person("administrator").post(form_of(sync), {"schedule_kind": "hourly", "timezone": "UTC"})
    assert reply.headers["Location"] == sync.get_absolute_url()


def test_a_cohort_whose_definition_was_changed_since_is_not_called_ready(rows: list[Row]) -> None:
    cohort, client = rows[0], person("viewer")
    first, other = ({"version": 1, "where": {"performed": {"event": event}}} for event in ("a", "b"))
    CohortVersion.objects.filter(cohort=cohort.pk).update(definition=first)
    for definition, words in ((first, "Ready"), (other, "Definition changed since version 1")):
        Cohort.objects.filter(pk=cohort.pk).update(source_kind="behavioral", definition=definition)
        assert words in page(client, cohort.get_absolute_url())
        assert words in page(client, reverse("admin:cohorts_cohort_changelist"))


def test_all_versions_are_listed_page_by_page(rows: list[Row]) -> None:
    cohort, client = rows[0], person("viewer")
    CohortVersion.objects.bulk_create(
        CohortVersion(cohort_id=cohort.pk, number=number, state="published", source=f"file {number}")
        for number in range(2, 60)
    )
    first = page(client, f"{cohort.get_absolute_url()}versions/")
    assert "file 59" in first and "file 10<" in first and "file 9<" not in first
    assert 'href="?before=10"' in first
    second = page(client, f"{cohort.get_absolute_url()}versions/?before=10")
    assert "file 9<" in second and "file 10<" not in second and "before=" not in second
    for bad in ("x", "-1", "9" * 30, "²"):
        assert "file 59" in page(client, f"{cohort.get_absolute_url()}versions/?before={bad}")
    assert "None yet before that" in page(client, f"{cohort.get_absolute_url()}versions/?before=0")


def test_a_destination_tells_how_its_latest_runs_fared(rows: list[Row]) -> None:
    destination, sync = rows[1], rows[2]
    client = person("viewer")
    assert "nothing was sent to it yet" in page(client, destination.get_absolute_url())
    ran(sync)
    ran(sync, state=RunState.FAILED, reason="<i>It said 401.</i>")
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    shown = page(client, destination.get_absolute_url())
    assert "1 of 2 failed" in shown and "&lt;i&gt;It said 401.&lt;/i&gt;" in shown
    assert '<p class="cs-big">3</p> <p class="cs-quiet">of 1 sync</p>' in shown


def test_the_pages_ask_as_often_whatever_hangs_on_the_row(rows: list[Row]) -> None:
    client = person("administrator")
    urls = [url for row in rows for url in (row.get_absolute_url(), f"{row.get_absolute_url()}settings/")]

    def asked() -> list[int]:
        counts = []
        for url in urls:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                page(client, url)
            counts.append(len(queries))
        return counts

    cohort, destination, sync = rows
    assert isinstance(cohort, Cohort) and isinstance(destination, Destination)
    ran(sync)
    world.fill(cohort, ["u1"])
    asked()
    first = asked()
    for number in range(4):
        world.fill(cohort, [f"u{n}" for n in range(number + 2)])
        world.sync(world.cohort(["u1"]), destination)
        world.sync(cohort, world.destination("http://127.0.0.1:9", name=f"other-{number}"))
        ran(sync)
    assert asked() == first
    assert max(first) <= 24
