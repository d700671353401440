"""Our own tables of events in PostgreSQL."""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.sql import Literal

from events.event_tables import (
    Chosen,
    Event,
    Merge,
    NotInserted,
    Rows,
    Tables,
    Trait,
    Unreachable,
    columns_of,
    missing,
)
from events.layout import NUMBER_PATTERN

Result = TypeVar("Result")
# Seconds that a caller waits for a statement: an insert that waits longer has met a lock.
PATIENCE = 30
# Classes of SQLSTATE: connections, resources, an operator's intervention (a shutdown, a statement stopped).
UNAVAILABLE = ("08", "53", "57")
# The last word on each property, whoever said it.
LAST = """
    SELECT DISTINCT ON (workspace, user_id, name) workspace, user_id, name, time, value FROM user_traits
    ORDER BY workspace, user_id, name, time DESC, value DESC"""
ORIGIN = "ADD COLUMN IF NOT EXISTS origin text COLLATE \"C\" NOT NULL DEFAULT ''"


def with_origin(table: str, key: str) -> tuple[str, str]:
    """Return what gives a table the import of its rows, in its key, too."""
    wanted = f"PRIMARY KEY ({key}, origin)"
    return (
        f"ALTER TABLE {table} {ORIGIN}",
        f"""
    DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = '{table}'::regclass AND pg_get_constraintdef(oid) = '{wanted}'
    ) THEN ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD {wanted};
    END IF; END $$""",
    )


CREATE = [
    """
    CREATE TABLE IF NOT EXISTS events (
        workspace text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        device text COLLATE "C" NOT NULL,
        message_id text COLLATE "C" NOT NULL,
        event text COLLATE "C" NOT NULL,
        time timestamptz NOT NULL,
        properties jsonb NOT NULL,
        PRIMARY KEY (workspace, user_id, device, message_id)
    )""",
    f"ALTER TABLE events {ORIGIN}",
    # What conditions ask for: one event, in a window.
    "CREATE INDEX IF NOT EXISTS events_by_time ON events (workspace, event, time)",
    """
    CREATE TABLE IF NOT EXISTS user_traits (
        workspace text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        time timestamptz NOT NULL,
        value jsonb NOT NULL,
        PRIMARY KEY (workspace, user_id, name)
    )""",
    *with_origin("user_traits", "workspace, user_id, name"),
    """
    CREATE TABLE IF NOT EXISTS merges (
        workspace text COLLATE "C" NOT NULL,
        device text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        time timestamptz NOT NULL,
        PRIMARY KEY (workspace, device, user_id)
    )""",
    *with_origin("merges", "workspace, device, user_id"),
    f"""
    CREATE OR REPLACE VIEW users AS
    SELECT workspace, user_id,
        coalesce(jsonb_object_agg(name, value) FILTER (WHERE value <> 'null'), '{{}}') AS properties
    FROM ({LAST}) AS last GROUP BY workspace, user_id""",
]
# One statement each, with a list for each column, whatever the number of rows.
INSERT = {
    Event: """
        INSERT INTO events (workspace, user_id, device, message_id, event, time, properties, origin)
        SELECT * FROM unnest(%(workspace)s::text[], %(user_id)s::text[], %(device)s::text[],
            %(message_id)s::text[], %(event)s::text[], %(time)s::timestamptz[], %(properties)s::jsonb[],
            %(origin)s::text[])
        ON CONFLICT DO NOTHING""",
    Trait: """
        INSERT INTO user_traits (workspace, user_id, name, time, value, origin)
        SELECT * FROM unnest(%(workspace)s::text[], %(user_id)s::text[], %(name)s::text[],
            %(time)s::timestamptz[], %(value)s::jsonb[], %(origin)s::text[])
        ON CONFLICT (workspace, user_id, name, origin)
        DO UPDATE SET time = excluded.time, value = excluded.value
        WHERE (excluded.time, excluded.value) > (user_traits.time, user_traits.value)""",
    Merge: """
        INSERT INTO merges (workspace, device, user_id, time, origin)
        SELECT * FROM unnest(%(workspace)s::text[], %(device)s::text[], %(user_id)s::text[],
            %(time)s::timestamptz[], %(origin)s::text[])
        ON CONFLICT (workspace, device, user_id, origin) DO UPDATE SET time = excluded.time
        WHERE excluded.time < merges.time""",
}
# From one workspace to the next by the keys: a DISTINCT would read all rows.
WORKSPACES = " UNION ".join(
    f"""
    SELECT workspace FROM (
        WITH RECURSIVE found AS (
            SELECT min(workspace) AS workspace FROM {table}
            UNION ALL
            SELECT (SELECT min(workspace) FROM {table} WHERE workspace > found.workspace) FROM found
            WHERE found.workspace IS NOT NULL
        ) SELECT workspace FROM found WHERE workspace IS NOT NULL
    ) AS of_{table}"""
    for table in ("events", "user_traits", "merges")
)
COUNT = f"""
WITH held AS (
    SELECT event, time, key, value #>> '{{}}' AS text FROM events, jsonb_each(properties)
    WHERE workspace = %(of)s
    UNION ALL
    SELECT '', time, name, value #>> '{{}}' FROM ({LAST}) AS last
    WHERE workspace = %(of)s AND name <> '' AND value <> 'null'
)
SELECT event, '', count(*), 0, 0, max(time) FROM events WHERE workspace = %(of)s GROUP BY event
UNION ALL
SELECT event, key, count(*), count(*) FILTER (WHERE text ~ '^({NUMBER_PATTERN})$'),
    count(*) FILTER (WHERE text IN ('true', 'false')), max(time)
FROM held GROUP BY event, key"""


