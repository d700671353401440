"""From spool lines to one immutable Parquet file, in DuckDB. No database of Django's is touched here.

The steps of a conversion share a connection: `load`, `drop_repeats`, `count`, `write`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from events.devices import OF_DEVICES, OF_OWNERS, ONLY_OWNERS, PREFIX, USERS, last_first
from events.disk import make_durable
from events.layout import NUMBER_PATTERN, column_stem
from events.records import MAX_LINE
from events.times import from_micros

Connection = duckdb.DuckDBPyConnection
# Rows are pruned by row group: smaller ones prune better, larger ones have fewer footers to read.
ROW_GROUP = 122_880
BOOLEAN = "('true', 'false')"
# The columns of events that are no properties'.
FIXED = ("event", "user_id", "time", "insert_id", "origin")


@dataclass(frozen=True)
class Counted:
    """How often an event was seen with a property (none: the event itself), and of what type."""

    event: str
    property: str | None
    count: int
    numbers: int
    booleans: int
    last_seen: datetime

    def plus(self, other: "Counted") -> "Counted":
        """Return the counts of this property in both."""
        return replace(
            self,
            count=self.count + other.count,
            numbers=self.numbers + other.numbers,
            booleans=self.booleans + other.booleans,
            last_seen=max(self.last_seen, other.last_seen),
        )


@dataclass(frozen=True)
class Written:
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Spooled:
    """Events that are to be published: a relation with `o`, their order, u, e, t and i. Their properties are
    in `columns`, by their names, or, of rows that were read one by one, in the map p, if it is `mapped`;
    `has_ids`: some have an insert id."""

    relation: str
    columns: Mapping[str, str]
    mapped: bool
    has_ids: bool = True

    def value(self, name: str) -> str:
        """SQL for the text of a property; NULL when it is missing."""
        found = [self.columns[name]] if name in self.columns else []
        found += [f"p[{quoted(name)}]"] if self.mapped else []
        return f"coalesce({', '.join(found)})" if len(found) > 1 else "".join(found) or "NULL::VARCHAR"

    def all_values(self) -> str:
        """SQL for the map of all properties of an event."""
        pairs = ", ".join(f"{{k: {quoted(name)}, v: {column}}}" for name, column in self.columns.items())
        made = f"map_from_entries(list_filter([{pairs}], lambda x: x.v IS NOT NULL))"
        made = made if self.columns else "MAP([]::VARCHAR[], []::VARCHAR[])"
        return f"coalesce(p, {made})" if self.mapped else made


EVENTS = "{u:'VARCHAR', e:'VARCHAR', t:'BIGINT', i:'VARCHAR', p:'MAP(VARCHAR, VARCHAR)'}"


def load_events(connection: Connection, sources: Sequence[Path], names: Sequence[str] = ()) -> Spooled:
    """Return the events of spool files, as the table `spooled`, or of an import's staged files, as they lie:
    `names` are the properties of their columns."""
    parts = [str(path) for path in sources if path.suffix == ".parquet"]
    if not parts:
        load(connection, sources, EVENTS)
        return Spooled("spooled", {}, mapped=True)
    rows = f"read_parquet({listed(parts)}, union_by_name=true)"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW spooled AS SELECT * FROM {rows}")
    present = {str(row[0]) for row in connection.execute("DESCRIBE spooled").fetchall()}
    columns = {name: f"c{number}" for number, name in enumerate(names) if f"c{number}" in present}
    ids = connection.execute("SELECT 1 FROM spooled WHERE i IS NOT NULL LIMIT 1").fetchall()
    return Spooled("spooled", columns, "p" in present, bool(ids))


def load_traits(connection: Connection, sources: Sequence[Path]) -> None:
    load(connection, sources, "{u:'VARCHAR', t:'BIGINT', p:'MAP(VARCHAR, VARCHAR)'}")


def load(connection: Connection, sources: Sequence[Path], columns: str) -> None:
    """Read spool files into the table `spooled`. A last line cut off by a crash was never acknowledged."""
    names = ", ".join(re.findall(r"(\w+):", columns))
    rows = f"SELECT row_number() OVER () AS o, {names} FROM {spool_rows(sources, columns, names)}"
    connection.execute(f"CREATE OR REPLACE TABLE spooled AS {rows}")


def drop_repeats(connection: Connection, spooled: Spooled, files: Sequence[str]) -> tuple[Spooled, int]:
    """Keep the earliest of the events with one user and insert id, unless it is in `files` already. Returns
    the events that are left, and how many are not."""
    if not spooled.has_ids:
        return spooled, 0
    rows = f"{spooled.relation} WHERE i IS NOT NULL"
    # Ids whose hash is one event's alone are not compared: that would keep all of them in memory.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE suspects AS "
        f"SELECT hash(u, i) AS h FROM {rows} GROUP BY h HAVING count(*) > 1"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE repeats AS SELECT o FROM (SELECT o, row_number() OVER "
        f"(PARTITION BY u, i ORDER BY t, o) AS n FROM {rows} AND hash(u, i) IN (FROM suspects)) WHERE n > 1"
    )
    if files:
        connection.execute(
            f"INSERT INTO repeats SELECT o FROM {rows} AND (u, i) IN (SELECT (user_id, insert_id) "
            "FROM read_parquet($1, union_by_name=true) WHERE insert_id IS NOT NULL)",
            [list(files)],
        )
    [(count,)] = connection.execute("SELECT count(DISTINCT o) FROM repeats").fetchall()
    if not count:
        return spooled, 0
    left = f"(SELECT * FROM {spooled.relation} WHERE o NOT IN (FROM repeats))"
    return replace(spooled, relation=left), int(count)


# Of what is stored: the events that come again with what `load_ids` has loaded.
REPEATED = "insert_id IS NOT NULL AND (user_id, insert_id) IN (SELECT (u, i) FROM repeated)"


def load_ids(connection: Connection, sources: Sequence[Path]) -> None:
    """Read the users and insert ids of staged files into the table `repeated`."""
    rows = spool_rows(sources, "{u:'VARCHAR', i:'VARCHAR'}", "u, i")
    ids = f"SELECT DISTINCT u, i FROM {rows} WHERE i IS NOT NULL"
    connection.execute(f"CREATE OR REPLACE TABLE repeated AS {ids}")


def days_of(sources: Sequence[Path]) -> list[str]:
    """Return the days (ISO, UTC) that staged files have events of."""
    rows = spool_rows(sources, "{t:'BIGINT'}", "t")
    days = f"SELECT DISTINCT make_timestamp(t)::DATE::VARCHAR FROM {rows}"
    with duckdb.connect() as connection:
        return [str(row[0]) for row in connection.execute(f"{days} ORDER BY 1").fetchall()]


def staged(folder: Path, kind: str) -> list[Path]:
    """Return the files of a folder that hold spooled or staged rows, in their order."""
    found = [*folder.glob(f"{kind}-*.jsonl"), *folder.glob(f"{kind}-*.parquet")]
    return sorted(path for path in found if path.stat().st_size)


def has_rows(folder: Path) -> bool:
    paths = [path for kind in ("events", "traits") for path in staged(folder, kind)]
    parts = [str(path) for path in paths if path.suffix == ".parquet"]
    if len(parts) < len(paths):
        return True
    with duckdb.connect() as connection:
        counted = f"SELECT count(*) FROM read_parquet({listed(parts)})" if parts else "SELECT 0"
        return connection.execute(counted).fetchall() != [(0,)]


def spool_rows(sources: Sequence[Path], columns: str, names: str) -> str:
    """Return SQL for the rows of spool files and staged files, in brackets, in the order of the files."""
    parts = [str(path) for path in sources if path.suffix == ".parquet"]
    lines = listed([str(path) for path in sources if path.suffix != ".parquet"])
    longest = 2 * MAX_LINE
    found = [f"SELECT {names} FROM read_parquet({listed(parts)}, union_by_name=true)"] if parts else []
    if len(parts) < len(sources):
        found.append(
            f"SELECT {names} FROM read_json({lines}, format='newline_delimited', columns={columns}, "
            f"maximum_object_size={longest})"
        )
    return f"({' UNION ALL '.join(found)})"


def count_events(connection: Connection, spooled: Spooled) -> list[Counted]:
    """Count events, and each event's properties by type, for the catalogue and for the columns."""
    parts = ["count(*)", "max(t)"]
    for column in spooled.columns.values():
        parts += [
            f"count({column})",
            f"count(*) FILTER (WHERE {numeric(column)})",
            f"count(*) FILTER (WHERE {column} IN {BOOLEAN})",
            f"max(t) FILTER (WHERE {column} IS NOT NULL)",
        ]
    rows = f"SELECT e, {', '.join(parts)} FROM {spooled.relation} GROUP BY e"
    found: dict[tuple[str, str], Counted] = {}
    events = []
    for event, count, last, *values in connection.execute(rows).fetchall():
        events.append(Counted(event, None, count, 0, 0, from_micros(last)))
        for index, name in enumerate(spooled.columns):
            present, numbers, booleans, seen = values[4 * index : 4 * index + 4]
            if present:
                found[event, name] = Counted(event, name, present, numbers, booleans, from_micros(seen))
    if spooled.mapped:
        for one in counted(connection, f"{properties('e', spooled.relation)}"):
            key = one.event, str(one.property)
            found[key] = found[key].plus(one) if key in found else one
    return sorted([*events, *found.values()], key=lambda one: (one.event, one.property or ""))


