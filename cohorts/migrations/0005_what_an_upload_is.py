from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cohorts", "0004_hold_if_halved")]

    operations = [
        migrations.AddField("upload", "said", models.JSONField(default=dict)),
        migrations.AddField("upload", "refuse_suspicious", models.BooleanField(default=False)),
        migrations.AddField(
            "upload",
            "understood",
            models.TextField(blank=True, default="", help_text="How the file was read, in a sentence."),
            preserve_default=False,
        ),
        migrations.AddField(
            "upload",
            "suspicious",
            models.JSONField(default=list, help_text="Kinds of odd ids, with counts and samples."),
        ),
    ]
