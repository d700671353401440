"""Telling people, once, when a sync begins to need them and when it is well again.

    tell_changes()  compares what each sync needs people for with the last notification; writes an Alert
    send_waiting()  sends them by e-mail and by a signed webhook, and tries again what failed

The webhook is a POST of JSON; `X-Cohort-Sync-Signature` is `sha256=` and the hex HMAC-SHA256, under
the shared secret, of the timestamp in `X-Cohort-Sync-Timestamp` (Unix seconds), a dot and the body.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from destinations.addresses import parse_networks
from destinations.endpoint import AuthMode, Endpoint
from destinations.errors import DeliveryError, Misconfigured
from destinations.payloads import Operation, Request
from syncs.choices import OPEN_RUNS, AlertKind
from syncs.models import Alert, Sync
from syncs.status.attention import PATIENCE, with_need
from syncs.status.attention import of as attention_of
from syncs.status.facts import facts_of
from syncs.status.state import Facts

TRIES = 8


def tell_changes(now: datetime) -> list[Alert]:
    """Write an alert for each sync that needs people for something else than they were last notified of."""
    return [alert for sync, kind, sentence in _changed(now) if (alert := _tell(sync, kind, sentence))]


def _tell(sync: Sync, kind: str, sentence: str) -> Alert | None:
    with transaction.atomic():
        if not Sync.objects.note_alerted(sync.pk, before=sync.alerted, now=kind):
            return None
        return Alert.objects.create(sync=sync, kind=kind or AlertKind.RECOVERED, sentence=sentence)


def _changed(now: datetime) -> Iterator[tuple[Sync, str, str]]:
    """Yield the syncs whose need is another than the last notified, with the alert's kind and sentence."""
    watched: QuerySet[Any] = with_need(Sync.objects.all(), now)
    syncs = watched.exclude(need="", alerted="").select_related("cohort", "destination__driver")
    by_key = {sync.pk: sync for sync in syncs}
    for pk, facts in facts_of(by_key.values(), now).items():
        attention = attention_of(facts)
        kind = attention.alert if attention else ""
        if kind != by_key[pk].alerted and not _is_under_way_again(by_key[pk], facts, kind):
            yield by_key[pk], kind, attention.sentence if attention else "All is well again."


def _is_under_way_again(sync: Sync, facts: Facts, kind: str) -> bool:
    """A run that has waited for hours and goes on now may have to wait again: that is no recovery yet."""
    late = facts.run and facts.run.state in OPEN_RUNS and facts.run.made_at < facts.now - PATIENCE
    return kind == "" and sync.alerted == AlertKind.FAILING and bool(late)


def tell_of_site(worries: Mapping[str, str]) -> list[Alert]:
    """Write an alert for each worry about the site that is new, and for each that is over.

    `worries`: sentences, by what they are about.

    One process at a time shall call it: nothing else keeps two from telling the same.
    """
    last: dict[str, str] = {}
    for about, kind in Alert.objects.filter(sync=None).order_by("pk").values_list("about", "kind"):
        last[about] = kind
    notified = {about for about, kind in last.items() if kind != AlertKind.RECOVERED}
    made = [
        Alert(about=about, kind=AlertKind.SILENT, sentence=sentence)
        for about, sentence in worries.items()
        if about not in notified
    ]
    made += [
        Alert(about=about, kind=AlertKind.RECOVERED, sentence=f"All is well again with: {about}.")
        for about in sorted(notified - set(worries))
    ]
    return Alert.objects.bulk_create(made)


def send_waiting(now: datetime) -> int:
    """Send the alerts that wait; return how many were sent. What failed is tried again later, 8 times."""
    sent = 0
    waiting = Alert.objects.filter(sent_at=None, next_at__lte=now, tries__lt=TRIES)
    for alert in waiting.select_related("sync__cohort", "sync__destination").order_by("pk")[:100]:
        if not _claimed(alert, now):
            continue
        if problems := [problem for channel in CHANNELS if (problem := _by(channel, alert))]:
            Alert.objects.filter(pk=alert.pk).update(error=" ".join(problems))
        else:
            sent += Alert.objects.filter(pk=alert.pk).update(
                sent_at=timezone.now(), sent_to=recipients(), error=""
            )
    return sent


