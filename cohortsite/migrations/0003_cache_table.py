from django.core.management import call_command
from django.db import migrations

TABLE = "cohortsite_cache"


def create(apps, schema_editor):
    """The table of the setting CACHES; here, so that there is no command to forget."""
    call_command("createcachetable", TABLE, database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0002_roles")]
    operations = [migrations.RunPython(create, lambda apps, editor: editor.execute(f"DROP TABLE {TABLE}"))]
