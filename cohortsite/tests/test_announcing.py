"""Published versions are announced: once each, the latest of several, again when they did not arrive."""

import json
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from django.utils import timezone

from cohorts import refresh
from cohortsite.announcing import announce_published
from syncs.alerts import sign
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def hook(settings):
    got = []

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_POST(self):
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(Handler.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings.VERSION_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/hook"
    settings.ALERT_WEBHOOK_SECRET = "the shared secret"
    yield got, Handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_version_is_announced_once_and_signed(hook):
    got, _ = hook
    cohort = world.cohort(["a", "b"], key="buyers")
    now = timezone.now()
    assert (announce_published(now), announce_published(now)) == (1, 0)
    ((headers, body),) = got
    said = json.loads(body)
    assert (said["cohort"], said["version"], said["size"]) == ("buyers", 1, 2)
    assert said["published_at"]
    signed = sign("the shared secret", headers["X-Cohort-Sync-Timestamp"], body)
    assert headers["X-Cohort-Sync-Signature"] == signed
    refresh.amend(cohort.pk, add=["c"], remove=[], source="s")
    refresh.amend(cohort.pk, add=["d"], remove=[], source="s")
    assert announce_published(now) == 1
    assert json.loads(got[-1][1])["version"] == 3


def test_what_did_not_arrive_is_tried_again_with_growing_waits(hook):
    got, handler = hook
    world.cohort(["a"], key="buyers")
    handler.status = 503
    now = timezone.now()
    for minutes in (0, 0, 1, 2, 3, 7):
        announce_published(now + timedelta(minutes=minutes, seconds=1))
    assert len(got) == 4
    handler.status = 200
    assert announce_published(now + timedelta(hours=1)) == 1


def test_without_an_address_and_without_a_version_nothing_is_sent(hook, settings):
    got, _ = hook
    world.cohort([], key="empty")
    settings.VERSION_WEBHOOK_URL = ""
    assert announce_published(timezone.now()) == 0
    assert got == []
