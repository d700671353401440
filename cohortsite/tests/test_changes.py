"""Changes of configuration: who, when, before and after; no secret, and nothing of state."""

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from cohortsite.records import changes_of
from cohortsite.roles import grant
from destinations.models import Destination
from syncs import lifecycle
from syncs.models import Sync
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def root():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_change_by_the_api_tells_who_before_and_after(root):
    made = world.destination("http://127.0.0.1:9", name="acme")
    url = f"/api/v1/destinations/{made.name}"
    reply = root.patch(url, {"batch_size": 500, "title": "Acme"}, content_type="application/json")
    assert reply.status_code == 200, reply.content
    latest, first = changes_of(made)
    assert (latest.who, first.who, first.what) == ("root", "", "Created")
    described = {(f.label, f.before, f.after) for f in latest.fields}
    assert described == {("Batch size", "1000", "500"), ("Title", "empty", "Acme")}

    page = root.get(f"/admin/destinations/destination/{made.pk}/history/").content.decode()
    for text in ("root", "Batch size", "1000", "500"):
        assert text in page


def test_a_secret_is_recorded_as_set_and_no_more():
    made = world.destination("http://127.0.0.1:9", credential="first-s3cret")
    made.credential = "second-s3cret"
    made.save_fields(["credential"])
    made.auth_mode, made.credential = "none", ""
    made.save_fields(["credential", "auth_mode"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT credential FROM cohortsite_historicaldestination ORDER BY history_id")
        assert [value for (value,) in cursor.fetchall()] == ["set", "set", "not set"]
    cleared, replaced, _ = changes_of(made)
    assert ("Credential", "set", "not set") in [(f.label, f.before, f.after) for f in cleared.fields]
    assert replaced.fields == []


def test_what_changes_by_itself_leaves_no_record():
    cohort = world.cohort(["a"])
    sync = world.sync(cohort, world.destination("http://127.0.0.1:9"))
    rows = (cohort, sync, sync.destination)
    before = [row.history.count() for row in rows]
    world.fill(cohort, ["a", "b"])
    Destination.objects.pause(sync.destination_id, "x")
    Destination.objects.resume(sync.destination_id)
    Sync.objects.begin(sync.pk, fingerprint="p", external_name="n")
    Sync.objects.settle(lifecycle.start(sync, trigger="person"))
    sync.reschedule(timezone.now())
    sync.save(update_fields=["next_due_at"])
    assert [row.history.count() for row in rows] == before


def test_markup_in_a_value_is_shown_as_text(root):
    cohort = world.cohort(["a"])
    cohort.description = "<script>alert(1)</script>"
    cohort.save()
    page = root.get(f"/admin/cohorts/cohort/{cohort.pk}/history/").content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_a_deleted_row_stays_reported():
    made = world.destination("http://127.0.0.1:9")
    history, pk = type(made).history.model, made.pk
    made.delete()
    assert (
        history.objects.filter(id=pk).order_by("history_id").values_list("history_type", flat=True)[1] == "-"
    )


def test_a_named_secret_that_is_set_replaced_or_removed_is_shown_by_name_and_never_by_value(root):
    values = ["alpha-9a8b7c", "beta-6d5e4f"]
    made = Destination.objects.create(name="acme", base_url="https://acme.example")
    url = f"/admin/destinations/destination/{made.pk}/history/"
    for secrets in ({"signing": values[0]}, {"signing": values[1], "other": values[0]}, {"other": values[0]}):
        made.seal_secrets(secrets)
        made.save_fields(["secrets"])
    shown = [[(one.label, one.before, one.after) for one in change.fields] for change in changes_of(made)]
    assert shown == [
        [("Secret signing", "set", "not set")],
        [("Secret other", "not set", "set"), ("Secret signing", "set", "replaced")],
        [("Secret signing", "not set", "set")],
        [],
    ]
    page = root.get(url).content.decode()
    kept = str(list(made.history.values()))
    assert "Secret signing" in page and not any(value in page + kept for value in values)


def test_what_was_changed_is_put_back_by_a_form_that_is_filled_and_not_saved(root):
    made = world.destination("http://127.0.0.1:9", name="acme", title="Acme")
    url = f"/api/v1/destinations/{made.name}"
    root.patch(url, {"batch_size": 500, "title": "Wrong"}, content_type="application/json")
    root.patch(url, {"threads": 2}, content_type="application/json")
    page = root.get(f"/admin/destinations/destination/{made.pk}/history/").content.decode()
    number = changes_of(made)[1].number
    form_url = f"/admin/destinations/destination/{made.pk}/change/"
    assert f'href="{form_url}?put_back={number}"' in page
    reply = root.get(form_url, {"put_back": number})
    form = reply.context["adminform"].form
    assert [form[name].value() for name in ("batch_size", "title", "threads")] == [1000, "Acme", 2]
    assert reply.content.decode().count("Nothing is saved yet") == 1
    made.refresh_from_db()
    assert (made.batch_size, made.title) == (500, "Wrong")
    first = changes_of(made)[-1].number
    for nothing in (first, 10**9, "x"):
        assert root.get(form_url, {"put_back": nothing}).context["adminform"].form["title"].value() == "Wrong"


def test_a_change_of_another_row_is_not_put_back(root):
    one = world.destination("http://127.0.0.1:9", name="one", title="One")
    other = world.destination("http://127.0.0.1:9", name="other", title="Other")
    root.patch("/api/v1/destinations/one", {"title": "1"}, content_type="application/json")
    reply = root.get(
        f"/admin/destinations/destination/{other.pk}/change/", {"put_back": changes_of(one)[0].number}
    )
    assert reply.context["adminform"].form["title"].value() == "Other"


def test_who_may_not_change_a_row_is_not_offered_to_put_it_back(root):
    made = world.destination("http://127.0.0.1:9", name="acme")
    root.patch("/api/v1/destinations/acme", {"title": "A"}, content_type="application/json")
    viewer = Client()
    grant()
    ann = User.objects.create_user("ann", is_staff=True)
    ann.groups.add(Group.objects.get(name="viewer"))
    viewer.force_login(ann)
    page = viewer.get(f"/admin/destinations/destination/{made.pk}/history/").content.decode()
    assert "Title" in page and "put_back" not in page
