"""Parquet, by the engine: columns have names and types, and nothing is to be guessed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from events.tables.errors import InvalidTable
from events.tables.text import BLOCK, PAGE, SAMPLE, Block, Page

IDS = frozenset(
    "VARCHAR UUID TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT".split()  # noqa: SIM905
)


class Rows:
    """The rows of a Parquet file, each cell of a column of ids as a text."""

    separator, heading = "", True

    def __init__(self, connection: Any, path: str) -> None:
        self._connection, self._path = connection, path
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [path]).fetchall()
        self.columns: Sequence[str] = [str(row[0]) for row in described]
        self._types = [str(row[1]) for row in described]
        self._texts = ", ".join(f"coalesce({_quoted(name)}::VARCHAR, '')" for name in self.columns)
        sample = connection.execute(f"SELECT {self._texts} FROM read_parquet($1) LIMIT {SAMPLE}", [path])
        self.rows: Sequence[Sequence[str]] = [list(row) for row in sample.fetchall()]

    def blocks(self, column: int) -> Iterator[Block]:
        name, kind = self.columns[column], self._types[column]
        # Warehouses write whole numbers as decimals without places.
        if kind not in IDS and not (kind.startswith("DECIMAL") and kind.endswith(",0)")):
            raise InvalidTable(f"The column {name!r} holds {kind}, neither texts nor whole numbers.")
        sql = f"SELECT coalesce({_quoted(name)}::VARCHAR, '') FROM read_parquet($1)"
        result = self._connection.execute(sql, [self._path])
        at = 1
        while page := result.fetchmany(BLOCK):
            yield Block([row[0] for row in page], range(at, at + len(page)), "Row")
            at += len(page)

    def pages(self) -> Iterator[Page]:
        result = self._connection.execute(f"SELECT {self._texts} FROM read_parquet($1)", [self._path])
        at = 1
        while page := result.fetchmany(PAGE):
            yield Page(page, range(at, at + len(page)), "Row")
            at += len(page)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(path: str) -> Iterator[Rows]:
    """Open a Parquet file. Raises InvalidTable, in the middle too."""
    # Only who brings such a file pays for loading the engine.
    import duckdb

    try:
        with duckdb.connect(config={"threads": 2, "memory_limit": "250MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield Rows(connection, path)
    except duckdb.Error as error:
        said = str(error).partition("\n")[0][:200].rstrip(".")
        raise InvalidTable(f"The Parquet file cannot be read: {said}.") from None
