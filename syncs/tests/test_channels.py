"""Channels: what goes out by which, in the vendor's form; grouped, quiet, reminded, resolved, once a week."""

import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from destinations.models import Destination
from syncs import alerts
from syncs.alert_models import AlertChannel, AlertDelivery
from syncs.alerts import routing, sending
from syncs.alerts.links import link_to
from syncs.alerts.times import next_summary, quiet_until
from syncs.alerts.vendors import Message, slack
from syncs.choices import AlertKind, ChannelKind, Severity
from syncs.models import Alert, Sync
from tests import world
from tests.hooks import Hook

pytestmark = pytest.mark.django_db(transaction=True)

LATER = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_minute_is_over():
    """Reminders are looked for once a minute, and the cache outlives a test."""
    cache.clear()


@pytest.fixture
def hook():
    with Hook() as started:
        yield started


def channel(hook: Hook, kind: str = "slack", **values: Any) -> AlertChannel:
    secret = {"slack": hook.url + "/services/T0/s3cret", "teams": hook.url + "/workflows/1?sig=s3cret"}
    given = {
        "name": kind,
        "kind": kind,
        "credential": secret.get(kind, "s3cret"),
        "address": hook.url,
        **values,
    }
    if kind in secret:
        given["address"] = ""
    made = AlertChannel(**given)
    made.full_clean()
    made.save()
    return made


def syncs(count: int, **values: Any) -> list[Sync]:
    destination = world.destination("https://partner.example", name="acme", title="Acme")
    return [
        world.sync(world.cohort(key=f"c{n:03}", name=f"C{n:03}", **values), destination) for n in range(count)
    ]


def pause(those: list[Sync], now: datetime | None = None) -> None:
    Destination.objects.pause(those[0].destination_id, "Contract ended")
    alerts.tell_changes(now or timezone.now())


def mend(those: list[Sync]) -> None:
    world.mend(those[0].destination)
    Destination.objects.filter(pk=those[0].destination_id).update(paused_at=None, pause_reason="")
    alerts.tell_changes(timezone.now())


def send(after: timedelta = LATER) -> int:
    return sending.send_waiting(timezone.now() + after)


# --- the vendors' forms ---------------------------------------------------------------------------


def test_a_hundred_syncs_of_one_dead_partner_are_one_request(hook):
    channel(hook)
    pause(syncs(100))
    assert sending.send_waiting(timezone.now()) == 0, "others may join it"
    assert sending.send_waiting(timezone.now() + LATER) == 1
    [post] = hook.posts
    assert post.path == "/services/T0/s3cret"
    assert post.json["text"] == "Acme: 100 syncs: Paused"
    assert post.json["blocks"][0] == {
        "type": "section",
        "text": {"type": "mrkdwn", "text": "*Acme: 100 syncs: Paused*"},
    }
    assert "Contract ended" in post.json["blocks"][1]["text"]["text"]
    assert "and 90 more" in post.json["blocks"][1]["text"]["text"]
    assert AlertDelivery.objects.exclude(sent_at=None).count() == 100
    assert sending.send_waiting(timezone.now() + timedelta(hours=1)) == 0


def test_in_slack_no_name_is_markup():
    message = Message("<!channel> & co", ("a <b>",), "paused", Severity.ERROR, timezone.now())
    [post] = slack(message, "", "https://hooks.example/1")
    assert json.loads(post.body)["text"] == "&lt;!channel&gt; &amp; co"
    assert json.loads(post.body)["blocks"][1]["text"] == {"type": "plain_text", "text": "a <b>"}


def test_teams_gets_a_card_of_plain_runs_at_its_whole_address(hook):
    channel(hook, "teams")
    pause(syncs(1))
    send()
    [post] = hook.posts
    assert post.path == "/workflows/1?sig=s3cret"
    [attached] = post.json["attachments"]
    assert (post.json["type"], attached["contentType"]) == (
        "message",
        "application/vnd.microsoft.card.adaptive",
    )
    first = attached["content"]["body"][0]
    assert first["type"] == "RichTextBlock" and first["inlines"][0]["text"].endswith("Paused")


