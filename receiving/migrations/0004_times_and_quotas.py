"""The time of a trait's value, quotas, and what of a call was ignored or refused."""

from django.apps.registry import Apps
from django.core.validators import MinValueValidator
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.utils import timezone

from events.times import micros


def add_time(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Written out: on SQLite Django would make the table anew, and keep each row twice (0002).

    What is there was the last word until now.
    """
    now = micros(timezone.now())
    schema_editor.execute(f"ALTER TABLE receiving_usertrait ADD COLUMN time bigint NOT NULL DEFAULT {now}")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE receiving_usertrait ALTER COLUMN time DROP DEFAULT")


def drop_time(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    schema_editor.execute("ALTER TABLE receiving_usertrait DROP COLUMN time")


class Migration(migrations.Migration):
    dependencies = [("receiving", "0003_receipt")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(add_time, drop_time)],
            state_operations=[
                migrations.AddField(
                    "usertrait",
                    "time",
                    models.BigIntegerField(
                        default=0, help_text="When it was said, by our clock: microseconds since 1970."
                    ),
                    preserve_default=False,
                )
            ],
        ),
        migrations.AddField(
            model_name="requestlog",
            name="ignored",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="Items that are nothing to us: page views, devices."
            ),
        ),
        migrations.AddField(
            model_name="requestlog",
            name="refused",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="Items that could not be taken; the message says why."
            ),
        ),
        migrations.AddField(
            model_name="workspace",
            name="max_lists",
            field=models.PositiveIntegerField(
                default=10000,
                help_text="Creating more is answered with 403. Lists that are deleted make room.",
                validators=[MinValueValidator(1)],
                verbose_name="most lists",
            ),
        ),
        migrations.AddField(
            model_name="workspace",
            name="max_traits",
            field=models.PositiveIntegerField(
                default=10000,
                help_text="Different names of traits. A call that brings one more is answered with 403.",
                validators=[MinValueValidator(1)],
                verbose_name="most traits",
            ),
        ),
    ]
