"""A scratch database and the settings for a chaos script: nothing of the project's own data is touched.

    with prepared("sqlite"):        # or "postgres"
        ...                      # Django is set up here, and the tables are made

PostgreSQL is TEST_POSTGRES_URL, or user postgres at 127.0.0.1:5432; a database of its own is made there
and dropped at the end. Processes that are started from here find the same database in the environment.
"""

import argparse
import json
import multiprocessing
import os
import random
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from urllib.parse import urlsplit

from chaos import migrated

DATABASES = ("sqlite", "postgres")
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"


@contextmanager
def prepared(database: str, **environment: str) -> Iterator[None]:
    """Set Django up on a scratch database; `environment` overrides settings by their variables."""
    with tempfile.TemporaryDirectory() as folder, _database(database, folder) as url:
        os.environ.update(
            {
                "DJANGO_SETTINGS_MODULE": "cohortsite.settings",
                "SECRET_KEY": secrets.token_hex(32),
                "FIELD_KEYS": "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=",
                "ALLOWED_HOSTS": "testserver,127.0.0.1",
                "HTTPS": "false",
                "OUTBOUND_ALLOW_NETS": "127.0.0.0/8",
                "RETRY_TIME_SCALE": "0.001",
                "LOG_LEVEL": "ERROR",
                "VAR_DIR": folder,
                "DATABASE_URL": url,
                **environment,
            }
        )
        migrated.migrate(dict(os.environ))
        set_up()
        from django.db import connections

        try:
            yield
        finally:
            connections.close_all()


def set_up() -> None:
    """Set Django up from the environment, in whatever process this is."""
    import django

    django.setup()


@contextmanager
def _database(kind: str, folder: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/chaos.sqlite3"
        return
    import psycopg

    server = os.environ.get("TEST_POSTGRES_URL") or POSTGRES
    name = f"chaos_{os.getpid()}_{secrets.token_hex(3)}"
    with psycopg.connect(server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"{migrated.template()}')
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def processes() -> multiprocessing.context.ForkServerContext:
    """Return a way to start processes with Django set up; call it within `prepared`.

    They are forked from one that has no threads and no connections, in some milliseconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chaos.child"])
    return context


def worker() -> subprocess.Popen[bytes]:
    """Start the worker, as an operator would."""
    return subprocess.Popen([sys.executable, "manage.py", "sync_worker"], env=dict(os.environ))


def ended(process: BaseProcess, seconds: float = 120.0) -> int:
    """Wait for a process and return its exit code; kill it, and say so, when it does not come to an end."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"A process did not end within {seconds:g} s.")
    return process.exitcode


def arguments(description: str, **defaults: object) -> argparse.Namespace:
    """Parse the command line: each default makes an option of its name and type."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        option = f"--{name.replace('_', '-')}"
        choices = default if isinstance(default, tuple) else None
        first = default[0] if isinstance(default, tuple) else default
        parser.add_argument(option, type=type(first), default=first, choices=choices)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    return parser.parse_args()


def finish(figures: dict[str, object], *, passed: bool) -> None:
    """Print the figures as one line of JSON, and exit 0 when the promise was kept, else 1."""
    print(json.dumps({**figures, "passed": passed}), flush=True)
    sys.exit(0 if passed else 1)


def progress(line: str) -> None:
    """On a terminal, write a line over the last one."""
    if sys.stderr.isatty():
        print(f"\r{line}   ", end="", file=sys.stderr, flush=True)
