"""A pause may have an end: "until tomorrow"."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("destinations", "0012_parts_of_lists")]

    operations = [
        migrations.AddField("destination", "paused_until", models.DateTimeField(editable=False, null=True)),
        migrations.AddConstraint(
            "destination",
            models.CheckConstraint(
                condition=models.Q(("paused_at__isnull", False), ("paused_until", None), _connector="OR"),
                name="destination_until_only_when_paused",
            ),
        ),
    ]