def test_pagerduty_begins_an_incident_and_ends_it_when_the_last_sync_is_well(hook):
    channel(hook, "pagerduty")
    those = syncs(2)
    pause(those)
    send()
    [post] = hook.posts
    assert post.json | {"payload": None} == {
        "routing_key": "s3cret",
        "event_action": "trigger",
        "dedup_key": "cohort-sync/destination/acme/paused",
        "client": "Cohort Sync",
        "payload": None,
    }
    payload = post.json["payload"]
    assert (payload["severity"], payload["source"], payload["summary"]) == (
        "error",
        "acme",
        "Acme: 2 syncs: Paused",
    )
    Sync.objects.filter(pk=those[1].pk).update(alerted="paused")
    mend(those)
    Sync.objects.filter(pk=those[1].pk).update(alerted="paused")
    send()
    assert len(hook.posts) == 1, "one of them still has it"
    Sync.objects.filter(pk=those[1].pk).update(alerted="")
    Alert.objects.filter(kind=AlertKind.RECOVERED).delete()
    again = Alert.objects.create(sync=those[1], kind=AlertKind.RECOVERED, was="paused", sentence="Well.")
    routing.route([again], routing.channels_of())
    send()
    assert hook.posts[-1].json == {
        "routing_key": "s3cret",
        "event_action": "resolve",
        "dedup_key": "cohort-sync/destination/acme/paused",
    }


@pytest.mark.parametrize("of_site", [False, True])
def test_an_incident_that_is_over_before_pagerduty_heard_of_it_does_not_begin_afterwards(hook, of_site):
    channel(hook, "pagerduty")
    those = syncs(1)
    hook.failing = "/"
    tell = alerts.tell_of_site
    tell({"worker": "No worker."}) if of_site else pause(those)
    assert send() == 0
    hook.failing = ""
    tell({}) if of_site else mend(those)
    # The end goes out, and the beginning when it is tried again.
    assert send() == 1
    assert send(timedelta(hours=1)) == 1
    assert [post.json["event_action"] for post in hook.posts] == ["resolve"]


def test_a_webhook_is_signed_with_its_own_secret(hook):
    channel(hook, "webhook")
    pause(syncs(1))
    send()
    [post] = hook.posts
    headers = post.headers
    assert headers["X-Cohort-Sync-Signature"] == alerts.sign(
        "s3cret", headers["X-Cohort-Sync-Timestamp"], post.body
    )
    assert (post.json["state"], post.json["severity"], post.json["destination"]) == (
        "paused",
        "error",
        "acme",
    )


def test_mail_goes_to_each_address_and_a_name_begins_no_header(hook, mailoutbox):
    channel(hook, "email", address="a@example.com, b@example.com", credential="")
    those = syncs(2)
    Destination.objects.update(title="Acme\nBcc: eve@example.com")
    pause(those)
    assert send() == 1
    [mail] = mailoutbox
    assert mail.to == ["a@example.com", "b@example.com"] and "Contract ended" in mail.body
    assert mail.recipients() == mail.to and "Acme Bcc: eve@example.com" in mail.subject


# --- routing, quiet hours, reminders --------------------------------------------------------------


@pytest.mark.parametrize(
    ("wants", "goes"),
    [
        ({}, True),
        ({"least": "error"}, True),
        ({"least": "critical"}, False),
        ({"destinations": ["acme"]}, True),
        ({"destinations": ["other"]}, False),
        ({"tags": ["spring", "x"]}, True),
        ({"tags": ["summer"]}, False),
        ({"owners": ["ada"]}, True),
        ({"owners": ["bob"]}, False),
        ({"enabled": False}, False),
    ],
)
def test_by_severity_destination_tag_and_owner(wants, goes):
    AlertChannel.objects.create(name="a", kind="email", address="a@example.com", **wants)
    pause(syncs(1, tags=["spring"], owner="ada"))
    assert AlertDelivery.objects.exists() is goes


def test_what_concerns_the_site_goes_by_channels_that_are_for_all(hook):
    AlertChannel.objects.create(name="some", kind="email", address="a@example.com", tags=["x"])
    channel(hook, least="critical")
    alerts.tell_of_site({"worker": "No worker."})
    assert send() == 1
    assert "This site: Silence" in hook.posts[0].json["text"]


def test_each_kind_of_alert_has_a_severity():
    assert set(AlertKind) - {AlertKind.RECOVERED} <= set(routing.SEVERITIES)


