"""Rows of a block of CSV (bulk.py)."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from events.bulk import LONGEST, NOTHING, Fields, Rows, raw_lines
from events.bulk_json import names_in_texts, some_lines, with_text
from events.convert import Connection, quoted

WELL_FORMED = r'("([^"]|"")*"|[^",]*)(,("([^"]|"")*"|[^",]*)){COMMAS}'


def csv_rows(
    connection: Connection, block: bytes, path: Path, header: Sequence[str], fields: Fields
) -> Iterator[Rows]:
    """Yield ways to read a block, which is the file `path`, too, the quickest first. The first that finds
    as many rows as there are lines is right; there is none when a line is not a row."""
    columns = [f"c{number}" for number in range(len(header))]
    cells = [f"nullif({column}, '')" for column in columns]
    within = fields.columns.get("properties")
    names = names_in_texts(some_cells(block, header.index(within))) if within is not None else []

    def rows_of(relation: str, cells: Sequence[str], good: str = "true") -> Rows:
        rows = plain_rows(relation, dict(zip(header, cells, strict=True)), fields, good)
        return rows if within is None else with_text(rows, cells[header.index(within)], names)

    if b'"' not in block:
        yield rows_of(reading(path, columns, ""), cells)
        # Lines with more or fewer columns: they alone are not plain.
        split = f"(SELECT r, string_split(line, ',') AS cells FROM {raw_lines(path)})"
        cells = [f"nullif(cells[{number + 1}], '')" for number in range(len(header))]
        yield rows_of(split, cells, f"len(cells) = {len(header)}")
    elif is_well_formed(connection, path, len(header)):
        yield rows_of(reading(path, columns, '"'), cells)


def plain_rows(relation: str, named: Mapping[str, str], fields: Fields, good: str) -> Rows:
    def text(field: str) -> str:
        if field in fields.constants:
            return quoted(fields.constants[field])
        return named[fields.columns[field]] if field in fields.columns else NOTHING

    length = " + ".join(f"coalesce(strlen({cell}), 0)" for cell in named.values())
    return Rows(
        relation=relation,
        user=text("user_id"),
        event=text("event"),
        moment=text("time"),
        insert_id=text("insert_id"),
        device=text("device"),
        cells={name: cell for name, cell in named.items() if name not in fields.used},
        good=f"{good} AND {length} < {LONGEST}",
    )


def reading(path: Path, columns: Sequence[str], quote: str) -> str:
    kinds = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    mark = quoted(quote)
    return (
        f"(SELECT row_number() OVER () - 1 AS r, * FROM read_csv({quoted(str(path))}, columns={{{kinds}}}, "
        f"delim=',', quote={mark}, escape={mark}, nullstr='', header=false, auto_detect=false, "
        "strict_mode=true, null_padding=false, new_line='\\n', parallel=false))"
    )


def is_well_formed(connection: Connection, path: Path, columns: int) -> bool:
    """Whether each line is a row of so many columns, quoted as all readers want it."""
    pattern = quoted(WELL_FORMED.replace("COMMAS", str(columns - 1)))
    counted = f"SELECT count(*) FROM {raw_lines(path)} WHERE NOT regexp_full_match(line, {pattern})"
    return connection.execute(counted).fetchall() == [(0,)]


def some_cells(block: bytes, number: int) -> Iterator[str]:
    """Yield the cell of a column in some rows of a block, of those that end with their line."""
    for line in some_lines(block):
        try:
            row = next(csv.reader([line.decode()], strict=True), [])
        except (csv.Error, UnicodeDecodeError):
            continue
        if number < len(row):
            yield row[number]
