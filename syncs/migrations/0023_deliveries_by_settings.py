"""Each alert's way out by ALERT_EMAILS and ALERT_WEBHOOK_URL is a delivery, as by any channel.

What was sent, to whom, and what still waits is copied; 0024 then drops the columns of the alert.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

PAGE = 1_000
# What is old and was not sent to anybody named then has no delivery: "nobody notified".
WEBHOOK = "webhook at "


def copied(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    deliveries = apps.get_model("syncs", "AlertDelivery").objects.using(using)
    alerts = apps.get_model("syncs", "Alert").objects.using(using).order_by("pk")
    last = 0
    while page := list(alerts.filter(pk__gt=last)[:PAGE]):
        last = page[-1].pk
        deliveries.bulk_create(one for alert in page for one in _deliveries(deliveries.model, alert))


def _deliveries(model: Any, alert: Any) -> list[Any]:
    named = [one for one in (alert.sent_to or "").split(", ") if one]
    if alert.sent_at is None:
        waits = (
            ("ALERT_EMAILS", settings.ALERT_EMAILS, alert.emailed_at),
            ("ALERT_WEBHOOK_URL", settings.ALERT_WEBHOOK_URL, alert.webhooked_at),
        )
        return [
            model(
                alert=alert, setting=setting, sent_at=at, tries=alert.tries, next_at=alert.next_at,
                error="" if at else alert.error,
            )
            for setting, is_set, at in waits
            if is_set
        ]  # fmt: skip
    if alert.sent_to is None:
        # From before it was recorded to whom.
        return [model(alert=alert, setting="ALERT_EMAILS", sent_at=alert.sent_at)]
    sent = (
        ("ALERT_EMAILS", [one for one in named if not one.startswith(WEBHOOK)], alert.emailed_at),
        ("ALERT_WEBHOOK_URL", [one for one in named if one.startswith(WEBHOOK)], alert.webhooked_at),
    )
    return [
        model(
            alert=alert,
            setting=setting,
            sent_to=", ".join(to),
            sent_at=at or alert.sent_at,
            tries=alert.tries,
        )
        for setting, to, at in sent
        if to
    ]


class Migration(migrations.Migration):
    dependencies = [("syncs", "0022_proposals")]

    operations = [
        migrations.AddField(
            "alertdelivery",
            "setting",
            models.CharField(blank=True, default="", max_length=30),
            preserve_default=False,
        ),
        migrations.AddField(
            "alertdelivery", "sent_to", models.TextField(blank=True, default=""), preserve_default=False
        ),
        migrations.AlterField(
            "alertdelivery",
            "channel",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="syncs.alertchannel",
            ),
        ),
        migrations.AddConstraint(
            "alertdelivery",
            models.UniqueConstraint(
                condition=models.Q(("channel", None)),
                fields=("alert", "setting"),
                name="alert_once_by_setting",
            ),
        ),
        migrations.RunPython(copied, migrations.RunPython.noop),
    ]