def count_users(connection: Connection) -> int:
    """Count the users of `spooled`, without the devices."""
    users = f"SELECT count(DISTINCT u) FROM spooled WHERE u >= '{USERS}'"
    return int(connection.execute(users).fetchall()[0][0])


def count_traits(connection: Connection) -> list[Counted]:
    return counted(
        connection, f"{properties(chr(39) * 2)} HAVING NOT starts_with(v.key, '{PREFIX}') ORDER BY ALL"
    )


def properties(event: str, relation: str = "spooled") -> str:
    return (
        f"SELECT e, v.key, count(*), count(*) FILTER (WHERE {numeric('v.value')}), "
        f"count(*) FILTER (WHERE v.value IN {BOOLEAN}), max(t) "
        f"FROM (SELECT {event} AS e, t, unnest(map_entries(p)) AS v FROM {relation}) GROUP BY e, v.key"
    )


def counted(connection: Connection, sql: str) -> list[Counted]:
    rows = connection.execute(sql).fetchall()
    return [Counted(e, p, n, nums, bools, from_micros(t)) for e, p, n, nums, bools, t in rows]


def write_events(
    connection: Connection,
    spooled: Spooled,
    numbers: Mapping[str, int],
    counts: Sequence[Counted],
    target: Path,
    origin: str | None = None,
) -> Written:
    """Write the events, sorted, to the file `target`; safe on disk when it returns.

    `numbers` gives the properties that have columns: only those that occur here get one. `origin` is the
    import that the rows are of.
    """
    seen = {c.property: 0 for c in counts if c.property is not None}
    for c in counts:
        if c.property is not None:
            seen[c.property] += c.numbers
    # What follows from other columns is not carried through the sort.
    texts, columns = {}, {}
    for name in sorted(seen.keys() & numbers.keys(), key=lambda name: numbers[name]):
        stem = column_stem(numbers[name], name)
        columns[f"s{stem}"] = f'"s{stem}"'
        texts[f"s{stem}"] = spooled.value(name)
        if seen[name]:
            columns[f"n{stem}"] = number(f'"s{stem}"')
    if seen.keys() - numbers.keys():
        texts["rest"], columns["rest"] = spooled.all_values(), "rest"
    carried = "".join(f', {value} AS "{column}"' for column, value in texts.items())
    insert_id, by_id = "NULL::VARCHAR AS insert_id", ""
    if spooled.has_ids:
        carried, insert_id, by_id = f", i AS insert_id{carried}", "insert_id", ", insert_id"
    ordered = (
        f"SELECT e AS event, u AS user_id, make_timestamp(t) AS time{carried} "
        f"FROM {spooled.relation} ORDER BY event, user_id, time{by_id}"
    )
    selected = marked(origin) + "".join(f', {value} AS "{column}"' for column, value in columns.items())
    rows = copy(connection, f"SELECT event, user_id, time, {insert_id}{selected} FROM ({ordered})", target)
    return Written(rows, (*columns, *of_devices(connection, target)))


