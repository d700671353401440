"""Rows of a block of CSV (bulk.py)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from events.bulk import LONGEST, NOTHING, Fields, Rows, raw_lines
from events.convert import Connection, quoted

WELL_FORMED = r'("([^"]|"")*"|[^",]*)(,("([^"]|"")*"|[^",]*)){COMMAS}'


def csv_rows(
    connection: Connection, block: bytes, path: Path, header: Sequence[str], fields: Fields
) -> Iterator[Rows]:
    """Yield ways to read a block, which is the file `path`, too, the quickest first. The first that finds
    as many rows as there are lines is right; there is none when a line is not a row."""
    columns = [f"c{number}" for number in range(len(header))]
    cells = [f"nullif({column}, '')" for column in columns]
    if b'"' not in block:
        yield rows_of(reading(path, columns, ""), header, cells, fields)
        # Lines with more or fewer columns: they alone are not plain.
        split = f"(SELECT r, string_split(line, ',') AS cells FROM {raw_lines(path)})"
        cells = [f"nullif(cells[{number + 1}], '')" for number in range(len(header))]
        yield rows_of(split, header, cells, fields, f"len(cells) = {len(header)}")
    elif is_well_formed(connection, path, len(header)):
        yield rows_of(reading(path, columns, '"'), header, cells, fields)


def rows_of(
    relation: str, header: Sequence[str], cells: Sequence[str], fields: Fields, good: str = "true"
) -> Rows:
    named = dict(zip(header, cells, strict=True))

    def text(field: str) -> str:
        if field in fields.constants:
            return quoted(fields.constants[field])
        return named[fields.columns[field]] if field in fields.columns else NOTHING

    length = " + ".join(f"coalesce(strlen({cell}), 0)" for cell in cells)
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