class PostgreSQL(Tables):
    def __init__(self, url: str) -> None:
        self.url = url
        # A connection is kept by its thread, as Django keeps its own.
        self.kept = threading.local()

    def close(self) -> None:
        if hasattr(self.kept, "connection"):
            self.kept.connection.close()

    def create(self) -> list[str]:
        def made(connection: psycopg.Connection[Any]) -> list[str]:
            # A key that is made anew takes as long as there are rows.
            connection.execute("SET LOCAL statement_timeout = 0")
            for statement in CREATE:
                connection.execute(statement.encode())
            return CREATE

        return self.done(made)

    def insert(self, rows: Rows) -> int:
        given = [(INSERT[type(part[0])], columns_of(part, type(part[0]))) for part in rows if part]

        def inserted(connection: psycopg.Connection[Any]) -> int:
            counts = [
                connection.execute(statement.encode(), columns).rowcount for statement, columns in given
            ]
            return counts[0] if rows.events else 0

        return self.repeated(inserted)

    def swap_in(self, workspace: str, staged: str, gone: Sequence[Chosen], undone: Sequence[str]) -> int:
        """All of it in one transaction."""
        columns = ", ".join(Event._fields)
        values = columns.replace("workspace", self.literal(workspace), 1)
        of = f"workspace = {self.literal(staged)}"
        conditions = [self.condition(workspace, chosen) for chosen in gone]

        def put(connection: psycopg.Connection[Any]) -> int:
            connection.execute("SET LOCAL statement_timeout = 0")
            counts = [
                connection.execute(f"DELETE FROM events WHERE {condition}".encode()).rowcount
                for condition in conditions
            ]
            for table in ("user_traits", "merges") if undone else ():
                said = self.of_imports(workspace, undone)
                connection.execute(f"DELETE FROM {table} WHERE {said}".encode())
            new = f"INSERT INTO events ({columns}) SELECT {values} FROM events WHERE {of}"
            connection.execute(f"{new} ON CONFLICT DO NOTHING".encode())
            connection.execute(f"DELETE FROM events WHERE {of}".encode())
            return sum(counts)

        return self.repeated(put)

    def held(self) -> list[str]:
        return [row[0] for row in self.select(WORKSPACES)]

    def literal(self, value: str | datetime) -> str:
        return Literal(value).as_string()

    def select(self, query: str) -> list[Sequence[Any]]:
        return self.repeated(lambda connection: list(connection.execute(query.encode())))

    def delete(self, table: str, condition: str) -> int:
        def deleted(connection: psycopg.Connection[Any]) -> int:
            # A month of everybody's events takes longer than a caller of HTTP waits.
            connection.execute("SET LOCAL statement_timeout = 0")
            return connection.execute(f"DELETE FROM {table} WHERE {condition}".encode()).rowcount

        return self.repeated(deleted)

    def counts(self, workspace: str) -> Iterable[tuple[Any, ...]]:
        return self.done(lambda connection: connection.execute(COUNT.encode(), {"of": workspace}).fetchall())

    def repeated(self, act: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """Do what may be done again: the connection may have been cut since its last use."""
        try:
            return self.done(act)
        except Unreachable as error:
            if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise  # a lock, for which it waited long enough
            return self.done(act)

    def done(self, act: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """Do something in a transaction. Raises NotInserted, Refused."""
        try:
            connection: psycopg.Connection[Any] | None = getattr(self.kept, "connection", None)
            if connection is None or connection.closed:
                options = f"-c statement_timeout={PATIENCE}s -c synchronous_commit=on"
                connection = psycopg.connect(self.url, connect_timeout=5, options=options)
                self.kept.connection = connection
            with connection.transaction():
                return act(connection)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise missing(error) from None
        except psycopg.Error as error:
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()
            # No code: there was no connection, or it was cut.
            for_now = error.sqlstate is None or error.sqlstate[:2] in UNAVAILABLE
            kind = Unreachable if for_now and isinstance(error, psycopg.OperationalError) else NotInserted
            raise kind(f"The database of events: {str(error).strip().splitlines()[0]}") from error