def of_devices(connection: Connection, target: Path) -> list[str]:
    """Return the mark of a file of events that has rows of devices. Little of it is read: it is sorted."""
    some = f"SELECT 1 FROM read_parquet({quoted(str(target))}) WHERE user_id < '{USERS}' LIMIT 1"
    return [OF_DEVICES] if connection.execute(some).fetchall() else []


def of_owners(connection: Connection, target: Path) -> list[str]:
    """Return the marks of a file of users' properties that says whose devices are."""
    rows = f"SELECT 1 FROM read_parquet({quoted(str(target))}) WHERE user_id"
    if not connection.execute(f"{rows} < '{USERS}' LIMIT 1").fetchall():
        return []
    return (
        [OF_OWNERS]
        if connection.execute(f"{rows} >= '{USERS}' LIMIT 1").fetchall()
        else [OF_OWNERS, ONLY_OWNERS]
    )


def marked(origin: str | None) -> str:
    return f", {quoted(origin)} AS origin" if origin else ""


def write_traits(connection: Connection, target: Path, origin: str | None = None) -> Written:
    """Write the last value of each user's traits, and a row with an empty name for each user; of a device,
    whose it is."""
    rows = f"""
        SELECT name, user_id, make_timestamp(t) AS time, s, {number("s")} AS n{marked(origin)}
        FROM (
            SELECT v.key AS name, user_id, t, v.value AS s
            FROM (SELECT u AS user_id, t, unnest(map_entries(p)) AS v FROM spooled)
            UNION ALL SELECT '' AS name, u AS user_id, t, '' AS s FROM spooled WHERE u >= '{USERS}'
        )
    """
    written = copy(connection, last_traits(rows, kept_apart([origin] if origin else [])), target)
    return Written(written, tuple(of_owners(connection, target)))


