"""Two people, or two tabs, with one form: nobody undoes the other's change without being told."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests import world

pytestmark = pytest.mark.django_db


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser(name))
    return client


def opened(client: Client, url: str) -> dict[str, object]:
    """What a browser would send back of the form, unchanged."""
    page = client.get(url)
    form = page.context["adminform"].form
    data: dict[str, object] = {}
    for name in form.fields:
        bound = form[name]
        value = bound.value()
        shown = "on" if value is True else bound.field.widget.format_value(value)
        if value not in (None, False) and shown is not None:
            data[bound.html_name] = shown
    number = form.seen_change
    assert number and f'name="seen_change" value="{number}"' in page.content.decode()
    return data | {"seen_change": number}


def messages_of(reply: object) -> str:
    return " ".join(map(str, reply.context["adminform"].form.non_field_errors()))  # type: ignore[attr-defined]


def test_an_older_form_does_not_take_back_what_another_person_set():
    ann, bob = client_of("ann"), client_of("bob")
    made = world.destination("http://127.0.0.1:9", name="acme")
    url = reverse("admin:destinations_destination_change", args=[made.pk])
    older = opened(ann, url)
    reply = bob.post(url, opened(bob, url) | {"rate": "5"})
    assert reply.status_code == 302, reply.context["errors"]

    reply = ann.post(url, older | {"title": "Acme, Inc."})
    assert reply.status_code == 200
    said = messages_of(reply)
    assert said.startswith("bob changed this at ") and "Rate, empty → 5" in said
    made.refresh_from_db()
    assert (made.rate, made.title) == (5, "")

    form = reply.context["adminform"].form
    assert (float(form["rate"].value()), form["title"].value()) == (5, "Acme, Inc.")
    again = older | {"title": "Acme, Inc.", "rate": form["rate"].value(), "seen_change": form.seen_change}
    assert ann.post(url, again).status_code == 302
    made.refresh_from_db()
    assert (made.rate, made.title) == (5, "Acme, Inc.")


def test_a_field_that_both_changed_shows_what_one_entered_and_tells_the_other():
    ann, bob = client_of("ann"), client_of("bob")
    cohort = world.cohort(["a"], key="buyers", name="Buyers")
    url = reverse("admin:cohorts_cohort_change", args=[cohort.pk])
    older = opened(ann, url)
    assert bob.post(url, opened(bob, url) | {"name": "Bob's"}).status_code == 302
    reply = ann.post(url, older | {"name": "Ann's"})
    assert "Name, Buyers → Bob's (here it still says what you entered)" in messages_of(reply)
    assert reply.context["adminform"].form["name"].value() == "Ann's"
    cohort.refresh_from_db()
    assert cohort.name == "Bob's"


def test_a_box_that_another_person_unticked_stays_unticked():
    ann, bob = client_of("ann"), client_of("bob")
    cohort = world.cohort(["a"], key="buyers", name="Buyers")
    url = reverse("admin:cohorts_cohort_change", args=[cohort.pk])
    older = opened(ann, url)
    theirs = opened(bob, url)
    was = cohort.hold_if_emptied
    theirs = (
        {k: v for k, v in theirs.items() if k != "hold_if_emptied"}
        if was
        else theirs | {"hold_if_emptied": "on"}
    )
    assert bob.post(url, theirs).status_code == 302
    form = ann.post(url, older | {"name": "Ann's"}).context["adminform"].form
    assert bool(form["hold_if_emptied"].value()) is not was


def test_a_change_by_a_command_or_of_a_sync_is_reported_too():
    ann = client_of("ann")
    sync = world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9"))
    url = reverse("admin:syncs_sync_change", args=[sync.pk])
    older = opened(ann, url)
    sync.guard_users = 7
    sync.save(update_fields=["guard_users"])
    reply = ann.post(url, older)
    assert reply.status_code == 200 and messages_of(reply).startswith("A command changed this at ")


@pytest.mark.parametrize("seen", ["", "x", "9" * 30, "-1", "1000000"])
def test_a_number_that_is_none_changes_nothing(seen):
    ann = client_of("ann")
    cohort = world.cohort(["a"], key="buyers", name="Buyers")
    url = reverse("admin:cohorts_cohort_change", args=[cohort.pk])
    data = opened(ann, url) | {"seen_change": seen, "name": "New"}
    assert ann.post(url, data).status_code == 302
