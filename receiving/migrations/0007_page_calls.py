from django.db import migrations, models

HELP = "Named page, screen and group. Otherwise they are answered, and counted as ignored."
NAME = "page, screen and group calls are events"


class Migration(migrations.Migration):
    """Workspaces that are there go on as they did; new ones take these calls."""

    dependencies = [
        ("receiving", "0006_keys_for_pages"),
    ]

    operations = [
        migrations.AddField(
            model_name="workspace",
            name="page_calls",
            field=models.BooleanField(default=False, help_text=HELP, verbose_name=NAME),
        ),
        migrations.AlterField(
            model_name="workspace",
            name="page_calls",
            field=models.BooleanField(default=True, help_text=HELP, verbose_name=NAME),
        ),
    ]
