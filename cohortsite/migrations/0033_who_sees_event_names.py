from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """All who see the site see the history of the names of events."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0032_parts_of_lists")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
