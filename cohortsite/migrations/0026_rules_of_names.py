from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """What names mean is seen by all, and decided by administrators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0025_list_views"), ("events", "0005_rules_of_names")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
