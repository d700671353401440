"""Where texts that were to be erased still stand: in the tables, in the database's file, in files on disk."""

import sqlite3
import zlib
from pathlib import Path

from django.apps import apps
from django.db import connection


def in_tables(*texts):
    """Return where one of the texts stands in the database, in clear or compressed."""
    found = set()
    for model in apps.get_models():
        for row in model._default_manager.values():
            for name, value in row.items():
                if isinstance(value, (bytes, memoryview)):
                    value = bytes(value)
                    if value[:2] == b"\x1f\x8b":
                        value = zlib.decompress(value, 16 + zlib.MAX_WBITS)
                    value = value.decode("utf-8", "replace")
                if any(text in str(value) for text in texts):
                    found.add(f"{model._meta.label}.{name}")
    return found


def on_disk(folder, *texts):
    """Return which files of a folder have one of the texts in their bytes, and which parts of the database.

    Of SQLite that is its whole file, with pages that are free. Of PostgreSQL each table as COPY writes it,
    whether a model knows it or not: rows that are dead stay in its files until it cleans them.
    """
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files} | dict(_database())
    forms = [form for text in texts for form in (text.encode(), text.encode().hex().encode())]
    return {name for name, content in contents.items() if any(form in content for form in forms)}


def _database():
    if connection.vendor == "sqlite":
        database = connection.connection
        assert isinstance(database, sqlite3.Connection)
        yield "the database's file", database.serialize()
        return
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            with cursor.copy(f'COPY "{table}" TO STDOUT') as rows:
                yield f"the table {table}", b"".join(rows)
