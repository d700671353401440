"""The history in a PostgreSQL database: rows and position in one transaction."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from syncs.warehouse.tables import Chunk, Row, Table

TYPES = {"text": "text", "bigint": "bigint", "boolean": "boolean", "timestamp": "timestamptz"}


class Postgres:
    """A schema of a database: made, with its tables, if it is not there. A column that is new is added."""

    def __init__(self, url: str, schema: str) -> None:
        self.schema = schema
        self.connection = psycopg.connect(url, autocommit=True, connect_timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.connection.close()

    def prepare(self, tables: Sequence[Table]) -> None:
        with self.connection.transaction():
            self._run("CREATE SCHEMA IF NOT EXISTS {schema}")
            self._run(
                "CREATE TABLE IF NOT EXISTS {schema}.exported "
                "(table_name text, scope text, position text NOT NULL, PRIMARY KEY (table_name, scope))"
            )
            for table in tables:
                self._prepare(table)

    def _prepare(self, table: Table) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL(f"{{}} {TYPES[column.kind]}").format(sql.Identifier(column.name))
            for column in table.columns
        )
        names = {
            "table": sql.Identifier(table.name),
            "columns": columns,
            "key": sql.SQL(", ").join(map(sql.Identifier, table.key)),
        }
        self._run("CREATE TABLE IF NOT EXISTS {schema}.{table} ({columns}, PRIMARY KEY ({key}))", **names)
        for column in table.columns:
            added = {"table": names["table"], "column": sql.Identifier(column.name)}
            self._run(
                f"ALTER TABLE {{schema}}.{{table}} ADD COLUMN IF NOT EXISTS {{column}} {TYPES[column.kind]}",
                **added,
            )
            about = {**added, "about": sql.Literal(column.about)}
            self._run("COMMENT ON COLUMN {schema}.{table}.{column} IS {about}", **about)
        self._run(
            "COMMENT ON TABLE {schema}.{table} IS {about}",
            table=names["table"],
            about=sql.Literal(table.about),
        )

    def positions(self, table: Table) -> dict[str, str]:
        found = self._run(
            "SELECT scope, position FROM {schema}.exported WHERE table_name = {name}",
            name=sql.Literal(table.name),
        )
        return dict(found.fetchall())

    def append(self, table: Table, chunk: Chunk) -> int:
        """Write a chunk and its position, both or neither; return its rows. 0 when it is there already."""
        with self.connection.transaction():
            # Two exports at once: the second waits here, and finds that the first has written it.
            self._run("LOCK TABLE {schema}.exported IN EXCLUSIVE MODE")
            if self.positions(table).get(chunk.scope, "") >= chunk.position:
                return 0
            names = self._names(table)
            self._run("CREATE TEMPORARY TABLE new_rows (LIKE {schema}.{table}) ON COMMIT DROP", **names)
            count = self._copy("new_rows", table, chunk.pages)
            self._run(
                "INSERT INTO {schema}.{table} ({columns}) SELECT {columns} FROM new_rows "
                "ON CONFLICT ({key}) DO UPDATE SET {update}",
                **names,
            )
            self._run(
                "INSERT INTO {schema}.exported VALUES ({name}, {scope}, {position}) "
                "ON CONFLICT (table_name, scope) DO UPDATE SET position = excluded.position",
                name=sql.Literal(table.name),
                scope=sql.Literal(chunk.scope),
                position=sql.Literal(chunk.position),
            )
        return count

    def replace(self, table: Table, pages: Iterable[Sequence[Row]]) -> int:
        """Write a table anew; readers see the old rows until then. Return how many rows it has."""
        with self.connection.transaction():
            self._run("LOCK TABLE {schema}.exported IN EXCLUSIVE MODE")
            self._run("DELETE FROM {schema}.{table}", table=sql.Identifier(table.name))
            return self._copy(f"{self.schema}.{table.name}", table, pages)

    def _copy(self, into: str, table: Table, pages: Iterable[Sequence[Row]]) -> int:
        target = sql.SQL(".").join(map(sql.Identifier, into.split(".")))
        columns = self._names(table)["columns"]
        count = 0
        with (
            self.connection.cursor() as cursor,
            cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(target, columns)) as copy,
        ):
            for page in pages:
                for row in page:
                    copy.write_row(row)
                count += len(page)
        return count

    def _names(self, table: Table) -> dict[str, sql.Composable]:
        every = [sql.Identifier(column.name) for column in table.columns]
        others = [sql.Identifier(c.name) for c in table.columns if c.name not in table.key]
        return {
            "table": sql.Identifier(table.name),
            "columns": sql.SQL(", ").join(every),
            "key": sql.SQL(", ").join(map(sql.Identifier, table.key)),
            "update": sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in others),
        }

    def _run(self, text: str, **names: sql.Composable) -> "psycopg.Cursor[tuple[str, str]]":
        # The texts are this file's own; what comes from elsewhere is quoted by psycopg.
        statement = sql.SQL(text).format(schema=sql.Identifier(self.schema), **names)
        return self.connection.execute(statement)