def test_at_night_only_what_is_critical_goes_out(hook):
    made = channel(hook)
    night = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    AlertChannel.objects.update(quiet_from=time(22), quiet_to=time(7), timezone="Europe/Berlin")
    pause(syncs(1))
    alerts.tell_of_site({"worker": "No worker."})
    AlertDelivery.objects.update(next_at=night)
    assert sending.send_waiting(night) == 1
    assert "This site" in hook.posts[0].json["text"]
    assert made.deliveries.get(sent_at=None).next_at == datetime(2026, 3, 2, 6, tzinfo=UTC)
    assert sending.send_waiting(datetime(2026, 3, 2, 6, 1, tzinfo=UTC)) == 1


@pytest.mark.parametrize(
    ("now", "begins", "ends", "until"),
    [
        ("2026-03-01T12:00Z", time(11), time(13), "2026-03-01T13:00Z"),
        ("2026-03-01T13:00Z", time(11), time(13), None),
        ("2026-03-01T23:00Z", time(22), time(7), "2026-03-02T07:00Z"),
        ("2026-03-01T06:59Z", time(22), time(7), "2026-03-01T07:00Z"),
        ("2026-03-01T12:00Z", time(22), time(7), None),
        ("2026-03-01T12:00Z", time(12), time(12), None),
        ("2026-03-01T12:00Z", None, None, None),
    ],
)
def test_quiet_hours(now, begins, ends, until):
    found = quiet_until(datetime.fromisoformat(now), begins, ends, "UTC")
    assert found == (datetime.fromisoformat(until) if until else None)


def test_what_still_needs_somebody_is_sent_again_and_what_is_well_is_not(hook):
    channel(hook, remind_hours=4)
    those = syncs(2)
    pause(those)
    send()
    assert send(timedelta(hours=3)) == 0
    assert send(timedelta(hours=5)) == 1
    assert hook.posts[-1].json["text"] == "Still: Acme: 2 syncs: Paused"
    mend(those)
    send(timedelta(hours=5))
    posts = len(hook.posts)
    assert send(timedelta(days=3)) == 0 and len(hook.posts) == posts


def test_reminders_are_looked_for_once_a_minute_and_only_where_somebody_wants_them(hook):
    made = channel(hook)
    now = timezone.now()
    sending.send_waiting(now)
    with CaptureQueriesContext(connection) as plain:
        sending.send_waiting(now)
    made.remind_hours = 4
    made.save()
    with CaptureQueriesContext(connection) as first:
        sending.send_waiting(now)
    with CaptureQueriesContext(connection) as again:
        sending.send_waiting(now)

    def looks(queries: CaptureQueriesContext) -> int:
        return sum("EXISTS" in query["sql"] for query in queries)

    assert [looks(one) for one in (plain, first, again)] == [0, 1, 0]
    with CaptureQueriesContext(connection) as next_minute:
        sending.send_waiting(now + LATER)
    assert looks(next_minute) == 1


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "page"), [(1, "syncs/sync"), (3, "destinations/destination")])
def test_a_message_links_to_the_page_of_what_it_is_about(hook, settings, count, page):
    settings.SITE_URL = "https://cohorts.example"
    for kind in ("slack", "teams", "pagerduty", "webhook"):
        channel(hook, kind)
    channel(hook, "email", address="ada@example.com", credential="")
    those = syncs(count)
    pause(those)
    send()
    pk = those[0].pk if count == 1 else those[0].destination_id
    link = f"https://cohorts.example/admin/{page}/{pk}/"
    assert len(hook.posts) == 4
    for post in hook.posts:
        assert link in json.dumps(post.json), post.path
    by_keys = {key: post.json for post in hook.posts for key in post.json}
    assert by_keys["blocks"]["blocks"][-1]["text"]["text"] == f"<{link}|Open in Cohort Sync>"
    [card] = by_keys["attachments"]["attachments"]
    assert card["content"]["actions"][0] == {
        "type": "Action.OpenUrl", "title": "Open in Cohort Sync", "url": link
    }  # fmt: skip
    assert by_keys["client_url"]["links"] == [{"href": link, "text": "Open in Cohort Sync"}]
    assert by_keys["url"]["url"] == link
    assert mail.outbox[0].body.endswith(f"\n\n{link}\n")


