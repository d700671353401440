from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """All who see the site see proposals, and operators make them, once FOUR_EYES is on."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0029_proposals")]
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
