"""Databases that are migrated already, to be copied: all migrations take eight seconds of a processor.

`./run test` makes one of each kind before its tests (tests/on_databases.py) and names them in the
environment: MIGRATED_SQLITE, a file, and MIGRATED_POSTGRES, a database of the server that the tests use.
Without them everybody migrates.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
SQLITE, POSTGRES = "MIGRATED_SQLITE", "MIGRATED_POSTGRES"


def template() -> str:
    """Return what makes CREATE DATABASE copy the migrated one: SQL, or ''."""
    name = os.environ.get(POSTGRES)
    return f' TEMPLATE "{name}"' if name else ""


def migrate(environment: dict[str, str]) -> None:
    """Give the new database of DATABASE_URL its tables: by a copy, or by `manage.py migrate` in a process.

    One of PostgreSQL is to be made with `template()`.
    """
    url = urlsplit(environment["DATABASE_URL"])
    if url.scheme == "sqlite" and (source := os.environ.get(SQLITE)):
        shutil.copyfile(source, url.path.removeprefix("/"))
    elif url.scheme == "sqlite" or not template():
        command = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
