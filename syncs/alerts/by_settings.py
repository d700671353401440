"""Alerts by the settings ALERT_EMAILS and ALERT_WEBHOOK_URL: each alert by e-mail and by a signed webhook.

Rows of the admin (AlertChannel) can do more: see sending.py. Both may be used at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.mail import send_mail
from django.utils import timezone

from destinations.errors import DeliveryError
from syncs.alert_models import TRIES
from syncs.alerts.links import link_to
from syncs.alerts.posting import post_signed
from syncs.models import Alert


def send_by_settings(now: datetime) -> int:
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
        parts = (alert.subject, alert.sentence, link_to([alert]))
        text = "\n\n".join(part for part in parts if part) + "\n"
        send_mail(subject, text, None, settings.ALERT_EMAILS)


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
            "url": link_to([alert]) or None,
        }
    )
    post_signed(settings.ALERT_WEBHOOK_URL, body)


@dataclass(frozen=True)
class Channel:
    """A way by which people are notified; `sent_field` of an Alert says when it went out there."""

    name: str
    sent_field: str
    send: Callable[[Alert], None]


CHANNELS = (Channel("E-mail", "emailed_at", _email), Channel("Webhook", "webhooked_at", _webhook))
