"""The history in ClickHouse: rows first, then how far they go. Rows that come again replace themselves."""

import time
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from types import TracebackType
from typing import Self

from events.clickhouse_server import DURABLE, Server, lines_of
from syncs.warehouse.tables import Chunk, Row, Table

TYPES = {"text": "String", "bigint": "Int64", "boolean": "Bool", "timestamp": "DateTime64(6, 'UTC')"}
# Each insert makes a part, which is merged later.
ROWS_AN_INSERT = 50_000
# A table's rows, which views show without those that were replaced.
ROWS = "_rows"


class ClickHouse(Server):
    """A database that is there: tables are made if they are missing, and new columns are added.

    A row knows when it was read (`read_at`): of two with one key the later counts, even if it was
    written first.
    """

    called = "The database"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, tables: Sequence[Table]) -> None:
        self.post(
            "CREATE TABLE IF NOT EXISTS exported (table_name String, scope String, position String) "
            f"ENGINE = MergeTree ORDER BY (table_name, scope) {DURABLE}"
        )
        for table in tables:
            self._prepare(table)

    def _prepare(self, table: Table) -> None:
        columns = [
            f"`{column.name}` {self._type(table, column.name, column.kind)} COMMENT {quoted(column.about)}"
            for column in table.columns
        ]
        # Each export writes a snapshot anew, alongside the one before.
        key = [*table.key, *(["read_at"] if table.snapshot else [])]
        self.post(
            f"CREATE TABLE IF NOT EXISTS {table.name}{ROWS} ({', '.join(columns)}, read_at UInt64) "
            f"ENGINE = ReplacingMergeTree(read_at) ORDER BY ({', '.join(key)}) {DURABLE}"
        )
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {column}" for column in columns)
        self.post(f"ALTER TABLE {table.name}{ROWS} {added}")
        latest = f"SELECT max(position) FROM exported WHERE table_name = {quoted(table.name)}"
        shown = f" WHERE toString(read_at) = ({latest})" if table.snapshot else ""
        names = ", ".join(f"`{column.name}`" for column in table.columns)
        self.post(
            f"CREATE OR REPLACE VIEW {table.name} AS SELECT {names} FROM {table.name}{ROWS} FINAL{shown}"
        )

    def _type(self, table: Table, name: str, kind: str) -> str:
        return TYPES[kind] if name in table.key else f"Nullable({TYPES[kind]})"

    def positions(self, table: Table) -> dict[str, str]:
        of = f"WHERE table_name = {quoted(table.name)}"
        found = self.select(f"SELECT scope, max(position) FROM exported {of} GROUP BY scope")
        return {str(scope): str(position) for scope, position in found}

    def append(self, table: Table, chunk: Chunk) -> int:
        """Write a chunk, then its position; return its rows. 0 when it is there already. Killed in between,
        or done by two at once, it is written twice, and shown once."""
        if self.positions(table).get(chunk.scope, "") >= chunk.position:
            return 0
        count = self._insert(table, chunk.pages, now())
        self._mark(table, chunk.scope, chunk.position)
        return count

    def replace(self, table: Table, pages: Iterable[Sequence[Row]]) -> int:
        """Write a table anew; readers see the old rows until then. Return how many rows it has."""
        read_at = now()
        count = self._insert(table, pages, read_at)
        self._mark(table, "", str(read_at))
        # In the server's own time: nobody sees them any more.
        self.post(f"ALTER TABLE {table.name}{ROWS} DELETE WHERE read_at < {read_at}")
        self.post(
            f"ALTER TABLE exported DELETE WHERE table_name = {quoted(table.name)} AND position < '{read_at}'"
        )
        return count

    def _insert(self, table: Table, pages: Iterable[Sequence[Row]], read_at: int) -> int:
        names, count = [column.name for column in table.columns], 0
        left = chain.from_iterable(pages)
        while rows := list(islice(left, ROWS_AN_INSERT)):
            lines = lines_of([{**dict(zip(names, row, strict=True)), "read_at": read_at} for row in rows])
            self.post(f"INSERT INTO {table.name}{ROWS} FORMAT JSONEachRow", lines)
            count += len(rows)
        return count

    def _mark(self, table: Table, scope: str, position: str) -> None:
        row = {"table_name": table.name, "scope": scope, "position": position}
        self.post("INSERT INTO exported FORMAT JSONEachRow", lines_of([row]))


def now() -> int:
    """In microseconds: as texts, these times are in the order of numbers."""
    return time.time_ns() // 1000


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
