"""Our own tables of events in ClickHouse, over HTTP."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from events.clickhouse_server import DURABLE, Server, lines_of, text_of
from events.event_tables import Chosen, Event, Rows, Tables, utc
from events.layout import NUMBER_PATTERN

# Seconds that a connection, and a deletion, may take, which writes the parts anew that hold such rows.
PATIENCE_TO_DELETE = (5, 600)
# A file of many years, or odd times in a call, have more months than the hundred that an insert may have.
ANY_MONTHS = "max_partitions_per_insert_block = 0"
# The last word on each property, whoever said it.
LAST = """
    SELECT workspace, user_id, name, max(user_traits.time) AS time,
        argMax(user_traits.value, (user_traits.time, user_traits.value)) AS value
    FROM user_traits FINAL GROUP BY workspace, user_id, name"""
ORIGIN = "ADD COLUMN IF NOT EXISTS origin LowCardinality(String)"
# Of repeats all are one event. A hash, since an import's keys are to fit into memory.
KEY = "sipHash128(event, user_id, device, message_id)"
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
    f"ALTER TABLE event_rows {ORIGIN}",
    # A column may come into the key of a table when it comes into the table.
    f"ALTER TABLE user_traits {ORIGIN}, MODIFY ORDER BY (workspace, user_id, name, origin)",
    f"ALTER TABLE merges {ORIGIN}, MODIFY ORDER BY (workspace, device, user_id, time, origin)",
    """
    CREATE OR REPLACE VIEW events AS
    SELECT workspace, user_id, device, message_id, event, time, properties, origin FROM event_rows FINAL""",
    f"""
    CREATE OR REPLACE VIEW users AS
    SELECT workspace, user_id, concat('{{', arrayStringConcat(
        groupArrayIf(concat(toJSONString(name), ':', value), value != 'null'), ','), '}}') AS properties
    FROM ({LAST}) GROUP BY workspace, user_id""",
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
FROM ({LAST}) WHERE workspace = {{of:String}} AND name != '' AND value != 'null' GROUP BY key"""


class ClickHouse(Server, Tables):
    event_rows = "event_rows"
    final = " FINAL"
    day = "toDate32(time, 'UTC')"

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
                self.post(into, lines_of([row._asdict() for row in part]), batched)
        return len(rows.events)

    def swap_in(self, workspace: str, staged: str, gone: Sequence[Chosen], undone: Sequence[str]) -> int:
        """One after the other: whoever is interrupted begins anew, and comes to the same."""
        count = sum(self.delete_events(workspace, chosen) for chosen in gone)
        for table in ("user_traits", "merges") if undone else ():
            self.delete(table, self.of_imports(workspace, undone))
        of, columns = f"workspace = {self.literal(staged)}", ", ".join(Event._fields)
        values = columns.replace("workspace", self.literal(workspace), 1)
        self.post(
            f"INSERT INTO event_rows ({columns}) SELECT {values} FROM event_rows FINAL WHERE {of} "
            f"SETTINGS {ANY_MONTHS}",
            patience=PATIENCE_TO_DELETE,
        )
        self.delete("event_rows", of)
        return count

    def held(self) -> list[str]:
        query = " UNION DISTINCT ".join(f"SELECT DISTINCT workspace FROM {table}" for table in INTO)
        return [row[0] for row in self.select(query)]

    def literal(self, value: str | datetime) -> str:
        if isinstance(value, datetime):
            return f"toDateTime64('{text_of(value)}', 6, 'UTC')"
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def delete_events(self, workspace: str, chosen: Chosen) -> int:
        """A repeat of what goes may say another time, or be of another import: it goes first, and does not
        come to light."""
        condition = self.condition(workspace, chosen)
        if chosen.origins is not None or chosen.since or chosen.until:
            of = f"workspace = {self.literal(workspace)} AND NOT ({condition})"
            first = f"SELECT {KEY} FROM event_rows FINAL WHERE {condition}"
            self.delete("event_rows", f"{of} AND {KEY} IN ({first})", final="")
        return self.delete("event_rows", condition)

    def delete(self, table: str, condition: str, final: str = final) -> int:
        """Not by a lightweight DELETE, which hides rows until a merge: whoever is erased is to be gone."""
        [(count,)] = self.select(f"SELECT count() FROM {table}{final} WHERE {condition}")
        if int(count):
            # On all replicas; each finds by itself what a condition's query says.
            done = "SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1"
            self.post(f"ALTER TABLE {table} DELETE WHERE {condition} {done}", patience=PATIENCE_TO_DELETE)
        return int(count)

    def counts(self, workspace: str) -> Iterable[tuple[Any, ...]]:
        found = self.post(f"{COUNT} FORMAT JSONCompactEachRow", settings={"param_of": workspace})
        for line in found.splitlines():
            event, name, *counts, last = orjson.loads(line)
            # Counts of 64 bits come as texts.
            yield event, name, *map(int, counts), utc(last)
