"""The tour of the main pages: offered on the empty overview, left and taken up again."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from cohortsite.roles import grant
from cohortsite.tour import STOPS
from tests import world

pytestmark = pytest.mark.django_db
LAST = len(STOPS)


@pytest.fixture
def viewer(client: Client) -> Client:
    grant()
    user = User.objects.create_user("ann", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    client.force_login(user)
    return client


def page(client: Client, url: str) -> str:
    reply = client.get(url)
    assert reply.status_code == 200, url
    return " ".join(reply.content.decode().split())


def test_a_viewer_is_led_through_every_page_and_the_last_ends_it(viewer: Client):
    assert f'href="/admin/tour/1/">Take the tour</a> of the main pages, in {LAST} steps' in page(
        viewer, "/admin/"
    )
    for number, stop in enumerate(STOPS, 1):
        reply = viewer.get(f"/admin/tour/{number}/")
        assert reply["Location"] == f"{stop.url}#tour"
        seen = page(viewer, stop.url)
        assert f"{stop.title} <span>step {number} of {LAST}</span>" in seen
        assert (f'href="/admin/tour/{number + 1}/">Next' in seen) == (number < LAST)
        assert (f'href="/admin/tour/{number - 1}/">Back' in seen) == (number > 1)
    assert viewer.get("/admin/tour/leave/?end")["Location"] == "/admin/"
    seen = page(viewer, "/admin/")
    assert 'id="tour"' not in seen and "Take the tour" in seen


def test_who_wanders_off_or_leaves_goes_on_where_they_were(viewer: Client):
    viewer.get("/admin/tour/3/")
    assert "The tour waits at step 3" in page(viewer, "/admin/syncs/driver/")
    viewer.get("/admin/tour/leave/")
    assert 'id="tour"' not in page(viewer, "/admin/syncs/driver/")
    assert f'href="/admin/tour/3/">Go on with the tour</a> at step 3 of {LAST}' in page(viewer, "/admin/")


def test_it_is_offered_in_the_help_when_the_installation_is_not_empty_any_more(viewer: Client):
    world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    assert "Take the tour" not in page(viewer, "/admin/")
    assert "Take the tour" in page(viewer, "/help/")


def test_a_step_that_is_none_is_not_found_and_who_sees_nothing_is_offered_nothing(viewer: Client):
    for number in (0, LAST + 1):
        assert viewer.get(f"/admin/tour/{number}/").status_code == 404
    stranger = Client()
    stranger.force_login(User.objects.create_user("eve", is_staff=True))
    assert stranger.get("/admin/tour/1/").status_code == 404
    assert "Take the tour" not in page(stranger, "/help/")
    assert Client().get("/admin/tour/1/")["Location"].startswith("/admin/login/")
