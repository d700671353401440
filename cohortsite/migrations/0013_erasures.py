from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Erasures are seen by all, and asked for by administrators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0012_followed"), ("people", "0002_erasures")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