def _by(channel: "Channel", alert: Alert) -> str:
    """Send an alert by one channel, unless it went out there; return what was wrong, or ''.

    A channel that fails keeps no other from its try, and lets none send again.
    """
    if getattr(alert, channel.sent_field) is not None:
        return ""
    try:
        channel.send(alert)
    except (OSError, DeliveryError) as error:
        return f"{channel.name}: {error}"
    Alert.objects.filter(pk=alert.pk).update(**{channel.sent_field: timezone.now()})
    return ""


def _claimed(alert: Alert, now: datetime) -> bool:
    """Take one try of an alert, with growing distance; of several processes, one gets it."""
    later = now + timedelta(minutes=2**alert.tries)
    mine = Alert.objects.filter(pk=alert.pk, tries=alert.tries, sent_at=None)
    return mine.update(tries=alert.tries + 1, next_at=later) == 1


def recipients() -> str:
    """Return who is notified; of the webhook the host alone, since its path may be a secret."""
    webhook = (
        [f"webhook at {urlsplit(settings.ALERT_WEBHOOK_URL).hostname}"] if settings.ALERT_WEBHOOK_URL else []
    )
    return ", ".join([*settings.ALERT_EMAILS, *webhook])


def _email(alert: Alert) -> None:
    if settings.ALERT_EMAILS:
        subject = f"[Cohort Sync] {alert}"
        send_mail(subject, f"{alert.subject}\n\n{alert.sentence}\n", None, settings.ALERT_EMAILS)


def _webhook(alert: Alert) -> None:
    if not settings.ALERT_WEBHOOK_URL:
        return
    body = orjson.dumps(
        {
            "id": alert.pk,
            "sync": str(alert.sync) if alert.sync else None,
            "about": alert.about,
            "state": alert.kind,
            "message": alert.sentence,
            "at": alert.created_at.isoformat(),
        }
    )
    post_signed(settings.ALERT_WEBHOOK_URL, body)


def post_signed(url: str, body: bytes) -> None:
    """Post JSON to an address of the site's operator, signed. Raises OSError, DeliveryError."""
    timestamp = str(int(timezone.now().timestamp()))
    headers = {
        "Content-Type": "application/json",
        "X-Cohort-Sync-Timestamp": timestamp,
        "X-Cohort-Sync-Signature": sign(settings.ALERT_WEBHOOK_SECRET, timestamp, body),
    }
    endpoint = Endpoint(
        name="alerts",
        base_url=url,
        auth_mode=AuthMode.NONE,
        # Sent nowhere, and masked in what an answer says: chat programs' secret is the path.
        credential=url.partition("://")[2].partition("/")[2],
        allow_nets=parse_networks(settings.OUTBOUND_ALLOW_NETS),
    )
    from destinations.transport import Transport  # here: most rounds have nothing to send

    transport = Transport(endpoint)
    try:
        transport.send(Request(Operation.ADD, "POST", url, headers, body, 0))
    except Misconfigured as error:
        # Chat programs answer "ok" as a web page; for a partner, that would be its login page.
        if error.code != "html":
            raise
    finally:
        transport.close()


@dataclass(frozen=True)
class Channel:
    """A way by which people are notified; `sent_field` of an Alert says when it went out there."""

    name: str
    sent_field: str
    send: Callable[[Alert], None]


CHANNELS = (Channel("E-mail", "emailed_at", _email), Channel("Webhook", "webhooked_at", _webhook))


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of X-Cohort-Sync-Signature: `sha256=` and 64 hex digits."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
