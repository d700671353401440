from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("syncs", "0009_full_owed")]
    operations = [
        migrations.RenameField("sync", "place", "fingerprint"),
        migrations.AlterField(
            "rejection",
            "wanted",
            models.BooleanField(help_text="What the partner was sent: whether the user is in the cohort."),
        ),
    ]
