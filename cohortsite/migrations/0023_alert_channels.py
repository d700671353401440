from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Channels of alerts are seen by all, and configured by administrators."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0022_scopes_of_tokens"), ("syncs", "0019_alert_channels")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