def merge_events(connection: Connection, files: Sequence[str], target: Path) -> Written:
    rows = f"SELECT * FROM read_parquet({listed(files)}, union_by_name=true)"
    columns = [str(row[0]) for row in connection.execute(f"DESCRIBE {rows}").fetchall()]
    written = copy(connection, f"{rows} ORDER BY event, user_id, time, insert_id", target)
    found = [column for column in columns if column not in FIXED]
    return Written(written, (*found, *of_devices(connection, target)))


def renumber_events(
    connection: Connection, file: str, old: Mapping[str, int], new: Mapping[str, int], target: Path
) -> Written:
    """Copy a file whose properties have the numbers `old` into one where they have `new`, or no column."""
    rows = f"read_parquet({quoted(file)})"
    present = [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()]
    columns: dict[str, str] = {}
    without: list[str] = []
    for name, number in old.items():
        for letter in ("s", "n"):
            column = letter + column_stem(number, name)
            if column in present and name in new:
                columns[letter + column_stem(new[name], name)] = f'"{column}"'
            elif column in present and letter == "s":
                without.append(f'{{k: {quoted(name)}, v: "{column}"}}')
    if "rest" in present or without:
        added = (
            f"list_filter([{', '.join(without)}]::STRUCT(k VARCHAR, v VARCHAR)[], lambda x: x.v IS NOT NULL)"
        )
        columns["rest"] = f"map_from_entries({added})"
        if "rest" in present:
            columns["rest"] = f"map_concat(coalesce(rest, MAP {{}}), {columns['rest']})"
    fixed = ", ".join(column for column in FIXED if column in present)
    selected = "".join(f', {value} AS "{column}"' for column, value in columns.items())
    written = copy(connection, f"SELECT {fixed}{selected} FROM {rows}", target)
    return Written(written, (*columns, *of_devices(connection, target)))


def merge_traits(
    connection: Connection, files: Sequence[str], target: Path, origins: Sequence[str] = ()
) -> Written:
    """Merge, and keep what each of the imports `origins` said apart, so that it can be undone."""
    rows = f"SELECT * FROM read_parquet({listed(files)}, union_by_name=true)"
    columns = [str(row[0]) for row in connection.execute(f"DESCRIBE {rows}").fetchall()]
    origin = kept_apart(origins) if "origin" in columns else ""
    written = copy(connection, last_traits(rows, origin), target)
    return Written(written, tuple(of_owners(connection, target)))


def kept_apart(origins: Sequence[str]) -> str:
    return f"CASE WHEN origin IN ({', '.join(map(quoted, origins))}) THEN origin END" if origins else ""


def last_traits(rows: str, origin: str = "") -> str:
    """Keep the latest value of a user's trait; of two with one time the greater, as a query does. `origin`
    is an expression whose values are kept apart. Of whose a device is said to be, the first is kept."""
    last = f"arg_max({{time: time, s: s, n: n}}, {last_first()})"
    apart = f", {origin} AS origin" if origin else ""
    kept = f"SELECT name, user_id, {last} AS v{apart} FROM ({rows}) GROUP BY ALL"
    column = ", origin" if origin else ""
    values = f"v.time AS time, v.s AS s, v.n AS n{column}"
    return f"SELECT name, user_id, {values} FROM ({kept}) ORDER BY name, user_id"


def copy(connection: Connection, query: str, target: Path) -> int:
    # Version 2 writes a time as the difference from the one before: smaller, and read a quarter faster.
    options = f"FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
    rows = connection.execute(f"COPY ({query}) TO {quoted(str(target))} ({options})").fetchall()
    make_durable(target)
    return int(rows[0][0])


def number(value: str) -> str:
    return f"TRY_CAST(CASE WHEN {numeric(value)} THEN {value} END AS DOUBLE)"


def numeric(value: str) -> str:
    return f"regexp_full_match({value}, '{NUMBER_PATTERN}')"


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def listed(files: Sequence[str]) -> str:
    return "[" + ", ".join(quoted(path) for path in files) + "]"
