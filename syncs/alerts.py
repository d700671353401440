"""Telling people, once, when a sync begins to need them and when it is well again.

    tell_changes()  compares how each sync stands with what people were last told, and writes an Alert
    send_waiting()  sends them by e-mail and by a signed webhook, and tries again what failed

The webhook is a POST of JSON; `X-Cohort-Sync-Signature` is `sha256=` and the hex HMAC-SHA256, under
the shared secret, of the timestamp in `X-Cohort-Sync-Timestamp` (Unix seconds), a dot and the body.
"""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from destinations.addresses import parse_networks
from destinations.endpoint import AuthMode, Endpoint
from destinations.errors import DeliveryError, Misconfigured
from destinations.payloads import Operation, Request
from destinations.transport import Transport
from syncs.choices import OPEN_RUNS, UNDRIVEN, AlertKind, RunMode, RunState
from syncs.models import Alert, Run, Sync

# A run that begins this much after its time has missed it.
GRACE = timedelta(minutes=15)
# A run that waits for its partner, or for a worker, this long after it was made needs somebody.
PATIENCE = timedelta(hours=6)
TRIES = 8


def tell_changes(now: datetime) -> list[Alert]:
    """Write an alert for each sync whose state is another than people were last told."""
    return [alert for sync, kind, sentence in _changed(now) if (alert := _tell(sync, kind, sentence))]


def _tell(sync: Sync, kind: str, sentence: str) -> Alert | None:
    with transaction.atomic():
        if not Sync.objects.told(sync.pk, before=sync.alerted, now=kind):
            return None
        return Alert.objects.create(sync=sync, kind=kind or AlertKind.RECOVERED, sentence=sentence)


def _changed(now: datetime) -> Iterator[tuple[Sync, str, str]]:
    runs = Run.objects.filter(sync=OuterRef("pk")).order_by("-pk")
    ended = runs.filter(finished_at__isnull=False).exclude(state=RunState.CANCELLED)
    opened = runs.filter(state__in=OPEN_RUNS)
    syncs = Sync.objects.annotate(
        last_state=Subquery(ended.values("state")[:1]),
        last_reason=Subquery(ended.values("reason")[:1]),
        open_state=Subquery(opened.values("state")[:1]),
        open_reason=Subquery(opened.values("reason")[:1]),
        open_since=Subquery(opened.values("created_at")[:1]),
        open_again=Subquery(opened.values("reopened")[:1]),
        last_mode=Subquery(runs.values("mode")[:1]),
    )
    # Of what is archived, people want to know whether its partner was emptied.
    told = Q(archived_at=None) | Q(last_mode=RunMode.EMPTY) | ~Q(alerted="")
    for sync in syncs.filter(told).select_related("cohort", "destination__driver"):
        kind, sentence = _standing(sync, now)
        if kind != sync.alerted:
            yield sync, kind, sentence


