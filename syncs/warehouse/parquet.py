"""The history as Parquet: a file a chunk, whose name is its position. A rename puts both there at once."""

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import duckdb
import orjson

from syncs.warehouse.tables import Chunk, Row, Table

TYPES = {"text": "VARCHAR", "bigint": "BIGINT", "boolean": "BOOLEAN", "timestamp": "TIMESTAMPTZ"}
LIMITS: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "memory_limit": "250MB"}


class Parquet:
    """A folder: `runs/<position>.parquet`, `membership_changes/<cohort's number>/<position>.parquet`, …

    One export at a time: another one waits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._engine = duckdb.connect(config=LIMITS)
        self._engine.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.close()
        if self._lock:
            self._lock.close()

    def prepare(self, tables: Sequence[Table]) -> None:
        """Take away what an export that died has left: files without their final name."""
        for table in tables:
            (self.folder / table.name).mkdir(exist_ok=True)
            for left in (self.folder / table.name).rglob(".*"):
                left.unlink()

    def positions(self, table: Table) -> dict[str, str]:
        found: dict[str, str] = {}
        home = self.folder / table.name
        for path in home.rglob("*.parquet"):
            scope = "" if path.parent == home else path.parent.name
            found[scope] = max(found.get(scope, ""), path.name.removesuffix(".parquet"))
        return found

    def append(self, table: Table, chunk: Chunk) -> int:
        """Write a chunk as a file; return its rows."""
        home = self.folder / table.name / chunk.scope
        home.mkdir(exist_ok=True)
        return self._write(home / f"{chunk.position}.parquet", table, chunk.pages)

    def replace(self, table: Table, pages: Iterable[Sequence[Row]]) -> int:
        """Write a table anew, as one file; return how many rows it has."""
        return self._write(self.folder / table.name / f"{table.name}.parquet", table, pages)

    def _write(self, path: Path, table: Table, pages: Iterable[Sequence[Row]]) -> int:
        names = [column.name for column in table.columns]
        lines, made = path.with_name(f".{path.name}.jsonl"), path.with_name(f".{path.name}")
        count = 0
        with lines.open("wb") as file:
            for page in pages:
                for row in page:
                    file.write(orjson.dumps(dict(zip(names, row, strict=True))) + b"\n")
                count += len(page)
        kinds = {column.name: TYPES[column.kind] for column in table.columns}
        source = f"read_json('{_quoted(lines)}', format = 'newline_delimited', columns = {kinds})"
        self._engine.execute(f"COPY (FROM {source}) TO '{_quoted(made)}' (FORMAT parquet, COMPRESSION zstd)")
        lines.unlink()
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.rename(path)
        return count


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
