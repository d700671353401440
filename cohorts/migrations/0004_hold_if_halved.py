"""Half of a cohort gone waits for a person: for new cohorts. Those that there are keep their behaviour."""

from django.db import migrations, models

HELP = (
    "A refresh, or a file that replaces, after which half of more than 100 members or more "
    "would be gone waits for a person. A limit of your own below takes its place."
)


class Migration(migrations.Migration):
    dependencies = [("cohorts", "0003_preview_as_of")]

    operations = [
        # Two steps: rows that are there get False, rows that come get True.
        migrations.AddField(
            model_name="cohort",
            name="hold_if_halved",
            field=models.BooleanField("hold when halved", default=False, help_text=HELP),
        ),
        migrations.AlterField(
            model_name="cohort",
            name="hold_if_halved",
            field=models.BooleanField("hold when halved", default=True, help_text=HELP),
        ),
    ]
