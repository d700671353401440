"""Sending alerts by the channels of the admin, and by those that the settings name.

What is alike goes out in one message: the alerts of one destination and of one kind that are due. In quiet
hours only what is critical goes out; the rest waits for their end. What failed is tried again, 8 times, in
growing distance; a channel that fails keeps no other waiting. By a channel of the settings each alert goes
out by itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.core.cache import cache
from django.core.mail import send_mail
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from destinations.errors import DeliveryError
from destinations.secrets import SecretUnreadable
from syncs.alert_models import AlertChannel, AlertDelivery, emails_of
from syncs.alerts.by_settings import recipients_of
from syncs.alerts.links import link_to
from syncs.alerts.posting import post, post_signed
from syncs.alerts.routing import ORDER, channels_of, severity_of
from syncs.alerts.times import next_summary, quiet_until
from syncs.alerts.vendors import POSTS, Message, alone
from syncs.alerts.weekly import summary
from syncs.choices import AlertKind, ChannelKind, Severity
from syncs.models import Alert, Sync

FAILURES = (OSError, DeliveryError, SecretUnreadable)
# Alerts that are looked at in one round, names and sentences that a message holds.
MOST, MOST_NAMES, MOST_SENTENCES = 2_000, 10, 5
SUMMARY_AGAIN = timedelta(minutes=10)
Group = tuple[int | str, int, str, str]


def send_waiting(now: datetime) -> int:
    """Send what waits, remind, and send the weekly summaries; return how many messages went out."""
    channels = channels_of()
    if not channels:
        return 0
    _remind([channel for channel in channels if channel.remind_hours], now)
    by_setting = {channel.name: channel for channel in channels if not channel.pk}
    waiting = AlertDelivery.objects.due(now, by_setting)
    grouped: dict[Group, list[AlertDelivery]] = defaultdict(list)
    related = ("channel", "alert__sync__cohort", "alert__sync__destination")
    for one in waiting.select_related(*related).order_by("pk")[:MOST]:
        alone = one.pk if one.setting else 0
        grouped[one.channel_id or one.setting, alone, subject_of(one.alert), one.alert.kind].append(one)
    sent = sum(
        _send(deliveries[0].channel or by_setting[deliveries[0].setting], deliveries, now)
        for deliveries in grouped.values()
    )
    return sent + sum(_summary(channel, now) for channel in channels if channel.weekly)


def subject_of(alert: Alert) -> str:
    """Return what an alert is about: its destination, or what of the site."""
    return f"destination/{alert.sync.destination.name}" if alert.sync else f"site/{alert.about}"


def test(channel: AlertChannel) -> str:
    """Send a message that says it is a test; return what went wrong, or ''."""
    key = f"cohort-sync/test/{channel.name}"
    lines = ("Somebody tests this channel of Cohort Sync. Nothing is wrong.",)
    about = f"Test of {channel.name}"
    message = Message(about, lines, "test", Severity.INFO, timezone.now(), key=key, over=(key,))
    return _deliver(channel, message)


def _send(channel: AlertChannel, deliveries: list[AlertDelivery], now: datetime) -> int:
    """Send a group as one message, unless its channel is quiet; return how many went out."""
    pks = [one.pk for one in deliveries]
    worst = max((severity_of(one.alert) for one in deliveries), key=ORDER.index)
    end = quiet_until(now, channel.quiet_from, channel.quiet_to, channel.timezone)
    if end and worst != Severity.CRITICAL:
        AlertDelivery.objects.filter(pk__in=pks, sent_at=None).update(next_at=end)
        return 0
    later = now + timedelta(minutes=2 ** max(one.tries for one in deliveries))
    if not AlertDelivery.objects.claim(pks, now, later):
        return 0
    mine = AlertDelivery.objects.filter(pk__in=pks)
    if problem := _deliver(channel, message_of(deliveries, worst)):
        mine.update(error=problem)
        return 0
    mine.update(sent_at=timezone.now(), error="", sent_to="" if channel.pk else recipients_of(channel))
    return 1


def message_of(deliveries: list[AlertDelivery], severity: Severity) -> Message:
    """Return what is said of alerts of one kind, about one destination or one thing of the site."""
    alerts = [one.alert for one in deliveries]
    first = alerts[0]
    names = [str(alert.sync) for alert in alerts if alert.sync]
    about = str(first.sync.destination) if first.sync else "This site"
    what = first.get_kind_display()
    title = f"{about}: {len(names)} syncs: {what}" if len(names) > 1 else f"{first.subject}: {what}"
    sentences = list(dict.fromkeys(alert.sentence for alert in alerts))
    lines = sentences[:MOST_SENTENCES]
    if len(names) > 1:
        more = len(names) - MOST_NAMES
        lines.append(f"{', '.join(names[:MOST_NAMES])}{f' and {more:,} more' if more > 0 else ''}")
    over = first.kind == AlertKind.RECOVERED
    return Message(
        f"Still: {title}" if any(one.reminders for one in deliveries) else title,
        tuple(lines),
        first.kind,
        severity,
        first.created_at,
        # What is over by now begins no incident: the message that ends it may have gone out before.
        key="" if over or not _standing(deliveries) else _incident(first, first.kind),
        over=tuple(_ended(alerts)),
        destination=first.sync.destination.name if first.sync else "",
        syncs=tuple(names),
        url=link_to(alerts),
        first=first.pk,
        about=first.about,
    )


def _standing(deliveries: list[AlertDelivery]) -> bool:
    """Say whether one of these alerts is still so."""
    return AlertDelivery.objects.filter(_stands(), pk__in=[one.pk for one in deliveries]).exists()


def _stands() -> Q:
    """Of deliveries: nothing newer was said, and the sync still needs people for this."""
    newer = Alert.objects.filter(sync=OuterRef("alert__sync"), pk__gt=OuterRef("alert"))
    newer_of_site = Alert.objects.filter(sync=None, about=OuterRef("alert__about"), pk__gt=OuterRef("alert"))
    of_sync = Q(~Exists(newer), alert__sync__alerted=F("alert__kind"))
    return of_sync | Q(~Exists(newer_of_site), alert__sync=None)


def _incident(alert: Alert, kind: str) -> str:
    return f"cohort-sync/{subject_of(alert)}/{kind}"


def _ended(alerts: Iterable[Alert]) -> list[str]:
    """Return the incidents that nothing belongs to any more: no sync of the destination has that need now."""
    by_incident = {_incident(alert, alert.was): alert for alert in alerts if alert.was}
    return [key for key, alert in by_incident.items() if not _is_shared(alert)]


def _is_shared(alert: Alert) -> bool:
    """Say whether another sync of the destination still has the need that this one had."""
    same = (
        Sync.objects.filter(destination=alert.sync.destination_id, alerted=alert.was) if alert.sync else None
    )
    return same is not None and same.exists()


def _deliver(channel: AlertChannel, message: Message) -> str:
    """Send a message by a channel; return what went wrong, or ''."""
    try:
        _by_kind(channel, message)
    except FAILURES as error:
        problem = f"{channel.get_kind_display()}: {error}"
        AlertChannel.objects.filter(pk=channel.pk).update(last_error=problem)
        return problem
    AlertChannel.objects.filter(pk=channel.pk).update(last_sent_at=timezone.now(), last_error="")
    return ""


def _by_kind(channel: AlertChannel, message: Message) -> None:
    if channel.kind == ChannelKind.EMAIL:
        text = "\n\n".join(part for part in (message.title, message.text, message.url) if part) + "\n"
        # A line break in a subject would begin another header.
        send_mail(f"[Cohort Sync] {' '.join(message.title.split())}", text, None, emails_of(channel.address))
        return
    if not channel.pk:
        post_signed(channel.address, alone(message))
        return
    credential = channel.credential.reveal()
    for one in POSTS[channel.kind](message, channel.address, credential):
        if channel.kind == ChannelKind.WEBHOOK:
            post_signed(one.url, one.body, credential)
        else:
            post(one.url, one.body, secret=credential if channel.kind == ChannelKind.PAGERDUTY else "")


def _remind(channels: list[AlertChannel], now: datetime) -> None:
    """Let what was sent long ago, and still needs somebody, go out again. Looked for once a minute."""
    minute = int(now.timestamp()) // 60
    if not channels or not cache.add(f"alerts.remind.{minute}", 1, timeout=120):
        return
    for channel in channels:
        long_ago = now - timedelta(hours=channel.remind_hours or 0)
        notified = channel.deliveries.filter(_stands(), sent_at__lte=long_ago).exclude(
            alert__kind=AlertKind.RECOVERED
        )
        pks = list(notified.values_list("pk", flat=True)[:MOST])
        AlertDelivery.objects.filter(pk__in=pks, sent_at__lte=long_ago).update(
            sent_at=None, tries=0, next_at=now, reminders=F("reminders") + 1
        )


def _summary(channel: AlertChannel, now: datetime) -> int:
    """Send a weekly summary whose time has come; of several processes, one does it."""
    due = channel.summary_at
    if due is not None and due > now:
        return 0
    mine = AlertChannel.objects.filter(pk=channel.pk, summary_at=due)
    if not mine.update(summary_at=next_summary(now, channel.timezone)) or due is None:
        return 0
    if _deliver(channel, summary(now)):
        AlertChannel.objects.filter(pk=channel.pk).update(summary_at=now + SUMMARY_AGAIN)
        return 0
    return 1
