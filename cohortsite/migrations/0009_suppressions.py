from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Who is suppressed is seen by all, and decided by operators and administrators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0008_test_and_read_calls"), ("people", "0001_suppressions")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
