"""The way in when passwords are off and the identity server is away: a link, made on the server."""

import json
from datetime import timedelta
from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core import signing
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from cohortsite import login_link

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(settings):
    settings.PASSWORD_LOGIN = False
    return User.objects.create_superuser("root")


def link_for(name):
    out = StringIO()
    call_command("login_link", name, stdout=out)
    return urlsplit(out.getvalue().strip())


def test_a_link_logs_in_once_after_a_click(client, root):
    link = link_for("root")
    assert (link.scheme, link.netloc) == ("http", "testserver")
    for _ in range(2):  # whoever only looks uses nothing up
        assert b"<bdi>root</bdi>" in client.get(link.path).content
    assert client.get("/admin/").status_code == 302
    assert client.post(link.path).url == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert "by a link" in LogEntry.objects.get(object_id=root.pk).get_change_message()
    for method in ("get", "post"):
        reply = getattr(Client(), method)(link.path)
        assert reply.status_code == 403 and b"was used already" in reply.content


def test_a_link_ends_with_ten_minutes_another_login_and_the_account(client, root, monkeypatch):
    link = link_for("root")
    User.objects.update(last_login=timezone.now())
    assert client.post(link.path).status_code == 403
    link = link_for("root")
    User.objects.update(is_staff=False)
    assert client.post(link.path).status_code == 403
    User.objects.update(is_staff=True)
    monkeypatch.setattr(login_link, "AGE", timedelta(seconds=-1))
    assert client.post(link.path).status_code == 403


@pytest.mark.parametrize(("content", "salt"), [([1, ""], "another"), ("no list", login_link.SALT)])
def test_what_nobody_made_is_no_link(client, root, content, salt):
    token = signing.dumps(content, salt=salt)
    assert client.post(f"/account/link/{token}/").status_code == 403
    assert client.get("/account/link/x/").status_code == 403


def test_the_command_is_for_who_may_use_the_admin(root):
    out = StringIO()
    call_command("login_link", "root", "--json", stdout=out)
    assert json.loads(out.getvalue())["link"].startswith("http://testserver/account/link/")
    User.objects.create(username="ann")
    for name in ("ann", "nobody"):
        with pytest.raises(CommandError, match="createsuperuser"):
            call_command("login_link", name)