def _standing(sync: Sync, now: datetime) -> tuple[str, str]:
    """Return what people should know about a sync ('' when all is well), and the sentence for it."""
    # What the query in _changed has added to the row.
    said = vars(sync)
    driver = getattr(sync.destination, "driver", None)
    if sync.destination.is_paused:
        return AlertKind.PAUSED, sync.destination.pause_reason
    if said["open_state"] == RunState.HELD:
        return AlertKind.HELD, said["open_reason"]
    if sync.cohort.held_number and not sync.archived_at:
        return AlertKind.HELD, f"Version {sync.cohort.held_number} of the cohort waits for approval."
    if said["last_state"] == RunState.FAILED:
        return AlertKind.FAILING, said["last_reason"]
    late = said["open_since"] is not None and said["open_since"] < now - PATIENCE
    if driver and driver.opened and said["open_state"]:
        # A probe that is under way is no recovery.
        return AlertKind.FAILING, driver.next_reason or "The partner does not answer as it should."
    if late and said["open_state"] in UNDRIVEN:
        return AlertKind.FAILING, f"Its run waits since {_utc(said['open_since'])}. {said['open_reason']}"
    if sync.alerted == AlertKind.FAILING and (late or said["open_again"]):
        return AlertKind.FAILING, "It is being tried again."
    if sync.enabled and sync.next_due_at and sync.next_due_at < now - GRACE:
        why = "" if sync.cohort.version else " Its cohort is not calculated yet."
        return AlertKind.MISSED, f"It was due at {_utc(sync.next_due_at)} and has not run.{why}"
    return "", "All is well again."


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def send_waiting(now: datetime) -> int:
    """Send the alerts that wait; return how many were sent. What failed is tried again later, 8 times."""
    sent = 0
    waiting = Alert.objects.filter(sent_at=None, next_at__lte=now, tries__lt=TRIES)
    for alert in waiting.select_related("sync__cohort", "sync__destination").order_by("pk")[:100]:
        if not _claimed(alert, now):
            continue
        try:
            if alert.emailed_at is None:
                _email(alert)
                # A webhook that fails must not send the e-mail again.
                Alert.objects.filter(pk=alert.pk).update(emailed_at=timezone.now())
            _webhook(alert, now)
        except (OSError, DeliveryError) as error:
            Alert.objects.filter(pk=alert.pk).update(error=str(error))
        else:
            sent += Alert.objects.filter(pk=alert.pk).update(
                sent_at=timezone.now(), sent_to=recipients(), error=""
            )
    return sent


def _claimed(alert: Alert, now: datetime) -> bool:
    """Take one try of an alert, with growing distance; of several processes, one gets it."""
    later = now + timedelta(minutes=2**alert.tries)
    mine = Alert.objects.filter(pk=alert.pk, tries=alert.tries, sent_at=None)
    return mine.update(tries=alert.tries + 1, next_at=later) == 1


def recipients() -> str:
    """Return who is told; of the webhook the host alone, since its path may be a secret."""
    webhook = (
        [f"webhook at {urlsplit(settings.ALERT_WEBHOOK_URL).hostname}"] if settings.ALERT_WEBHOOK_URL else []
    )
    return ", ".join([*settings.ALERT_EMAILS, *webhook])


def _email(alert: Alert) -> None:
    if settings.ALERT_EMAILS:
        subject = f"[Cohort Sync] {alert.sync}: {alert.get_kind_display()}"
        send_mail(subject, f"{alert.sync}\n\n{alert.sentence}\n", None, settings.ALERT_EMAILS)


def _webhook(alert: Alert, now: datetime) -> None:
    if not settings.ALERT_WEBHOOK_URL:
        return
    body = orjson.dumps(
        {
            "id": alert.pk,
            "sync": str(alert.sync),
            "state": alert.kind,
            "message": alert.sentence,
            "at": alert.created_at.isoformat(),
        }
    )
    timestamp = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "X-Cohort-Sync-Timestamp": timestamp,
        "X-Cohort-Sync-Signature": sign(settings.ALERT_WEBHOOK_SECRET, timestamp, body),
    }
    endpoint = Endpoint(
        name="alerts",
        base_url=settings.ALERT_WEBHOOK_URL,
        auth_mode=AuthMode.NONE,
        # Sent nowhere, and masked in what an answer says: chat programs' secret is the path.
        credential=settings.ALERT_WEBHOOK_URL.partition("://")[2].partition("/")[2],
        allow_nets=parse_networks(settings.OUTBOUND_ALLOW_NETS),
    )
    transport = Transport(endpoint)
    try:
        transport.send(Request(Operation.ADD, "POST", settings.ALERT_WEBHOOK_URL, headers, body, 0))
    except Misconfigured as error:
        # Chat programs answer "ok" as a web page; for a partner, that would be its login page.
        if error.code != "html":
            raise
    finally:
        transport.close()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of X-Cohort-Sync-Signature: `sha256=` and 64 hex digits."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