def test_what_is_about_the_site_links_to_the_overview_and_a_proposal_to_the_proposals(settings):
    settings.SITE_URL = "https://cohorts.example"
    alerts.tell_of_site({"worker": "No worker."}, {"proposal 1": "Ada proposes it."})
    links = {alert.kind: link_to([alert]) for alert in Alert.objects.all()}
    assert links == {
        AlertKind.SILENT: "https://cohorts.example/admin/",
        AlertKind.PROPOSED: "https://cohorts.example/admin/cohortsite/proposal/",
    }
    settings.SITE_URL = ""
    assert link_to([Alert.objects.latest("pk")]) == ""


def test_channels_are_read_once_for_all_alerts_of_a_round(hook):
    channel(hook)
    those = syncs(3)
    Destination.objects.pause(those[0].destination_id, "x")
    with CaptureQueriesContext(connection) as queries:
        alerts.tell_changes(timezone.now())
    reads = [one for one in queries if 'FROM "syncs_alertchannel"' in one["sql"]]
    assert len(reads) == 1 and AlertDelivery.objects.count() == 3


# --- failures -------------------------------------------------------------------------------------


def test_a_channel_that_fails_is_tried_again_and_keeps_no_other(hook):
    broken = channel(hook, name="broken", credential=hook.url + "/fail")
    channel(hook)
    pause(syncs(1))
    hook.failing = "/fail"
    assert send() == 1
    broken.refresh_from_db()
    assert "500" in broken.last_error and hook.url not in broken.last_error
    hook.failing = ""
    assert send() == 0, "not before its time"
    assert send(timedelta(minutes=5)) == 1
    broken.refresh_from_db()
    assert broken.last_error == ""


def test_an_internal_address_is_refused_unless_it_is_allowed(hook, settings):
    made = channel(hook)
    settings.OUTBOUND_ALLOW_NETS = []
    assert "OUTBOUND_ALLOW_NETS" in sending.test(made)
    assert hook.posts == []


def test_of_two_processes_one_sends(hook):
    channel(hook)
    pause(syncs(1))
    now = timezone.now() + LATER
    pks = list(AlertDelivery.objects.values_list("pk", flat=True))
    assert AlertDelivery.objects.claim(pks, now, now + LATER)
    assert not AlertDelivery.objects.claim(pks, now, now + LATER)
    assert sending.send_waiting(now) == 0


def test_once_a_week_it_is_said_how_it_went(hook):
    made = channel(hook, weekly=True)
    now = timezone.now()
    assert sending.send_waiting(now) == 0
    made.refresh_from_db()
    due = made.summary_at
    assert due is not None and due.weekday() == 0 and due.hour == 9
    assert sending.send_waiting(due) == 1
    assert "0 runs ended" in hook.posts[0].json["blocks"][1]["text"]["text"]
    assert sending.send_waiting(due) == 0
    made.refresh_from_db()
    assert made.summary_at == due + timedelta(days=7)
    made.weekly = False
    made.save(update_fields=["weekly"])
    made.refresh_from_db()
    assert made.summary_at is None


def test_mondays_at_nine_in_the_zone():
    assert next_summary(datetime(2026, 3, 2, 8, tzinfo=UTC), "Europe/Berlin") == datetime(
        2026, 3, 9, 8, tzinfo=UTC
    )
    assert next_summary(datetime(2026, 3, 1, tzinfo=UTC), "UTC") == datetime(2026, 3, 2, 9, tzinfo=UTC)


# --- what is configured ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "slack", "credential": ""}, "credential"),
        ({"kind": "slack", "credential": "xoxb-1"}, "credential"),
        ({"kind": "teams", "credential": "ftp://x"}, "credential"),
        ({"kind": "pagerduty", "credential": "k", "address": "events"}, "address"),
        ({"kind": "webhook", "credential": "k"}, "address"),
        ({"kind": "email"}, "address"),
        ({"kind": "email", "address": "a@example.com, b"}, "address"),
        ({"kind": "email", "address": "a@example.com", "destinations": ["no"]}, "destinations"),
        ({"kind": "email", "address": "a@example.com", "owners": "ada"}, "owners"),
        ({"kind": "email", "address": "a@example.com", "tags": ["A B"]}, "tags"),
        ({"kind": "email", "address": "a@example.com", "timezone": "Mars"}, "timezone"),
        ({"kind": "email", "address": "a@example.com", "quiet_from": time(1)}, "quiet_to"),
    ],
)
def test_what_would_not_work_is_said_at_its_field(values, field):
    with pytest.raises(ValidationError) as refused:
        AlertChannel(name="a", **values).full_clean()
    assert list(refused.value.message_dict) == [field]


