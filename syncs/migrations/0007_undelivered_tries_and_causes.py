"""Undelivered users are counted apart from rejected ones; failed tries, causes and who asked are kept.

Users that earlier runs could not deliver stay among their rejected ones: nobody wrote down which they were.
"""

import django.db.models.deletion
from django.db import migrations, models

HALVED = (
    "A run that would take away half of more than 100 users or more waits for a person. "
    "A limit below, or the cohort's own, takes its place."
)


class Migration(migrations.Migration):
    dependencies = [
        ("syncs", "0006_alert_emailed"),
    ]

    operations = [
        # Two steps: syncs that are there keep their behaviour, those that come ask.
        migrations.AddField(
            model_name="sync",
            name="hold_if_halved",
            field=models.BooleanField(default=False, help_text=HALVED, verbose_name="ask when halved"),
        ),
        migrations.AlterField(
            model_name="sync",
            name="hold_if_halved",
            field=models.BooleanField(default=True, help_text=HALVED, verbose_name="ask when halved"),
        ),
        migrations.AlterModelOptions(
            name="rejection",
            options={"ordering": ["sync", "user_id"], "verbose_name": "rejected or undelivered user"},
        ),
        migrations.AddField(
            model_name="alert",
            name="webhooked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="asked_version",
            field=models.PositiveIntegerField(
                default=0,
                help_text="The cohort's version when somebody last asked for a run, this one being open.",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="cancelled_by",
            field=models.CharField(blank=True, help_text="Who asked for it to be cancelled.", max_length=150),
        ),
        migrations.AddField(
            model_name="run",
            name="cohort_error",
            field=models.TextField(
                blank=True,
                help_text="Why the cohort could not be calculated before it: the run sent an older version.",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="tried_since",
            field=models.DateTimeField(help_text="When it was taken up again for the last time.", null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="trouble",
            field=models.TextField(
                blank=True, help_text="What the partner answers while the run goes on and is tried again."
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="undelivered",
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("failing", "Failing"),
                    ("paused", "Paused"),
                    ("held", "Held for approval"),
                    ("missed", "Missed its schedule"),
                    ("unattended", "Waits for a worker"),
                    ("cohort", "Cohort not calculated"),
                    ("recovered", "Recovered"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="rejection",
            name="kind",
            field=models.CharField(
                choices=[("rejected", "Rejected by the partner"), ("undelivered", "Not delivered")],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "Pending"),
                    ("running", "Running"),
                    ("parked", "Parked"),
                    ("held", "Held for approval"),
                    ("succeeded", "Succeeded"),
                    ("partial", "Partly delivered"),
                    ("failed", "Failed"),
                    ("cancelled", "Cancelled"),
                ],
                default="pending",
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="Try",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                ("reason", models.TextField(blank=True)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tries", to="syncs.run"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "tries",
                "ordering": ["pk"],
                "indexes": [models.Index(fields=["ended_at"], name="try_ended")],
            },
        ),
    ]
