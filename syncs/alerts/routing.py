"""Which channels an alert goes out by: by how bad it is, its destination, its cohort's tags and owner."""

from collections.abc import Sequence
from datetime import timedelta

from syncs.alert_models import AlertChannel, AlertDelivery
from syncs.alerts.by_settings import named_channels
from syncs.choices import AlertKind, Severity
from syncs.models import Alert

# What comes within so long of another of its kind goes out with it, in one message.
GATHER = timedelta(seconds=15)
SEVERITIES = {
    AlertKind.UNATTENDED: Severity.CRITICAL,
    AlertKind.SILENT: Severity.CRITICAL,
    AlertKind.FAILING: Severity.ERROR,
    AlertKind.PAUSED: Severity.ERROR,
    AlertKind.MISSED: Severity.ERROR,
    AlertKind.DIFFERS: Severity.ERROR,
    AlertKind.COHORT: Severity.WARNING,
    AlertKind.HELD: Severity.WARNING,
    AlertKind.SET_BACK: Severity.INFO,
    AlertKind.PROPOSED: Severity.WARNING,
}
ORDER = list(Severity)


def severity_of(alert: Alert) -> Severity:
    """Return how bad it is; of what is over, how bad it was."""
    kind = alert.was if alert.kind == AlertKind.RECOVERED else alert.kind
    return SEVERITIES.get(AlertKind(kind), Severity.ERROR) if kind else Severity.INFO


def goes_by(channel: AlertChannel, alert: Alert) -> bool:
    if ORDER.index(severity_of(alert)) < ORDER.index(Severity(channel.least)):
        return False
    if alert.sync is None:
        return not (channel.destinations or channel.tags or channel.owners)
    cohort = alert.sync.cohort
    return (
        (not channel.destinations or alert.sync.destination.name in channel.destinations)
        and (not channel.tags or not set(channel.tags).isdisjoint(cohort.tags))
        and (not channel.owners or cohort.owner in channel.owners)
    )


def channels_of() -> list[AlertChannel]:
    """Return the channels by which something goes out now: those of the settings, and the enabled rows.

    Read once a round, and not for each alert.
    """
    return [*named_channels(), *AlertChannel.objects.filter(enabled=True)]


def route(alerts: Sequence[Alert], channels: Sequence[AlertChannel]) -> None:
    """Write down by which channels the alerts go out. Runs in the transaction that writes them."""
    AlertDelivery.objects.bulk_create(
        AlertDelivery(alert=alert, channel=channel, next_at=alert.created_at + GATHER)
        if channel.pk
        else AlertDelivery(alert=alert, setting=channel.name, next_at=alert.created_at)
        for alert in alerts
        for channel in channels
        if goes_by(channel, alert)
    )