def client_of(role: str) -> Client:
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


ADD = "/admin/syncs/alertchannel/add/"


def form(**values: Any) -> dict[str, Any]:
    return {"name": "team", "kind": "slack", "least": "warning", "timezone": "UTC", "enabled": "on", **values}


def test_one_is_made_and_tested_in_the_admin_and_its_secret_is_never_shown(hook, groups):
    client = client_of("administrator")
    secret = hook.url + "/services/T0/s3cret"
    assert client.post(ADD, form(credential=secret, tags="Spring, x")).status_code == 302
    made = AlertChannel.objects.get()
    assert (made.tags, made.credential.reveal()) == (["spring", "x"], secret)
    url = f"/admin/syncs/alertchannel/{made.pk}/change/"
    page = client.get(url).content.decode()
    assert "s3cret" not in page and "Set: empty keeps it." in page
    page = client.post(f"/admin/syncs/alertchannel/{made.pk}/do/test/", follow=True).content.decode()
    assert "The test was taken" in page and hook.posts[0].json["text"] == "Test of team"
    hook.failing = "/services"
    page = client.post(f"/admin/syncs/alertchannel/{made.pk}/do/test/", follow=True).content.decode()
    assert "The test did not arrive" in page and "s3cret" not in page
    assert client.post(url, form(name="team", weekly="on")).status_code == 302
    made.refresh_from_db()
    assert made.credential.reveal() == secret and made.weekly


def test_a_stored_secret_goes_to_no_other_address(hook, groups):
    made = channel(hook, "pagerduty")
    client = client_of("administrator")
    url = f"/admin/syncs/alertchannel/{made.pk}/change/"
    page = client.post(url, form(kind="pagerduty", address="https://evil.example/")).content.decode()
    assert "give it again" in page
    made.refresh_from_db()
    assert made.address == hook.url


def test_who_may_look_sees_them_and_changes_nothing(hook, groups):
    made = channel(hook)
    for role in ("viewer", "operator"):
        client = client_of(role)
        assert "slack" in client.get("/admin/syncs/alertchannel/").content.decode()
        assert "s3cret" not in client.get(f"/admin/syncs/alertchannel/{made.pk}/change/").content.decode()
        assert client.post(ADD, form(credential=hook.url)).status_code == 403
        assert client.post(f"/admin/syncs/alertchannel/{made.pk}/do/test/").status_code == 403
    assert hook.posts == []


def test_each_kind_can_be_posted_or_mailed():
    from syncs.alerts.vendors import POSTS

    assert set(POSTS) | {ChannelKind.EMAIL} == set(ChannelKind)


# --- the other doors ------------------------------------------------------------------------------


def test_over_rest_the_secret_is_written_and_never_read(hook, admin_client):
    url = "/api/v1/alert-channels"
    secret = hook.url + "/services/T0/s3cret"
    said = {"name": "team", "kind": "slack", "credential": secret, "least": "error", "tags": ["spring"]}
    made = admin_client.post(url, said, content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["credential_set"] and "s3cret" not in made.content.decode()
    for wrong, field in (
        ({"tags": ["A"]}, "tags"),
        ({"nmae": "x"}, "nmae"),
        ({"kind": "pagerduty"}, "credential"),
    ):
        reply = admin_client.patch(f"{url}/team", wrong, content_type="application/json")
        assert (reply.status_code, reply.json()["error"]["field"]) == (400, field), reply.content
    assert (
        admin_client.patch(f"{url}/team", {"weekly": True}, content_type="application/json").status_code
        == 200
    )
    assert AlertChannel.objects.get().credential.reveal() == secret
    assert admin_client.post(f"{url}/team/test").json() == {"ok": True, "problem": ""}
    hook.failing = "/services"
    tested = admin_client.post(f"{url}/team/test").json()
    assert not tested["ok"] and "500" in tested["problem"] and "s3cret" not in tested["problem"]
    assert admin_client.delete(f"{url}/team").status_code == 204
