"""Nobody gives more than they have: not to themselves, and not by a detour over somebody else."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("groups")]


@pytest.fixture
def ada():
    made = User.objects.create_user("ada", password="x", is_staff=True)
    made.groups.add(Group.objects.get(name="administrator"))
    return made


@pytest.fixture
def client(ada):
    client = Client()
    client.force_login(ada)
    return client


def form_of(client: Client, user: User) -> dict[str, object]:
    page = client.get(f"/admin/auth/user/{user.pk}/change/")
    assert page.status_code == 200
    form = page.context["adminform"].form
    data = {name: form.initial.get(name) for name in form.fields if name not in ("password", "groups")}
    data = {name: value for name, value in data.items() if value not in (None, False, [])}
    for name in ("last_login", "date_joined"):
        data.pop(name, None)
    data |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    return data | {"groups": [group.pk for group in user.groups.all()]}


def test_an_administrator_makes_nobody_a_superuser(client, ada):
    other = User.objects.create_user("bob", is_staff=True)
    for user in (ada, other):
        data = form_of(client, user)
        reply = client.post(f"/admin/auth/user/{user.pk}/change/", data | {"is_superuser": "on"})
        assert reply.status_code == 302, reply.context["errors"]
        user.refresh_from_db()
        assert not user.is_superuser


def test_an_administrator_changes_no_superuser_and_no_password_of_one(client):
    root = User.objects.create_superuser("root", password="y")
    for page in ("change", "password", "delete", "../do/remove-second-factor"):
        url = f"/admin/auth/user/{root.pk}/{page}/".replace("../", "")
        body = {"password1": "long-enough-1", "password2": "long-enough-1", "post": "yes"}
        assert client.post(url, body).status_code == 403, url
    root.refresh_from_db()
    assert root.check_password("y")


def test_rights_that_the_giver_lacks_are_not_given_by_a_role_or_alone(client, ada):
    rare = Permission.objects.exclude(group__name="administrator").first()
    assert rare is not None
    strong = Group.objects.create(name="strong")
    strong.permissions.add(rare)
    data = form_of(client, ada)
    for wish in ({"groups": [strong.pk]}, {"user_permissions": [rare.pk]}):
        reply = client.post(f"/admin/auth/user/{ada.pk}/change/", data | wish)
        assert reply.status_code == 200 and reply.context["errors"]
    assert client.post(f"/admin/auth/group/{strong.pk}/change/", {"name": "strong"}).status_code == 403
    own = Group.objects.get(name="viewer")
    reply = client.post(f"/admin/auth/group/{own.pk}/change/", {"name": "viewer", "permissions": [rare.pk]})
    assert reply.status_code == 200 and reply.context["errors"]
    assert not ada.has_perm(f"{rare.content_type.app_label}.{rare.codename}")


def test_a_new_user_gets_a_role_on_the_form_and_may_log_in(client):
    viewer = Group.objects.get(name="viewer")
    body = {"username": "eve", "usable_password": "true", "groups": [viewer.pk]}
    body |= {"password1": "quite-long-1", "password2": "quite-long-1"}
    reply = client.post("/admin/auth/user/add/", body)
    assert reply.status_code == 302, reply.context["errors"]
    eve = User.objects.get(username="eve")
    assert eve.is_staff and list(eve.groups.all()) == [viewer]


def test_a_superuser_still_may(ada):
    root = User.objects.create_superuser("root")
    client = Client()
    client.force_login(root)
    data = form_of(client, ada) | {"is_superuser": "on"}
    assert client.post(f"/admin/auth/user/{ada.pk}/change/", data).status_code == 302
    ada.refresh_from_db()
    assert ada.is_superuser
