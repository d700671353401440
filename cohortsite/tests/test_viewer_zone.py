"""Times on the pages are those of the viewer's clock; schedules, the API and downloads are not touched."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from cohortsite import tokens
from syncs.choices import RejectionKind
from syncs.models import Rejection, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 15, 11, 0, tzinfo=UTC)


@pytest.fixture
def sync():
    made = world.sync(world.cohort(["a"], key="buyers"), world.destination("http://127.0.0.1:9", name="acme"))
    run = Run.objects.create(sync=made, trigger="person", from_version=0, to_version=1, state="succeeded")
    Rejection.objects.create(
        sync=made, user_id="a", kind=RejectionKind.REJECTED, wanted=True, code="x", message="y",
        run=run, last_at=NOON,
    )  # fmt: skip
    Rejection.objects.update(first_at=NOON)
    return made


def seen(client, zone, path="/admin/syncs/rejection/"):
    client.cookies["zone"] = zone
    return client.get(path).content.decode()


@pytest.mark.parametrize(("zone", "shown", "named"), [
    ("Europe%2FBerlin", "2026-01-15 12:00:00 CET", "Europe/Berlin (C"),
    ("Europe/Berlin", "2026-01-15 12:00:00 CET", "Europe/Berlin (C"),
    ("Asia%2FKolkata", "2026-01-15 16:30:00 IST", "Asia/Kolkata (IST)"),
    ("UTC", "2026-01-15 11:00:00 UTC", "Times in <span id=\"zone\">UTC</span>"),
])  # fmt: skip
def test_a_page_has_its_viewer_s_times_and_names_the_zone(admin_client, sync, zone, shown, named):
    page = seen(admin_client, zone)
    assert shown in page
    assert named in page
    assert timezone.get_current_timezone_name() == "UTC"  # the next request begins anew


@pytest.mark.parametrize("zone", [
    "", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "<script>", "a" * 4000, "%00", "%ff%fe",
])  # fmt: skip
def test_what_is_no_zone_is_not_believed(admin_client, sync, zone):
    page = seen(admin_client, zone)
    assert "2026-01-15 11:00:00 UTC" in page
    assert "Olympus" not in page


def test_every_page_asks_for_the_zone_from_a_file(admin_client, sync):
    for page in (admin_client.get("/admin/"), Client().get("/account/login/")):
        assert '<script src="/static/cohortsite/zone.js"></script>' in page.content.decode()
    assert "Times in" in admin_client.get("/admin/").content.decode()


def test_the_api_and_downloads_say_the_offset_and_do_not_depend_on_who_asks(admin_client, sync):
    text = tokens.create(admin_client.get("/admin/").wsgi_request.user, "t")[1]
    call = Client(headers={"Authorization": f"Token {text}"})
    call.cookies["zone"] = "Asia/Kolkata"
    row = call.get(f"/api/v1/syncs/{sync.pk}/rejections/").json()["results"][0]
    assert row["last_at"] == "2026-01-15T11:00:00Z"
    admin_client.cookies["zone"] = "Asia/Kolkata"
    csv = b"".join(admin_client.get("/admin/syncs/rejection/download/")).decode()
    assert "2026-01-15T11:00:00+00:00" in csv


def test_a_schedule_is_read_and_shown_in_its_own_zone(admin_client, sync):
    """Wherever the viewer is, and though 02:30 does not exist on that day where they are."""
    admin_client.cookies["zone"] = "Europe/Berlin"
    gap = datetime(2027, 3, 28, 2, 30)
    url = f"/admin/syncs/sync/{sync.pk}/change/?edit=1"
    form = {
        "schedule_kind": "once", "schedule_once_at_0": f"{gap:%Y-%m-%d}", "schedule_once_at_1": "02:30:00",
        "timezone": "America/New_York",
    }  # fmt: skip
    reply = admin_client.post(f"/admin/syncs/sync/{sync.pk}/change/", form)
    assert reply.status_code == 302, reply.content.decode()
    sync.refresh_from_db()
    assert sync.schedule_once_at == gap.replace(tzinfo=ZoneInfo("America/New_York"))
    page = admin_client.get(url).content.decode()
    assert 'value="02:30:00"' in page
    assert 'value="2027-03-28"' in page


def test_a_cohort_s_schedule_too(admin_client):
    made = world.cohort(key="carts", source_kind="behavioral", definition=None)
    made.timezone, made.schedule_kind = "America/New_York", "once"
    made.schedule_once_at = datetime(2027, 6, 1, 13, 0, tzinfo=UTC)
    made.save()
    page = seen(admin_client, "Asia/Kolkata", f"/admin/cohorts/cohort/{made.pk}/change/")
    assert 'value="09:00:00"' in page


def test_the_days_of_the_overview_begin_at_the_viewer_s_midnight(admin_client, sync):
    now = timezone.now()
    midnight = now.astimezone(ZoneInfo("Pacific/Kiritimati")).replace(hour=0, minute=0, second=0)
    Run.objects.update(finished_at=midnight - timedelta(minutes=1), added=7)
    Sync.objects.update(settled_version=1)
    admin_client.cookies["zone"] = "Pacific/Kiritimati"
    assert admin_client.get("/admin/").context["delivered_today"] == 0
    Run.objects.update(finished_at=midnight + timedelta(seconds=1))
    assert admin_client.get("/admin/").context["delivered_today"] == 7
