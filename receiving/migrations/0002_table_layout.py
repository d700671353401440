"""What Django's migrations cannot say of a table: where its rows lie."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# Tables that are their own index. Without this, SQLite keeps each row twice: by rowid and in the key's index.
KEYED_TABLES = [
    "receiving_listmember",
    "receiving_usertrait",
    "receiving_knownuser",
    "receiving_seenmessage",
]


def lay_out(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        # The bodies are compressed before they come; PostgreSQL would try again, in vain.
        schema_editor.execute("ALTER TABLE receiving_requestlog ALTER COLUMN body SET STORAGE EXTERNAL")
        return
    with schema_editor.connection.cursor() as cursor:
        for table in KEYED_TABLES:
            cursor.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = %s AND sql IS NOT NULL ORDER BY type DESC",
                [table],
            )
            statements = [row[0] for row in cursor.fetchall()]
            create, indexes = statements[0], statements[1:]
            cursor.execute(f"DROP TABLE {table}")
            cursor.execute(f"{create} WITHOUT ROWID")
            for statement in indexes:
                cursor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("receiving", "0001_initial")]
    operations = [migrations.RunPython(lay_out, migrations.RunPython.noop)]
