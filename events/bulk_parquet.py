"""Rows of a Parquet file, some at a time (bulk.py)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from events.bulk import LONGEST, NOTHING, Fields, Rows
from events.bulk_json import LOOKED_AT, OPENED, names_in_texts, with_text
from events.convert import Connection, quoted

WHOLE = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT".split())  # noqa: SIM905
MOMENTS = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Table:
    """A Parquet file whose columns all have kinds that SQL reads as the reader of lines does."""

    path: Path
    kinds: dict[str, str]
    rows: int


def table_of(connection: Connection, path: Path, names: Sequence[str]) -> Table | None:
    """Return a file with columns of these names; None when a column is of another kind."""
    file = quoted(str(path))
    described = connection.execute(f"DESCRIBE FROM read_parquet({file})").fetchall()
    kinds = {str(row[0]): str(row[1]) for row in described}
    ours = {"r", "file_row_number"} & {name.lower() for name in kinds}
    if ours or list(kinds) != list(names) or not all(map(is_plain_kind, kinds.values())):
        return None
    [(rows,)] = connection.execute(f"SELECT count(*) FROM read_parquet({file})").fetchall()
    return Table(path, kinds, int(rows))


def is_plain_kind(kind: str) -> bool:
    decimal = DECIMAL.fullmatch(kind)
    return (
        kind in WHOLE | MOMENTS | {"VARCHAR", "BOOLEAN", "FLOAT", "DOUBLE"}
        or decimal is not None
        and int(decimal[1]) <= 15
    )


def parquet_rows(table: Table, fields: Fields, first: int, count: int) -> Rows | None:
    """Return `count` rows from the row `first` on; None when a field is of a kind that it should not be."""
    columns = {field: name for field, name in fields.columns.items() if field not in fields.constants}
    ids = [columns[field] for field in ("user_id", "event", "insert_id", "device") if field in columns]
    if any(table.kinds[name] not in WHOLE | {"VARCHAR"} for name in ids):
        return None
    if "properties" in columns and not is_opened(table, columns["properties"]):
        return None
    if "event" in columns and table.kinds[columns["event"]] != "VARCHAR":
        return None

    def text(field: str) -> str:
        if field in fields.constants:
            return quoted(fields.constants[field])
        return f"{identifier(columns[field])}::VARCHAR" if field in columns else NOTHING

    at = ""
    if "time" in columns and (kind := table.kinds[columns["time"]]) not in WHOLE | {"VARCHAR"}:
        if kind not in MOMENTS:
            return None
        time = identifier(columns["time"])
        at = f"CASE WHEN isfinite({time}) THEN epoch_us({time}::TIMESTAMP) END"
    cells, conditions = {}, []
    for name, kind in table.kinds.items():
        if name not in fields.used:
            cells[name], condition = cell_of(identifier(name), kind)
            conditions += [condition] if condition else []
    lengths = [
        f"coalesce(strlen({identifier(n)}), 0)" for n, kind in table.kinds.items() if kind == "VARCHAR"
    ]
    conditions.append(f"{' + '.join(lengths) or '0'} < {LONGEST}")
    return Rows(
        relation=(
            f"(SELECT *, file_row_number - {first} AS r FROM read_parquet({quoted(str(table.path))}, "
            f"file_row_number=true) WHERE file_row_number >= {first} AND file_row_number < {first + count})"
        ),
        user=text("user_id"),
        event=text("event"),
        moment=NOTHING if at else text("time"),
        at=at,
        insert_id=text("insert_id"),
        device=text("device"),
        cells=cells,
        good=" AND ".join(conditions),
    )


def is_opened(table: Table, column: str) -> bool:
    """Whether a column of properties has JSON as text, and no other is called as its parts are in SQL."""
    return table.kinds[column] == "VARCHAR" and not OPENED & {name.lower() for name in table.kinds}


def opened_rows(connection: Connection, table: Table, fields: Fields, first: int, count: int) -> Rows | None:
    """Return what `parquet_rows` does, with what is in the JSON texts of properties."""
    rows = parquet_rows(table, fields, first, count)
    if rows is None or "properties" not in fields.columns:
        return rows
    text = identifier(fields.columns["properties"])
    some = connection.execute(
        f"SELECT {text} FROM {rows.relation} WHERE r % {max(1, count // LOOKED_AT)} = 0"
    ).fetchall()
    return with_text(rows, f"nullif({text}, '')", names_in_texts(row[0] for row in some))


def cell_of(column: str, kind: str) -> tuple[str, str]:
    """Return SQL of a value as text, and of when it is the text that is stored."""
    if kind in {"FLOAT", "DOUBLE"} or kind.startswith("DECIMAL"):
        # Outside of this some numbers are written with an exponent.
        number = f"{column}::DOUBLE"
        return f"{number}::VARCHAR", f"coalesce({number} = 0 OR abs({number}) BETWEEN 1e-3 AND 1e15, true)"
    if kind in MOMENTS:
        return f"{column}::VARCHAR", f"coalesce(isfinite({column}), true)"
    return f"{column}::VARCHAR", ""


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
