"""What hangs on a cohort and on a destination is on their pages; what failed at night is found."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from destinations.models import Destination
from syncs.choices import RunState, Trigger
from syncs.models import Driver, Run, Sync, Try
from tests import world

pytestmark = pytest.mark.django_db
RUNS = reverse("admin:syncs_run_changelist")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create(username="ann", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def sync() -> Sync:
    to = world.destination("http://127.0.0.1:9", name="acme", title="Acme")
    made = world.sync(world.cohort(["u1", "u2", "u3"]), to)
    Sync.objects.filter(pk=made.pk).update(settled_version=1)
    return made


def shown(client: Client, row: object) -> str:
    name = row._meta.model_name  # type: ignore[attr-defined]
    reply = client.get(reverse(f"admin:{row._meta.app_label}_{name}_overview", args=[row.pk]))  # type: ignore[attr-defined]
    assert reply.status_code == 200
    return " ".join(reply.content.decode().split())


def failed(sync: Sync, reason: str) -> Run:
    return Run.objects.create(
        sync=sync, state=RunState.FAILED, trigger=Trigger.SCHEDULE, reason=reason,
        started_at=timezone.now(), finished_at=timezone.now(), from_version=1, to_version=1,
    )  # fmt: skip


def test_a_cohort_says_where_it_goes_and_a_destination_what_it_is_sent(admin: Client, sync: Sync):
    failed(sync, "The partner answers 500.")
    url = reverse("admin:syncs_sync_overview", args=[sync.pk])
    for row, name in ((sync.cohort, "Acme"), (sync.destination, "Buyers")):
        page = shown(admin, row)
        assert f'href="{url}"><bdi>{name}</bdi>' in page
        assert "The partner answers 500." in page and '<td class="cs-number">3</td>' in page
    Sync.objects.update(archived_at=timezone.now())
    assert "No sync yet." in shown(admin, sync.cohort) and url not in shown(admin, sync.destination)


def test_a_destination_says_why_nothing_is_sent(admin: Client, sync: Sync):
    assert "Nothing is sent for now" not in shown(admin, sync.destination)
    driver = Driver.objects.create(
        destination=sync.destination, next_at=timezone.now() + timedelta(hours=1), next_reason="It said 503."
    )
    page = shown(admin, sync.destination)
    assert "It said 503." in page and reverse("admin:syncs_driver_change", args=[driver.pk]) in page
    Destination.objects.pause(sync.destination_id, "The credential is wrong.")
    assert "The credential is wrong." in shown(admin, Destination.objects.get())


def test_whoever_may_not_see_syncs_sees_none(client: Client, sync: Sync):
    person = User.objects.create(username="bob", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename="view_cohort"))
    client.force_login(person)
    assert "Where it goes" not in shown(client, sync.cohort)


def test_what_hangs_on_a_cohort_costs_the_same_however_much(admin: Client, sync: Sync):
    def queries() -> int:
        """The fewer of two: some of it is asked once a process or once a minute."""
        counts = []
        for _ in range(2):
            with CaptureQueriesContext(connection) as asked:
                shown(admin, sync.cohort)
            counts.append(len(asked))
        return min(counts)

    few = queries()
    for number in range(25):
        world.sync(sync.cohort, world.destination("http://127.0.0.1:9", name=f"other-{number}"))
    assert queries() == few
    assert f"{reverse('admin:syncs_sync_changelist')}?cohort__id__exact={sync.cohort_id}" in shown(
        admin, sync.cohort
    )


def test_what_failed_last_night_is_found_although_it_was_tried_again_since(admin: Client, sync: Sync):
    night = timezone.now() - timedelta(hours=9)
    well = Run.objects.create(
        sync=sync, state=RunState.SUCCEEDED, trigger=Trigger.SCHEDULE, from_version=1, to_version=1,
        started_at=night, finished_at=timezone.now(),
    )  # fmt: skip
    for _ in range(2):
        Try.objects.create(run=well, began_at=night, ended_at=night + timedelta(minutes=5), reason="401")
    clean = Run.objects.create(
        sync=sync, state=RunState.SUCCEEDED, trigger=Trigger.SCHEDULE, from_version=1, to_version=1,
        started_at=night - timedelta(days=2), finished_at=night - timedelta(days=2),
    )  # fmt: skip
    bad = failed(sync, "500")

    def found(**query: str) -> list[int]:
        return sorted(run.pk for run in admin.get(RUNS, query).context["cl"].result_list)

    assert found(fared="failed") == sorted([well.pk, bad.pk])
    assert found(fared="clean") == [clean.pk]
    assert found(fared="nonsense") == sorted([well.pk, bad.pk, clean.pk])
    local = timezone.localtime(night - timedelta(days=1))
    since = {"started_at_from_0": f"{local:%Y-%m-%d}", "started_at_from_1": f"{local:%H:%M:%S}"}
    assert found(**since) == sorted([well.pk, bad.pk])
    assert f"{timezone.localtime(night):%Y-%m-%d %H:%M %Z}</time>" in admin.get(RUNS).content.decode()
