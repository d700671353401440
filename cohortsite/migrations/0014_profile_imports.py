from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Imports of profiles are seen by all, and brought by operators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0013_erasures"), ("people", "0003_profile_imports")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
