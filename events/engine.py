"""A DuckDB connection of our own for each piece of work: limited, and interrupted when time is over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from django.conf import settings
from django.db import connections

from events.engine_errors import EngineError as EngineError
from events.engine_errors import MissingTable as MissingTable
from events.engine_errors import TimedOut as TimedOut
from events.engine_errors import TooLarge as TooLarge
from events.engine_errors import Unreadable as Unreadable
from events.locks import own_folder

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Limits:
    """What one piece of work may use. `seconds` is wall time; None means without end."""

    memory_mb: int
    threads: int
    temp_mb: int
    seconds: float | None

    @classmethod
    def configured(cls) -> "Limits":
        return cls(
            memory_mb=settings.EVENTS_MEMORY_MB,
            threads=settings.EVENTS_THREADS,
            temp_mb=settings.EVENTS_TEMP_MB,
            seconds=settings.EVENTS_SECONDS,
        )


@contextmanager
def connect(limits: Limits, temp_root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB that spills into a folder of its own, removed afterwards.

    Raises TooLarge and TimedOut in place of DuckDB's errors of memory, disk and interruption.
    """
    with own_folder(temp_root) as folder:
        connection = duckdb.connect(":memory:", config=configuration(limits, str(folder)))
        try:
            with translated(limits), deadline(connection.interrupt, limits.seconds):
                yield connection
        finally:
            connection.close()


def configuration(limits: Limits, folder: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{limits.memory_mb}MB",
        "threads": limits.threads,
        "temp_directory": folder,
        "max_temp_directory_size": f"{limits.temp_mb}MB",
        # Files, if they need an extension, are refused: nothing is fetched from the network.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


@contextmanager
def watched(connection: duckdb.DuckDBPyConnection, progress: Progress) -> Iterator[None]:
    """Say how far the queries of a connection are: from 0 to 1 in each of them."""
    connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
    done = threading.Event()

    def watch() -> None:
        try:
            while not done.wait(0.5):
                progress(max(0.0, connection.query_progress()) / 100)
        finally:
            connections.close_all()  # of this thread: a progress may be kept in the database

    watcher = threading.Thread(target=watch, name="query-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def translated(limits: Limits) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise timed_out(limits) from None
    except duckdb.OutOfMemoryException as error:
        raise too_large(limits, str(error).splitlines()[0]) from None
    except duckdb.IOException as error:
        raise EngineError(f"The disk or a file was in the way: {str(error).splitlines()[0]}") from None
    except duckdb.Error as error:
        # What is wrong within a damaged file comes as any of DuckDB's errors.
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise Unreadable(f"A file of events could not be read: {said}") from None


def timed_out(limits: Limits) -> TimedOut:
    return TimedOut(
        f"The calculation took longer than {limits.seconds:g} seconds and was stopped. "
        "Narrow the windows or the events, or raise EVENTS_SECONDS."
    )


def too_large(limits: Limits, said: str) -> TooLarge:
    return TooLarge(
        f"The calculation needed more than {limits.memory_mb:,} MB of memory and "
        f"{limits.temp_mb:,} MB of disk. Narrow the windows or the events, or raise EVENTS_MEMORY_MB "
        f"or EVENTS_TEMP_MB. ({said})"
    )


@contextmanager
def deadline(interrupt: Callable[[], object], seconds: float | None) -> Iterator[None]:
    """Interrupt when time is over, again and again: an interrupt between two queries is lost."""
    if seconds is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            interrupt()
            wait = 0.05

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
