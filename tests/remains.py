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
    """Return which files of a folder, or SQLite's own file, have one of the texts in their bytes."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files}
    if connection.vendor == "sqlite":
        database = connection.connection
        assert isinstance(database, sqlite3.Connection)
        contents["the database's file"] = database.serialize()
    return {name for name, content in contents.items() if any(text.encode() in content for text in texts)}
