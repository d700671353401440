"""How an alert went out stands with its deliveries since 0023, which copied it.

A migration of its own: PostgreSQL alters no table to which rows of the same transaction refer.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("syncs", "0023_deliveries_by_settings")]

    operations = [
        migrations.RemoveIndex("alert", "alert_unsent"),
        *(
            migrations.RemoveField("alert", name)
            for name in ("sent_at", "sent_to", "emailed_at", "webhooked_at", "tries", "next_at", "error")
        ),
    ]
