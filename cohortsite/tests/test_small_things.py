"""What a page, a script and a log reader stumble over when it is missing."""

import json
import logging

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from cohortsite import navigation, worker
from cohortsite.logs import JsonFormatter
from syncs import alerts
from syncs.alert_models import AlertDelivery
from syncs.alerts.routing import channels_of, route
from syncs.choices import RunState
from syncs.models import Alert, Run
from tests import world


@pytest.mark.parametrize(
    "path", ["/api/v1/", "/api/v1/nothing", "/api/v2/syncs/", "/api/", "/api/v1/syncs/1/x/"]
)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_address_of_the_api_is_json(path, method):
    reply = getattr(Client(), method)(path)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "not_found"


@pytest.mark.django_db
def test_the_pages_have_an_icon(admin_client):
    icon = "/static/cohortsite/favicon.svg"
    for page in (admin_client.get("/admin/"), Client().get("/account/login/")):
        assert f'href="{icon}"' in page.content.decode()
    assert Client().get("/favicon.ico").url == icon
    assert finders.find("cohortsite/favicon.svg")


@pytest.mark.django_db
def test_the_sidebar_names_every_page_there_is_for_a_viewer(admin_client):
    titles = [title for _, pages in navigation.GROUPS for title, *_ in pages]
    page = admin_client.get("/admin/").content.decode()
    for title in (
        "Rejected users",
        "Sending right now",
        "Alerts",
        "Events and properties",
        "Imported files",
    ):
        assert title in titles and title in page
    for _, pages in navigation.GROUPS:
        for _, _, name, _ in pages:
            assert admin_client.get(reverse(name)).status_code == 200, name


# --- alerts ---------------------------------------------------------------------------------------


@pytest.fixture
def sync(db):
    return world.sync(world.cohort(key="buyers"), world.destination("http://127.0.0.1:9", name="acme"))


def waiting(sync, sentence):
    alert = Alert.objects.create(sync=sync, kind="failing", sentence=sentence)
    route([alert], channels_of())


def listed(admin_client):
    return admin_client.get("/admin/syncs/alert/").content.decode()


@override_settings(
    ALERT_EMAILS=["ops@example.com"], EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"
)
def test_alerts_are_listed_with_who_was_reported(admin_client, sync, mailoutbox):
    waiting(sync, "<b>The key</b> is wrong.")
    assert "For the worker, " in listed(admin_client)
    assert alerts.send_waiting(timezone.now()) == 1
    page = listed(admin_client)
    assert "ops@example.com" in page and ">Sent<" in page
    assert "&lt;b&gt;The key&lt;/b&gt;" in page
    assert len(mailoutbox) == 1
    pk = Alert.objects.get().pk
    assert admin_client.get(f"/admin/syncs/alert/{pk}/change/").url == f"/admin/syncs/sync/{sync.pk}/"
    assert admin_client.get("/admin/syncs/alert/0/change/").status_code == 404
    assert admin_client.post(f"/admin/syncs/alert/{pk}/delete/").status_code == 403


@override_settings(ALERT_WEBHOOK_URL="http://127.0.0.1:9/hooks/its-secret", ALERT_WEBHOOK_SECRET="s")
def test_what_could_not_be_sent_says_why_and_shows_no_secret(admin_client, sync):
    waiting(sync, "x")
    assert alerts.send_waiting(timezone.now()) == 0
    page = listed(admin_client)
    assert "Not sent yet" in page and "1 try so far" in page and "its-secret" not in page
    AlertDelivery.objects.update(tries=alerts.TRIES)
    assert "Given up after 8 tries" in listed(admin_client)


def test_an_alert_that_nobody_gets_says_so(admin_client, sync):
    Alert.objects.create(sync=sync, kind="failing", sentence="x")
    alerts.send_waiting(timezone.now())
    assert "Nobody notified" in listed(admin_client)


def test_the_list_of_alerts_costs_the_same_however_long(admin_client, sync, django_assert_max_num_queries):
    for n in range(60):
        Alert.objects.create(sync=sync, kind="failing", sentence=f"x {n}")
    listed(admin_client)
    with django_assert_max_num_queries(10):
        assert listed(admin_client).count("field-sentence") == 50


# --- logs -----------------------------------------------------------------------------------------


@pytest.fixture
def lines():
    """Return what the worker's logger writes as JSON."""
    written = []

    class Handler(logging.Handler):
        def emit(self, record):
            written.append(json.loads(self.format(record)))

    handler = Handler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("cohortsite.worker")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_worker_logs_each_run_once_with_its_ids(sync, lines):
    began = timezone.now()
    run = Run.objects.create(sync=sync, trigger="person", from_version=0, to_version=1, state="running")
    Run.objects.end(run.pk, RunState.FAILED, reason='It said "no".\nTwice.')
    since = worker.log_ended(sync.destination_id, began.replace(year=2020))
    assert worker.log_ended(sync.destination_id, since) == since
    (line,) = lines
    assert {name: line[name] for name in ("run", "sync", "destination", "state", "level", "logger")} == {
        "run": run.pk, "sync": "buyers:acme", "destination": sync.destination_id, "state": "failed",
        "level": "INFO", "logger": "cohortsite.worker",
    }  # fmt: skip
    assert "Twice." in line["message"]
    assert line["time"].endswith("+00:00")


def test_an_exception_is_in_the_line(lines):
    try:
        raise ValueError("böse\n")
    except ValueError:
        logging.getLogger("cohortsite.worker").exception("It failed.")
    assert lines[0]["message"] == "It failed."
    assert "ValueError: böse" in lines[0]["error"]


def test_json_is_on_request():
    assert settings.LOGGING["handlers"]["stderr"]["formatter"] == "line"
    assert settings.LOGGING["formatters"]["json"]["()"] == "cohortsite.logs.JsonFormatter"
