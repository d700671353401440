from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """Whoever imports files of user ids imports files of events; whoever looks sees them."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [
        ("cohortsite", "0016_projections"),
        ("events", "0003_uploads"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
