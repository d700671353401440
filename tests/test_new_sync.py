"""A new sync, step by step: who, where, how, when; each step can be left and come back to."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template import Context, RequestContext
from django.test import Client, RequestFactory
from django.urls import reverse

from cohorts.importing import import_waiting
from cohorts.models import Cohort, Upload
from cohortsite import roles
from destinations.models import Destination
from pagekit import way
from pagekit.templatetags.way import way_on
from receiving.models import Workspace
from syncs.choices import RunState
from syncs.models import Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
NEW = reverse("admin:syncs_sync_new")
ADD = reverse("admin:syncs_sync_add")
FROM_FILE = reverse("admin:cohorts_from_file")
FORM = {"schedule_kind": "hourly", "timezone": "UTC"}


@pytest.fixture(autouse=True)
def _uploads(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


def person(role: str) -> Client:
    roles.grant()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, url: str) -> str:
    reply = client.get(url)
    assert reply.status_code == 200, url
    return " ".join(reply.content.decode().split())


def file(name: str = "recent-buyers.csv", content: bytes = b"u1\nu2\n") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_a_file_becomes_a_cohort_that_is_sent_to_a_new_destination() -> None:
    client = person("administrator")
    assert client.get(ADD).headers["Location"] == NEW, "what one adds begins with who"
    url = way.by_way_of(FROM_FILE, NEW)
    assert url.replace("&", "&amp;") in page(client, NEW)
    reply = client.post(url, {"file": file()})
    cohort = Cohort.objects.get()
    assert (cohort.name, cohort.key, cohort.source_kind) == ("recent buyers", "recent-buyers", "upload")
    where = reply.headers["Location"]
    assert where == f"{NEW}?cohort={cohort.pk}"
    shown = page(client, where)
    assert "recent buyers, no members yet" in shown and "Amplitude list" in shown
    list(import_waiting())

    add = way.by_way_of(reverse("admin:destinations_destination_add"), where) + "&preset=amplitude-list"
    assert add.replace("&", "&amp;") in shown
    given = {"name": "acme", "preset": "amplitude-list", "base_url": "https://partner.example"}
    form = client.get(add).context["adminform"].form
    assert form["name"].value() == "amplitude-list", "a name that one may keep"
    values = {bound.name: bound.value() for bound in form if bound.value() not in (None, False)}
    reply = client.post(add, values | given | {"credential": world.KEY})
    assert reply.status_code == 302, reply.context["adminform"].form.errors
    to = Destination.objects.get()
    then = parse_qs(urlsplit(reply.headers["Location"]).query)["then"][0]
    assert then == f"{where}&destination={to.pk}"
    assert "This is a step of a new sync." in page(client, reply.headers["Location"])

    last = client.get(then).headers["Location"]
    assert last == f"{ADD}?cohort={cohort.pk}&destination={to.pk}"
    shown = page(client, last)
    assert "recent buyers, 2 users" in shown and 'name="_start"' in shown
    chosen = {"cohort": cohort.pk, "destination": to.pk}
    reply = client.post(ADD, FORM | chosen | {"_start": ""}, follow=True)
    assert "saved and started" in reply.content.decode()
    run = Run.objects.get()
    assert (run.state, run.triggered_by) == (RunState.PENDING, "administrator")


def test_a_definition_that_is_begun_here_leads_back_to_where() -> None:
    client = person("administrator")
    begin = way.by_way_of(reverse("admin:cohorts_cohort_add") + "?source_kind=behavioral", NEW)
    assert begin.replace("&", "&amp;") in page(client, NEW)
    form = client.get(begin).context["adminform"].form
    assert form["source_kind"].value() == "behavioral"
    given = {"name": "Carts", "key": "carts", "source_kind": "behavioral", "events_workspace": "default"}
    definition = '{"version": 1, "where": {"performed": {"event": "cart"}}}'
    reply = client.post(
        begin, given | {"definition": definition, "schedule_kind": "manual", "timezone": "UTC"}
    )
    assert reply.headers["Location"] == f"{NEW}?cohort={Cohort.objects.get().pk}"
    reply = client.post(
        ADD,
        FORM | {"cohort": Cohort.objects.get().pk, "destination": world.destination("http://127.0.0.1:9").pk}
        | {"_start": ""},
        follow=True,
    )  # fmt: skip
    assert "saved, but not started" in reply.content.decode()
    assert Sync.objects.exists() and not Run.objects.exists()


def test_what_goes_nowhere_yet_comes_first_and_what_is_there_is_no_choice() -> None:
    client = person("administrator")
    buyers, to = world.cohort(["u1"], name="A buyer"), world.destination("http://127.0.0.1:9", name="acme")
    world.sync(buyers, to)
    world.cohort(["u1"], name="Z <b>lapsed</b>", key="lapsed")
    shown = page(client, f"{NEW}?destination={to.pk}")
    assert shown.index("Z &lt;b&gt;lapsed") < shown.index("A buyer")
    assert "goes nowhere yet" in shown and "goes there already" in shown
    assert f"?cohort={buyers.pk}" not in shown
    shown = page(client, f"{NEW}?cohort={buyers.pk}")
    assert "goes there already" in shown and f"destination={to.pk}" not in shown
    assert "Z &lt;b&gt;lapsed" in page(client, f"{NEW}?q=laps") and "A buyer" not in page(
        client, f"{NEW}?q=laps"
    )
    assert "None is called so." in page(client, f"{NEW}?q=%00nobody")
    for bad in ("x", "0", "9" * 30, "²", "-1"):
        assert "a cohort, a file or a definition" in page(client, f"{NEW}?cohort={bad}&destination={bad}")


def test_the_choices_take_as_many_queries_however_many_there_are(django_assert_max_num_queries: Any) -> None:
    client = person("administrator")
    cohorts = [world.cohort(["u1"], name=f"Cohort {n}") for n in range(14)]
    for n in range(14):
        world.sync(cohorts[n], world.destination("http://127.0.0.1:9", name=f"to-{n}"))
    with django_assert_max_num_queries(6):
        assert "There are more" in page(client, NEW)
    with django_assert_max_num_queries(6):
        assert "There are more" in page(client, f"{NEW}?cohort={cohorts[0].pk}")


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_each_role_has_the_steps_that_it_may_do(role: str) -> None:
    client = person(role)
    may = client.get(NEW)
    assert may.status_code == (200 if role == "administrator" else 403)
    allowed = User.objects.get().has_perms(["cohorts.add_cohort", "cohorts.add_upload"])
    assert (client.get(FROM_FILE).status_code == 200) is allowed
    assert client.post(NEW).status_code == 405
    look = client.post(reverse("admin:cohorts_look"), {"file": file()})
    assert look.status_code == (200 if allowed else 403)


def test_a_file_that_is_not_certain_is_asked_about_and_nothing_is_made() -> None:
    client = person("administrator")
    reply = client.post(FROM_FILE, {"file": file(content=b"")})
    assert reply.status_code == 200 and reply.context["form"].errors
    table = b"customer,email\n1,a@example.com\n2,b@example.com\n"
    reply = client.post(FROM_FILE, {"file": file(content=table), "column": "nobody"})
    assert reply.status_code == 200 and reply.context["form"].errors
    assert not Cohort.objects.exists() and not Upload.objects.exists()
    for _ in range(2):
        reply = client.post(FROM_FILE, {"file": file(), "name": "Käufer ❤"})
        assert reply.status_code == 302 and "/uploads/" in reply.headers["Location"]
    assert sorted(Cohort.objects.values_list("key", flat=True)) == ["kaufer", "kaufer-2"]
    client.post(FROM_FILE, {"file": file(name="...")})
    assert Cohort.objects.filter(key="users-from-a-file").exists()


def test_nobody_is_led_to_another_site() -> None:
    for given in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "x",
    ):
        assert way.then(RequestFactory().get("/", {"then": given}), cohort=1) == ""
    assert way.then(RequestFactory().get("/", {"then": "/a/?b=1"}), cohort=1) == "/a/?b=1&cohort=1"
    request = RequestFactory().get("/", {"then": "/a/"})
    assert way.then(request) == way_on(RequestContext(request, {"request": request})) == "/a/"
    assert way_on(Context()) == "", "of a page without a request"


def test_the_form_says_by_what_people_are_known_there_and_how_many_that_is() -> None:
    client = person("administrator")
    to = world.destination("http://127.0.0.1:9", identifiers=[{"field": "email"}], profiles_workspace="shop")
    Workspace.objects.create(slug="shop")
    cohort = world.cohort(["u1", "u2"], name="Buyers")
    reply = client.post(reverse("admin:syncs_sync_plan"), FORM | {"cohort": cohort.pk, "destination": to.pk})
    shown = " ".join(reply.content.decode().split())
    assert "people are known by their email" in shown
    assert "0.0 % of the first 2 members can be sent; 2 have nothing" in shown
