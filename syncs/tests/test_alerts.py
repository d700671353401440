"""People are told when a sync begins to need them and when it is well again; once each."""

import hashlib
import hmac
import json
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from django.core import mail
from django.utils import timezone

from destinations.models import Destination
from syncs import alerts, due, lifecycle
from syncs.alert_models import AlertDelivery
from syncs.alerts.routing import channels_of, route
from syncs.models import Alert, Run, Sync
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner():
    with Partner() as running:
        yield running


@pytest.fixture
def sync(partner):
    return world.sync(world.cohort(world.users(10)), world.destination(partner.url))


@pytest.fixture
def hook(settings):
    """A server that keeps what it is sent; the settings point to it."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        status = 200
        content_type = "application/json"
        more: ClassVar[dict[str, str]] = {}

        def do_POST(self):
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(Handler.status)
            self.send_header("Content-Type", Handler.content_type)
            self.send_header("Content-Length", "0")
            for name, value in Handler.more.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/hook"
    settings.ALERT_WEBHOOK_SECRET = "the shared secret"
    yield got, Handler
    server.shutdown()
    server.server_close()
    thread.join()


def by(setting):
    """Return what became of the one alert by a setting."""
    return AlertDelivery.objects.get(setting=setting)


def kinds():
    return list(Alert.objects.order_by("pk").values_list("kind", flat=True))


def look():
    alerts.tell_changes(timezone.now())


def test_a_paused_destination__is_reported_once_and_its_recovery_once(partner, sync):
    partner.fault = lambda call: Fault(401, {})
    world.run(sync)
    look()
    look()
    assert kinds() == ["paused"]
    assert "401" in Alert.objects.get().sentence
    partner.fault = lambda call: None
    world.mend(sync.destination)
    world.run(sync)
    look()
    look()
    assert kinds() == ["paused", "recovered"]


def test_a_sync_that_is_well__is_not_reported(sync):
    world.run(sync)
    look()
    assert kinds() == []


def test_a_partner_that_refuses_everybody__is_failing(partner, sync):
    partner.fault = lambda call: Fault(400, {}) if call.kind == "add" else None
    world.run(sync)
    look()
    assert kinds() == ["failing"]


def test_a_partner_that_is_down__is_failing(partner, sync):
    partner.fault = lambda call: Fault(503, {})
    world.run(sync)
    look()
    assert kinds() == ["failing"]


def test_a_probe_of_a_partner_that_is_down__is_no_recovery(partner, sync):
    partner.fault = lambda call: Fault(503, {})
    run = world.run(sync)
    look()
    Run.objects.filter(pk=run.pk).update(state="running")
    look()
    assert kinds() == ["failing"]


def test_a_failed_run_that_is_taken_up_again__is_reported_as_well_only_when_it_is(partner, sync):
    world.run(sync)
    world.fill(sync.cohort, world.users(20))
    partner.fault = lambda call: Fault(400, {}) if call.kind == "add" else None
    for _ in range(3):
        world.run(sync)
        look()
        lifecycle.start(sync, trigger="schedule")
        look()
    assert kinds() == ["failing"]
    partner.fault = lambda call: None
    assert world.run(sync).state == "succeeded"
    look()
    assert kinds() == ["failing", "recovered"]


def test_a_partner_that_asks_for_patience_again_and_again__is_reported_after_hours(partner, sync):
    partner.fault = lambda call: Fault(429, {}, {"Retry-After": "3600"})
    run = world.run(sync)
    look()
    assert (run.state, kinds()) == ("parked", [])
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(hours=6, minutes=1))
    look()
    assert kinds() == ["failing"]
    assert "asked us to wait" in Alert.objects.get().sentence
    Run.objects.filter(pk=run.pk).update(state="running")
    look()
    assert kinds() == ["failing"]


def test_a_held_run__is_reported(sync):
    world.run(sync)
    Sync.objects.filter(pk=sync.pk).update(guard_users=3)
    world.fill(sync.cohort, world.users(2))
    assert world.run(sync).state == "held"
    look()
    assert kinds() == ["held"]


@pytest.mark.parametrize(("minutes", "expected"), [(14, []), (16, ["missed"])])
def test_a_due_time_that_has_passed__is_reported_after_a_grace(sync, minutes, expected):
    Sync.objects.filter(pk=sync.pk).update(next_due_at=timezone.now() - timedelta(minutes=minutes))
    look()
    assert kinds() == expected


def test_a_sync_whose_cohort_is_not_calculated_at_its_time__runs_as_soon_as_it_is(sync):
    """A sync that runs once would never run otherwise, and nobody would know."""
    now = timezone.now()
    waiting = world.sync(world.cohort(), sync.destination)
    Sync.objects.filter(pk=waiting.pk).update(
        schedule_kind="once",
        schedule_once_at=now - timedelta(minutes=20),
        next_due_at=now - timedelta(minutes=20),
    )
    assert due.start_due(now) == []
    look()
    assert kinds() == ["missed"]
    assert "not calculated yet" in Alert.objects.get().sentence
    world.fill(waiting.cohort, world.users(3))
    assert [run.sync for run in due.start_due(now)] == [waiting]
    assert due.start_due(now) == []


def test_a_sync_that_is_due_while_its_partner_is_emptied__runs_afterwards(sync):
    world.run(sync)
    emptying = lifecycle.start(sync, trigger="person", mode="empty")
    Run.objects.filter(pk=emptying.pk).update(state="running")
    Sync.objects.filter(pk=sync.pk).update(next_due_at=timezone.now())
    assert due.start_due(timezone.now()) == []
    Run.objects.filter(pk=emptying.pk).update(state="succeeded")
    assert len(due.start_due(timezone.now())) == 1


def test_an_alert__goes_out_by_mail_and_by_signed_webhook(sync, hook, settings, mailoutbox):
    settings.ALERT_EMAILS = ["ops@example.com"]
    Destination.objects.pause(sync.destination_id, "Contract ended")
    look()
    assert alerts.send_waiting(timezone.now()) == 2
    assert "Contract ended" in mailoutbox[0].body
    [(headers, body)] = hook[0]
    signed = headers["X-Cohort-Sync-Timestamp"].encode() + b"." + body
    expected = hmac.new(b"the shared secret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Cohort-Sync-Signature"] == f"sha256={expected}"
    alert = Alert.objects.get()
    assert json.loads(body) == {
        "id": alert.pk, "sync": str(sync), "about": "", "state": "paused", "message": alert.sentence,
        "at": alert.created_at.isoformat(), "url": None,
    }  # fmt: skip
    assert mailoutbox[0].subject == f"[Cohort Sync] {alert}"
    assert alerts.send_waiting(timezone.now() + timedelta(days=1)) == 0


def test_a_webhook_that_answers_with_a_web_page__has_taken_the_alert(sync, hook):
    """As chat programs do: what is a login page for a partner is an "ok" here."""
    got, handler = hook
    handler.content_type = "text/html"
    route([Alert.objects.create(sync=sync, kind="paused", sentence="Paused.")], channels_of())
    assert alerts.send_waiting(timezone.now()) == 1
    assert alerts.send_waiting(timezone.now() + timedelta(hours=1)) == 0
    assert len(got) == 1


def test_an_alert_that_was_not_taken__is_sent_again_later_and_keeps_the_error(
    sync, hook, settings, mailoutbox
):
    settings.ALERT_EMAILS = ["ops@example.com"]
    got, handler = hook
    handler.status = 500
    Destination.objects.pause(sync.destination_id, "Contract ended")
    look()
    now = timezone.now()
    assert alerts.send_waiting(now) == 1, "the mail"
    assert "500" in by("ALERT_WEBHOOK_URL").error
    assert alerts.send_waiting(now) == 0, "not before its time"
    handler.status = 200
    assert alerts.send_waiting(now + timedelta(minutes=2)) == 1
    assert len(got) == 2
    assert len(mailoutbox) == 1, "the webhook's failure is no reason to write again"


def test_a_webhook_that_redirects__does_not_give_away_its_secret_path(sync, hook, settings):
    settings.ALERT_WEBHOOK_URL = settings.ALERT_WEBHOOK_URL.replace("/hook", "/services/T0/s3cret")
    hook[1].status = 302
    hook[1].more = {"Location": "https://login.example/?next=%2Fservices%2FT0%2Fs3cret"}
    Destination.objects.pause(sync.destination_id, "Contract ended")
    look()
    alerts.send_waiting(timezone.now())
    error = by("ALERT_WEBHOOK_URL").error
    assert "login.example" in error
    assert "s3cret" not in error


def test_a_webhook_at_an_address_that_is_not_allowed__is_refused(sync, hook, settings):
    settings.OUTBOUND_ALLOW_NETS = []
    Destination.objects.pause(sync.destination_id, "Contract ended")
    look()
    alerts.send_waiting(timezone.now())
    assert "OUTBOUND_ALLOW_NETS" in by("ALERT_WEBHOOK_URL").error
    assert hook[0] == []


# --- channels -----------------------------------------------------------------------------------


def test_a_mail_server_that_is_down__keeps_no_webhook_from_being_sent(partner, sync, hook, settings):
    got, _ = hook
    settings.ALERT_EMAILS = ["ann@example.com"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    partner.fault = lambda call: Fault(401, {})
    world.run(sync)
    look()
    assert alerts.send_waiting(timezone.now()) == 1
    assert (len(got), by("ALERT_EMAILS").sent_at) == (1, None)
    assert by("ALERT_WEBHOOK_URL").sent_at is not None
    assert by("ALERT_EMAILS").error.startswith("E-mail: ")
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert alerts.send_waiting(timezone.now() + timedelta(minutes=5)) == 1
    assert (len(got), len(mail.outbox)) == (1, 1), "the webhook is not sent again"


def test_a_webhook_that_is_down__is_reported_alongside_the_channel_that_failed(partner, sync, hook, settings):
    settings.ALERT_EMAILS = ["ann@example.com"]
    _, handler = hook
    handler.status = 500
    partner.fault = lambda call: Fault(401, {})
    world.run(sync)
    look()
    try:
        assert alerts.send_waiting(timezone.now()) == 1
    finally:
        handler.status = 200
    assert by("ALERT_WEBHOOK_URL").error.startswith("Signed webhook: ")
    assert (by("ALERT_EMAILS").sent_to, by("ALERT_WEBHOOK_URL").sent_at) == ("ann@example.com", None)


def test_a_setting_that_names_nobody_any_more__sends_nothing_and_a_hundred_alerts_are_a_hundred(
    sync, settings, mailoutbox
):
    settings.ALERT_EMAILS = ["ann@example.com"]
    made = [Alert.objects.create(sync=sync, kind="paused", sentence=f"{n}") for n in range(3)]
    route(made, channels_of())
    settings.ALERT_EMAILS = []
    assert alerts.send_waiting(timezone.now()) == 0
    settings.ALERT_EMAILS = ["bob@example.com"]
    assert alerts.send_waiting(timezone.now()) == 3
    assert [mail.to for mail in mailoutbox] == [["bob@example.com"]] * 3
