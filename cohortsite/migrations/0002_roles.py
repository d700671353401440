from django.db import migrations

from cohortsite import roles


def grant(apps, schema_editor):
    """By the rules of today: a later migration that calls this again gives what was added meanwhile."""
    roles.grant(schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [
        ("cohortsite", "0001_tokens_and_changes"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("events", "0001_initial"),
        ("receiving", "0002_table_layout"),
        ("syncs", "0002_permissions"),
    ]
    # Nothing is taken back: people may have put themselves into the groups, and changed them.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
