"""The channels that ALERT_EMAILS and ALERT_WEBHOOK_URL name: as rows of the admin that nobody stored.

By them everything goes out, each alert by itself and at once.
"""

from urllib.parse import urlsplit

from django.conf import settings

from syncs.alert_models import AlertChannel
from syncs.choices import ChannelKind, Severity


def named_channels() -> list[AlertChannel]:
    """Return a channel for each of the two settings that names somebody. Its name is the setting's."""
    named = (
        ("ALERT_EMAILS", ChannelKind.EMAIL, ", ".join(settings.ALERT_EMAILS)),
        ("ALERT_WEBHOOK_URL", ChannelKind.WEBHOOK, settings.ALERT_WEBHOOK_URL),
    )
    return [
        AlertChannel(name=name, kind=kind, address=address, least=Severity.INFO)
        for name, kind, address in named
        if address
    ]


def recipients_of(channel: AlertChannel) -> str:
    """Return whom a setting names; of the webhook the host alone, since its path may be a secret."""
    is_webhook = channel.kind == ChannelKind.WEBHOOK
    return f"webhook at {urlsplit(channel.address).hostname}" if is_webhook else channel.address
