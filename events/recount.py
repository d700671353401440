"""The catalogue counted anew from the files: after a correction, and for a database that is new to them."""

from collections.abc import Mapping, Sequence

from events import catalogue
from events.catalogue import Recount
from events.convert import BOOLEAN, Connection, Counted, listed, numeric, quoted
from events.custody import check_file
from events.devices import PREFIX
from events.engine import Limits, connect
from events.layout import column_stem
from events.models import EventFile, FileKind, PropertyColumn
from events.times import from_micros
from events.workspace_folders import Folders


def recount(workspace: str, folders: Folders) -> None:
    """Put the counts of what is listed in the place of the catalogue's. The caller is `working` on it.

    A file that is damaged is set aside first: all are read whole here, and one must not end it.
    """
    paths = {
        kind: [
            str(folders.files / file.name)
            for file in EventFile.objects.live(workspace, kind)
            if not check_file(folders, file, again=True)
        ]
        for kind in FileKind
    }
    catalogue.replace(workspace, counted(workspace, folders, paths[FileKind.EVENTS], paths[FileKind.TRAITS]))


def counted(
    workspace: str,
    folders: Folders,
    events: Sequence[str],
    traits: Sequence[str],
    only: Sequence[str] | None = None,
) -> Recount:
    """Count files. `only` these events, "" for users' properties; everything by default."""
    numbers = dict(PropertyColumn.objects.filter(workspace=workspace).values_list("name", "number"))
    limits = Limits.configured()
    counts: list[Counted] = []
    unbounded = Limits(limits.memory_mb, limits.threads, limits.temp_mb, None)
    with connect(unbounded, folders.temp) as connection:
        if events and (only is None or any(only)):
            counts += count_events(connection, events, numbers, only)
        if traits and (only is None or "" in only):
            counts += count_traits(connection, traits)
    return Recount(None if only is None else tuple(only), tuple(counts))


def count_events(
    connection: Connection, files: Sequence[str], numbers: Mapping[str, int], only: Sequence[str] | None
) -> list[Counted]:
    rows = f"read_parquet({listed(files)}, union_by_name=true)"
    columns = {str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()}
    chosen = "" if only is None else f" WHERE event IN ({', '.join(map(quoted, only))})"
    parts = ["count(*)", "max(epoch_us(time))"]
    names = []
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        stem = column_stem(number, name)
        if f"s{stem}" in columns:
            names.append(name)
            parts += column_counts(f"s{stem}", f"n{stem}" if f"n{stem}" in columns else None)
    found = connection.execute(
        f"SELECT event, {', '.join(parts)} FROM {rows}{chosen} GROUP BY event"
    ).fetchall()
    counts = []
    for event, count, last, *rest in found:
        counts.append(Counted(event, None, count, 0, 0, from_micros(last)))
        for index, name in enumerate(names):
            values, nums, bools, seen = rest[4 * index : 4 * index + 4]
            if values:
                counts.append(Counted(event, name, values, nums, bools, from_micros(seen)))
    if "rest" in columns:
        counts += count_rest(connection, rows, chosen, numbers)
    return counts


def column_counts(text: str, number: str | None) -> list[str]:
    """Return SQL: how many values a column has, how many numbers and booleans, and when the last was."""
    return [
        f'count("{text}")',
        f'count("{number}")' if number else "0",
        f'count(*) FILTER ("{text}" IN {BOOLEAN})',
        f'max(epoch_us(time)) FILTER ("{text}" IS NOT NULL)',
    ]


def count_rest(connection: Connection, rows: str, chosen: str, numbers: Mapping[str, int]) -> list[Counted]:
    """Count the properties that have no column."""
    values = f"SELECT event, time, unnest(map_entries(rest)) AS v FROM {rows}{chosen}"
    counts = (
        f"SELECT event, v.key, count(*), count(*) FILTER ({numeric('v.value')}), "
        f"count(*) FILTER (v.value IN {BOOLEAN}), max(epoch_us(time)) FROM ({values}) GROUP BY event, v.key"
    )
    return [
        Counted(event, name, count, nums, bools, from_micros(last))
        for event, name, count, nums, bools, last in connection.execute(counts).fetchall()
        if name not in numbers
    ]


def count_traits(connection: Connection, files: Sequence[str]) -> list[Counted]:
    rows = connection.execute(
        f"SELECT name, count(s), count(n), count(*) FILTER (s IN {BOOLEAN}), max(epoch_us(time)) "
        f"FROM read_parquet({listed(files)}, union_by_name=true) "
        f"WHERE name <> '' AND NOT starts_with(name, '{PREFIX}') GROUP BY name ORDER BY name"
    )
    return [
        Counted("", n, count, nums, bools, from_micros(last))
        for n, count, nums, bools, last in rows.fetchall()
    ]
