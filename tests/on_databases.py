"""`./run test`: pytest on SQLite and on PostgreSQL, side by side, and a line for each with its result.

SQLite's tests print as they go, PostgreSQL's when those have ended. What has nothing to do with the
database (the mark "once") runs with SQLite's alone, and what needs a browser with PostgreSQL's alone, if it
is there: so both take about as long. All tests of a database run in two processes, a file's in the same one:
half of the time one of them waits for a reply or a child. Tests that are named run in one. Files with the
mark "slow" begin first (conftest.py), so that none is left over at the end for one process alone.

PostgreSQL is TEST_POSTGRES_URL, or DATABASE_URL if that is one, or user postgres at 127.0.0.1:5432. Its
server must be there in CI (CI=true); elsewhere the summary says that it was not tested.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO
from urllib.parse import urlsplit

import psycopg

from chaos import migrated

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = "postgres://postgres@127.0.0.1:5432/cohort_sync"
IN_TWO_PROCESSES = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
MIGRATE = """
import tests.environment
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "migrate", "-v0"])
"""
HINT = "set TEST_POSTGRES_URL, or start one at 127.0.0.1:5432"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one database: a pytest exit code, or why it was not tested."""

    database: str
    code: int | None = None
    seconds: float = 0.0
    reason: str = ""

    def line(self) -> str:
        if self.code is None:
            return f"{self.database}: NOT TESTED, {self.reason}"
        passed = "passed" if self.code == 0 else f"FAILED (pytest's exit code {self.code})"
        return f"{self.database}: {passed}, {self.seconds:.0f} s"


def main(arguments: list[str]) -> int:
    """Return 0 when all tests passed on each database, and in CI on both."""
    url = postgres_url(os.environ)
    reason = why_unreachable(url)
    os.environ["TEST_POSTGRES_URL"] = other_database(os.environ)
    arguments = arguments or IN_TWO_PROCESSES
    with TemporaryFile() as output, migrated_once("" if reason else url), ThreadPoolExecutor() as pool:
        mine, its = share(with_postgres=not reason)
        later = None if reason else pool.submit(run_pytest, "PostgreSQL", url, its + arguments, output)
        print("\n--- Tests on SQLite ---", flush=True)
        outcomes = [run_pytest("SQLite", "sqlite:///:memory:", mine + arguments)]
        if later is None:
            outcomes.append(Outcome("PostgreSQL", reason=f"{reason}; {HINT}"))
        else:
            print("\n--- Tests on PostgreSQL ---", flush=True)
            outcomes.append(later.result())
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
    print("\n--- Databases ---", *(outcome.line() for outcome in outcomes), sep="\n", flush=True)
    return exit_code(outcomes, in_ci=os.environ.get("CI", "") not in ("", "false", "0"))


@contextmanager
def migrated_once(server: str) -> Iterator[None]:
    """Migrate a database of each kind, which tests copy (chaos/migrated.py); server: PostgreSQL's, or ''."""
    name = f"cohort_sync_migrated_{os.getpid()}"
    with TemporaryDirectory() as folder:
        os.environ[migrated.SQLITE] = f"{folder}/migrated.sqlite3"
        migrate(f"sqlite:///{folder}/migrated.sqlite3")
        if not server:
            yield
            return
        with psycopg.connect(server, dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        try:
            migrate(urlsplit(server)._replace(path=f"/{name}").geturl())
            os.environ[migrated.POSTGRES] = name
            yield
        finally:
            with psycopg.connect(server, dbname="postgres", autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def migrate(url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "cohortsite.settings"}
    subprocess.run([sys.executable, "-c", MIGRATE], cwd=ROOT, env=environment, check=True)


def share(*, with_postgres: bool) -> tuple[list[str], list[str]]:
    """Return which tests run on SQLite and which on PostgreSQL, as options of pytest; each runs somewhere."""
    if not with_postgres:
        return [], []
    return ["-m", "not browser"], ["-m", "browser or not once"]


def exit_code(outcomes: list[Outcome], *, in_ci: bool) -> int:
    """Return the first failure; a database that was not tested is one in CI only."""
    codes = [int(in_ci) if outcome.code is None else outcome.code for outcome in outcomes]
    return next((code for code in codes if code), 0)


def postgres_url(environment: "os._Environ[str] | dict[str, str]") -> str:
    """Return where PostgreSQL is looked for; pytest makes a database test_… beside the one named."""
    url = environment.get("TEST_POSTGRES_URL") or environment.get("DATABASE_URL", "")
    return url if url.startswith(("postgres://", "postgresql://")) else DEFAULT


def other_database(environment: "os._Environ[str] | dict[str, str]") -> str:
    """Return what tests read that want another database than the site's: they are skipped without one."""
    given = environment.get("TEST_POSTGRES_URL")
    return given or urlsplit(postgres_url(environment))._replace(path="/postgres").geturl()


def why_unreachable(url: str) -> str:
    """Return why the server of this address cannot be used, or ''."""
    try:
        with psycopg.connect(url, dbname="postgres", connect_timeout=5):
            return ""
    except psycopg.Error as error:
        return " ".join(str(error).split())


def run_pytest(database: str, url: str, arguments: list[str], output: IO[bytes] | None = None) -> Outcome:
    """Run pytest on the database of this address; it prints as it goes, or into `output`."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        stdout=output,
        stderr=output and subprocess.STDOUT,
        check=False,
    )
    return Outcome(database, done.returncode, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
