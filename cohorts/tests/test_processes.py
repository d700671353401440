"""Refreshes as processes of their own: killed, beside another writer, and their memory."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from chaos import migrated

ROOT = Path(settings.BASE_DIR)
ON_SQLITE = connection.vendor == "sqlite"
NAME = f"cohorts_processes_{os.getpid()}"
TEN_SECONDS = 10


class Installation:
    """A database of its own, and the commands on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if ON_SQLITE:
            self.url = f"sqlite:///{directory}/db.sqlite3"
        else:
            given = settings.DATABASES["default"]
            server_address = f"{given['USER']}@{given['HOST']}:{given['PORT']}"
            self.server, self.url = (
                f"postgres://{server_address}/postgres",
                f"postgres://{server_address}/{NAME}",
            )
            self.on_server(f"CREATE DATABASE {NAME}{migrated.template()}")
        self.environ = os.environ | {"DATABASE_URL": self.url, "VAR_DIR": str(directory)}
        migrated.migrate(self.environ)

    def on_server(self, sql: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as server:
            server.execute(sql)

    def command(self, *args: object) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), *map(str, args)]

    def run(self, *args: object) -> str:
        done = subprocess.run(
            self.command(*args), env=self.environ, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *args: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*args), env=self.environ, stdout=subprocess.DEVNULL)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        if ON_SQLITE:
            with sqlite3.connect(self.directory / "db.sqlite3", timeout=60) as database:
                return database.execute(sql).fetchall()
        with psycopg.connect(self.url) as database:
            cursor = database.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def make_cohort(self, key: str) -> None:
        self.run(
            "shell",
            "--no-imports",
            "-c",
            f"from cohorts.tests.ids import make_cohort; make_cohort({key!r}, hold_if_emptied=False)",
        )

    def file(self, first: int, last: int) -> Path:
        path = self.directory / f"{first}-{last}.csv"
        with path.open("w") as file:
            # Neither sorted nor short: the sort has work, and the bytes are those of real ids.
            file.writelines(
                f"customer-{number * 7919 % 1_000_003:08}-of-the-shop\n" for number in range(first, last)
            )
        return path

    def members(self, key: str) -> list[str]:
        return self.run("export_members", key).split()[1:]


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    made = Installation(tmp_path_factory.mktemp("installation"))
    yield made
    if not ON_SQLITE:
        made.on_server(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.mark.slow
def test_after_kill_9_in_the_middle_the_version_is_the_old_one_and_the_next_is_right(installation):
    installation.make_cohort("killed")
    small, big = installation.file(0, 5_000), installation.file(4_000, 150_000)
    installation.run("import_members", "killed", small)
    before = installation.members("killed")

    process = installation.start("import_members", "killed", big)
    deadline = time.monotonic() + 60
    written = "SELECT count(*) FROM cohorts_member WHERE entered_version = 2"
    while installation.execute(written)[0][0] == 0:
        assert process.poll() is None and time.monotonic() < deadline
    process.kill()
    assert process.wait(TEN_SECONDS) == -9
    entered = installation.execute(written)[0][0]
    assert 0 < entered < 146_000
    assert installation.members("killed") == before == sorted(small.read_text().split())

    # The dead one's claim does not have to run out; what it wrote is gone.
    other = installation.file(2_000, 9_000)
    said = installation.run("import_members", "killed", other)
    assert "version 3 published, 7,000 users, 4,000 entered, 2,000 left" in said
    assert installation.members("killed") == sorted(other.read_text().split())
    assert installation.execute(written)[0][0] == 0
    [(state, reason)] = installation.execute(
        "SELECT state, reason FROM cohorts_cohortversion WHERE number = 2"
    )
    assert (state, reason) == ("failed", "The process that calculated it died.")


@pytest.mark.slow
@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL has more than one writer")
def test_another_writer_gets_its_turn_during_a_refresh(installation):
    installation.make_cohort("busy")
    installation.make_cohort("bystander")
    file = installation.file(0, 200_000)
    process = installation.start("import_members", "busy", file)
    [(busy,)] = installation.execute("SELECT id FROM cohorts_cohort WHERE key = 'busy'")
    written = f"SELECT count(*) FROM cohorts_member WHERE cohort_id = {busy}"
    while installation.execute(written)[0][0] == 0:
        assert process.poll() is None
    turns, waits = 0, []
    while process.poll() is None:
        began = time.monotonic()
        installation.execute("UPDATE cohorts_cohort SET name = 'B' WHERE key = 'bystander'")
        waits.append(time.monotonic() - began)
        turns += 1
    assert process.returncode == 0
    assert installation.execute(written)[0][0] == 200_000
    # The refresh has 40 transactions; resting after each, it leaves at least one turn for each of them.
    assert turns >= 40, (turns, max(waits))
    assert max(waits) < TEN_SECONDS


@pytest.mark.slow
def test_the_memory_of_an_import_does_not_grow_with_the_cohort(installation):
    installation.make_cohort("large")

    def peak(users: int) -> int:
        """Import so many users; return the greatest memory of the process, in KB (getrusage(2))."""
        process = installation.start("import_members", "large", installation.file(0, users))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    # From 200,000 on, the sort holds its two chunks.
    small, large = peak(200_000), peak(600_000)
    assert large < small * 1.1, (small, large)
