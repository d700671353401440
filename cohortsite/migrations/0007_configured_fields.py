"""The history of changes knows all that is configured: a cohort's workspace of events, a sync's guard."""

from typing import Any

from django.db import migrations, models

HELP = (
    "A run that would take away half of more than 100 users or more waits for a person. A limit below, or "
    "the cohort's own, takes its place."
)


def as_they_are(apps: Any, schema_editor: Any) -> None:
    """What was recorded before had the workspace that the cohort has now, as far as anybody can tell."""
    recorded = apps.get_model("cohortsite", "HistoricalCohort").objects.using(schema_editor.connection.alias)
    cohorts = apps.get_model("cohorts", "Cohort").objects.using(schema_editor.connection.alias)
    for pk, workspace in cohorts.exclude(events_workspace="default").values_list("pk", "events_workspace"):
        recorded.filter(id=pk).update(events_workspace=workspace)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0006_corrections_of_events"), ("cohorts", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="historicalcohort",
            name="events_workspace",
            field=models.SlugField(
                "events of",
                default="default",
                help_text="Whose events: the receiving workspace that got them, or the one they were "
                "imported for.",
            ),
        ),
        # Two steps: rows that are there get False, for they had no such guard; rows that come get True.
        migrations.AddField(
            model_name="historicalsync",
            name="hold_if_halved",
            field=models.BooleanField("ask when halved", default=False, help_text=HELP),
        ),
        migrations.AlterField(
            model_name="historicalsync",
            name="hold_if_halved",
            field=models.BooleanField("ask when halved", default=True, help_text=HELP),
        ),
        migrations.RunPython(as_they_are, migrations.RunPython.noop),
    ]
