from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Corrections of events are seen by all, and made by administrators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0005_partners_language"), ("events", "0002_custody")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
