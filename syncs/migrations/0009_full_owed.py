"""A full run that began and did not end well stays owed, also one of an earlier release."""

from typing import Any

from django.db import migrations, models
from django.db.models import OuterRef, Q, Subquery


def owe(apps: Any, schema_editor: Any) -> None:
    run, sync = apps.get_model("syncs", "Run"), apps.get_model("syncs", "Sync")
    full = run.objects.filter(sync=OuterRef("pk"), mode__in=["full", "empty"], started_at__isnull=False)
    last = sync.objects.annotate(last_mode=Subquery(full.order_by("-pk").values("mode")[:1]))
    last = last.annotate(last_state=Subquery(full.order_by("-pk").values("state")[:1]))
    left = last.filter(last_mode="full").exclude(last_state__in=["succeeded", "partial"])
    # Who was forgotten meanwhile gets everybody anyway.
    left = left.filter(Q(dirty=True) | Q(settled_version__gt=0))
    sync.objects.filter(pk__in=list(left.values_list("pk", flat=True))).update(full_owed=True)


class Migration(migrations.Migration):
    dependencies = [("syncs", "0008_alerts_of_the_site")]

    operations = [
        migrations.AddField(
            model_name="sync",
            name="full_owed",
            field=models.BooleanField(
                default=False,
                editable=False,
                help_text="A full run began and did not end well: the next run is full.",
            ),
        ),
        migrations.RunPython(owe, migrations.RunPython.noop),
    ]
