"""A database that is away is said in one line, then in one a minute."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.db.utils import ConnectionHandler

from cohortsite.outage import OneLineAMinute

pytestmark = pytest.mark.django_db


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(clock: Clock) -> Iterator[io.StringIO]:
    """What a handler with the filter writes of the logger "outage"."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(OneLineAMinute(clock))
    logger = logging.getLogger("outage")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


def ask(database: Path, sql: str = "SELECT 1") -> None:
    """Ask a database, and log what that raises as a worker does."""
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}})
    connection = handler["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
    except DatabaseError:
        logging.getLogger("outage").exception("A turn failed.")
    finally:
        connection.close()


def test_a_database_that_is_away__is_one_line_and_then_one_a_minute(
    written: io.StringIO, clock: Clock, tmp_path: Path
) -> None:
    away = tmp_path / "no" / "folder.sqlite3"
    for _ in range(200):
        ask(away)
    assert written.getvalue() == "The database cannot be used: unable to open database file.\n"
    clock.now += 61
    for _ in range(3):
        ask(away)
    assert written.getvalue().splitlines()[1:] == [
        "The database cannot be used: unable to open database file. "
        "It was found out 199 times more since the last line."
    ]


def test_a_mistake_of_ours__keeps_its_traceback(written: io.StringIO, tmp_path: Path) -> None:
    for _ in range(2):
        ask(tmp_path / "there.sqlite3", "SELECT * FROM nowhere")
    assert written.getvalue().count("no such table: nowhere") >= 2
    assert written.getvalue().count("Traceback") >= 2


def test_other_errors__keep_theirs(written: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("outage").exception("It failed.")
    assert "Traceback" in written.getvalue()


def test_every_line_of_every_process_passes_it() -> None:
    logging_of: Any = settings.LOGGING
    assert logging_of["handlers"]["stderr"]["filters"] == ["outage"]
    assert logging_of["filters"]["outage"]["()"] == "cohortsite.outage.OneLineAMinute"
