"""DuckDB in a process of its own: the system keeps its limit of memory, and time ends it.

DuckDB counts the memory of its tables, not that of a single value, and looks at an interruption between
batches of rows only: `repeat('x', 1e9)` took six times its limit of memory and eight times that of time.
"""

import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from events.engine import EngineError, Limits, configuration, timed_out, too_large

HERE = Path(__file__).resolve().parent.parent
# No password of the site's is in the environment of a process that runs a person's own query.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class QueryFailed(EngineError):
    """The database refused the query: the message is the database's own."""

    code = "query_failed"


class InvalidIds(EngineError):
    code = "invalid_ids"


class Job(NamedTuple):
    """What the process does: `relations` are files of ids by the (quoted) names of their tables.

    A job with a `target` is one SELECT, whose rows are written there, a line of JSON each; with `ids`, its
    one column alone, checked. Without one it is a statement of our own.
    """

    sql: str
    relations: Mapping[str, str] = {}
    prepare: Sequence[str] = ()
    target: str | None = None
    ids: bool = False


class EngineProcess(AbstractContextManager["EngineProcess"]):
    """One process, started by its first job. What DuckDB spills goes into `folder`; its owner removes it."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self.limits, self.folder = limits, folder
        self.process: subprocess.Popen[bytes] | None = None

    def __exit__(self, *error: object) -> None:
        self.end()

    def run(self, job: Job) -> None:
        """Do a job within the limits. Raises TooLarge, TimedOut, QueryFailed or InvalidIds."""
        try:
            answer = self.ask(self.process or self.start(), job)
        except BaseException:
            self.end()
            raise
        if "error" in answer:
            raise self.failure(answer["error"], answer["message"])

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cohorts.engine_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE,
            env={name: os.environ[name] for name in INHERITED if name in os.environ},
            start_new_session=True,
        )
        self.write(self.process, configuration(self.limits, str(self.folder)))
        return self.process

    def write(self, process: subprocess.Popen[bytes], value: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(value) + b"\n")
        process.stdin.flush()

    def ask(self, process: subprocess.Popen[bytes], job: Job) -> dict[str, str]:
        assert process.stdout is not None
        try:
            self.write(process, job._asdict())
        except BrokenPipeError:
            raise self.died(process.wait()) from None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(self.limits.seconds):
                raise timed_out(self.limits)
        line = process.stdout.readline()
        if not line:
            raise self.died(process.wait())
        answer: dict[str, str] = orjson.loads(line)
        return answer

    def died(self, code: int) -> EngineError:
        """A signal is how a process ends that gets no more memory, in whatever part of it that happens."""
        if code < 0:
            return too_large(self.limits, f"The process that calculated ended by signal {-code}.")
        return EngineError(f"The process that calculates ended with {code}; the log says why.")

    def failure(self, kind: str, message: str) -> EngineError:
        if kind == "too_large":
            return too_large(self.limits, message)
        if kind == "invalid_ids":
            return InvalidIds(f"The query returned a user id that {message}.")
        return QueryFailed(message)

    def end(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # what was not written yet to a process that is gone
                stream.close()
        self.process = None
