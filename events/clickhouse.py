"""Our own tables of events in ClickHouse, over HTTP."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import requests

from events.event_tables import NotInserted, Rows, Tables, Unreachable, missing, utc
from events.layout import NUMBER_PATTERN

# Seconds that a connection, and an insert, may take.
PATIENCE = (5, 30)
# The same of a deletion, which writes the parts anew that hold such rows.
PATIENCE_TO_DELETE = (5, 600)
# Written to the disk before an insert is answered.
DURABLE = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
# A file of many years, or odd times in a call, have more months than the hundred that an insert may have.
ANY_MONTHS = "max_partitions_per_insert_block = 0"
# What is read is the views, which leave repeats out (FINAL); the first of two counts, as in our files.
CREATE = [
    f"""
    CREATE TABLE IF NOT EXISTS event_rows (
        workspace LowCardinality(String), user_id String, device String, message_id String,
        event LowCardinality(String), time DateTime64(6, 'UTC'), properties String CODEC(ZSTD),
        first UInt64 DEFAULT 18446744073709551615 - toUnixTimestamp64Micro(now64(6))
    ) ENGINE = ReplacingMergeTree(first)
    PARTITION BY toYYYYMM(time) ORDER BY (workspace, event, user_id, device, message_id) {DURABLE}""",
    f"""
    CREATE TABLE IF NOT EXISTS user_traits (
        workspace LowCardinality(String), user_id String, name String, time DateTime64(6, 'UTC'), value String
    ) ENGINE = ReplacingMergeTree(time) ORDER BY (workspace, user_id, name) {DURABLE}""",
    f"""
    CREATE TABLE IF NOT EXISTS merges (
        workspace LowCardinality(String), device String, user_id String, time DateTime64(6, 'UTC')
    ) ENGINE = ReplacingMergeTree ORDER BY (workspace, device, user_id, time) {DURABLE}""",
    """
    CREATE OR REPLACE VIEW events AS
    SELECT workspace, user_id, device, message_id, event, time, properties FROM event_rows FINAL""",
    """
    CREATE OR REPLACE VIEW users AS
    SELECT workspace, user_id, concat('{', arrayStringConcat(
        groupArrayIf(concat(toJSONString(name), ':', value), value != 'null'), ','), '}') AS properties
    FROM user_traits FINAL GROUP BY workspace, user_id""",
]
INTO = ("event_rows", "user_traits", "merges")
COUNT = f"""
SELECT event, '' AS key, count(), 0, 0, max(time) FROM events WHERE workspace = {{of:String}} GROUP BY event
UNION ALL
SELECT event, p.1 AS key, count(), countIf(match(p.2, '^"({NUMBER_PATTERN})"$')),
    countIf(p.2 IN ('"true"', '"false"')), max(time)
FROM events ARRAY JOIN JSONExtractKeysAndValuesRaw(properties) AS p
WHERE workspace = {{of:String}} GROUP BY event, key
UNION ALL
SELECT '' AS event, name AS key, count(), countIf(match(value, '^"({NUMBER_PATTERN})"$')),
    countIf(value IN ('"true"', '"false"')), max(time)
FROM user_traits FINAL WHERE workspace = {{of:String}} AND name != '' AND value != 'null' GROUP BY key"""


class ClickHouse(Tables):
    event_rows = "event_rows"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "clickhouses"
        port = parts.port or (8443 if secure else 8123)
        self.address = f"{'https' if secure else 'http'}://{parts.hostname}:{port}/"
        self.database = unquote(parts.path.lstrip("/")) or "default"
        self.headers = {
            "X-ClickHouse-User": unquote(parts.username or "default"),
            "X-ClickHouse-Key": unquote(parts.password or ""),
        }
        self.kept = threading.local()

    def close(self) -> None:
        if hasattr(self.kept, "session"):
            self.kept.session.close()

    def create(self) -> list[str]:
        for statement in CREATE:
            self.post(statement)
        return CREATE

    def insert(self, rows: Rows) -> int:
        """Repeats are found when the rows are read, and not now: each event is said to be new."""
        parts: tuple[Sequence[Any], ...] = (rows.events, rows.traits, rows.merges)
        for table, part in zip(INTO, parts, strict=True):
            if part:
                columns = ", ".join(part[0]._fields)
                # Many small inserts are put together by the server, which answers when they are written.
                batched = {"async_insert": 1, "wait_for_async_insert": 1}
                into = f"INSERT INTO {table} ({columns}) SETTINGS {ANY_MONTHS} FORMAT JSONEachRow"
                self.post(into, lines_of(part), batched)
        return len(rows.events)

    def workspaces(self) -> list[str]:
        query = " UNION DISTINCT ".join(f"SELECT DISTINCT workspace FROM {table}" for table in INTO)
        return [row[0] for row in self.select(query)]

    def literal(self, value: str | datetime) -> str:
        if isinstance(value, datetime):
            return f"toDateTime64('{text_of(value)}', 6, 'UTC')"
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def select(self, query: str) -> list[Sequence[Any]]:
        lines = self.post(f"{query} FORMAT JSONCompactEachRow").splitlines()
        return [orjson.loads(line) for line in lines]

    def delete(self, table: str, condition: str) -> int:
        """Not by a lightweight DELETE, which hides rows until a merge: whoever is erased is to be gone."""
        [(count,)] = self.select(f"SELECT count() FROM {table} FINAL WHERE {condition}")
        if int(count):
            # On all replicas.
            done = "SETTINGS mutations_sync = 2"
            self.post(f"ALTER TABLE {table} DELETE WHERE {condition} {done}", patience=PATIENCE_TO_DELETE)
        return int(count)

    def counts(self, workspace: str) -> Iterable[tuple[Any, ...]]:
        found = self.post(f"{COUNT} FORMAT JSONCompactEachRow", settings={"param_of": workspace})
        for line in found.splitlines():
            event, name, *counts, last = orjson.loads(line)
            # Counts of 64 bits come as texts.
            yield event, name, *map(int, counts), utc(last)

    def post(
        self,
        query: str,
        rows: bytes | None = None,
        settings: Mapping[str, str | int] | None = None,
        patience: tuple[int, int] = PATIENCE,
    ) -> bytes:
        """Run a statement, or insert rows by it. Raises NotInserted, Refused."""
        given: dict[str, str | int] = {"database": self.database, "wait_end_of_query": 1, **(settings or {})}
        # An address is too short for a statement with many ids.
        body = query.strip().encode() if rows is None else rows
        if rows is not None:
            given["query"] = query
        try:
            if not hasattr(self.kept, "session"):
                self.kept.session = requests.Session()
                self.kept.session.trust_env = False
            reply = self.kept.session.post(
                self.address,
                params=given,
                data=body,
                headers=self.headers,
                timeout=patience,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Unreachable(f"The database of events does not answer: {error}") from None
        if reply.status_code == 200:
            return bytes(reply.content)
        code = reply.headers.get("X-ClickHouse-Exception-Code", "")
        # UNKNOWN_TABLE, NO_SUCH_COLUMN_IN_TABLE.
        if code in ("60", "16") or "UNKNOWN_TABLE" in reply.text or "NO_SUCH_COLUMN" in reply.text:
            raise missing(reply.text)
        raise NotInserted(f"The database of events refused: {reply.text[:200].strip()}")


def lines_of(rows: Sequence[Any]) -> bytes:
    return b"\n".join(orjson.dumps(row._asdict() | {"time": text_of(row.time)}) for row in rows)


def text_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
