"""Files of events read by DuckDB, a block at a time: plain lines in bulk, the others by the reader of lines.

A line is plain when SQL can tell that the reader in Python (importing.py) would make the same event of it.
Every other line, and a whole block when DuckDB cannot read it, goes to that reader: what is refused, counted
and stored is the same, and only quicker.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from events.convert import Connection, listed, quoted
from events.records import MAX_LINE, MAX_NAME, MAX_PROPERTIES
from events.times import LATEST, micros

BLOCK = 32 * 1024 * 1024
# In a text of these alone, no two engines differ: no blanks in front, nothing to escape, nothing to fold.
PLAIN_USER = r"[!-~][ -~]{0,254}"
PLAIN_TIME = r"\d{4}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|\+00|\+00:00)?"
LONGEST = 100_000
# In a line of JSON: a number that would be stored otherwise than it is written (a zero at its end, an
# exponent, many figures, a very small one, -0), and what DuckDB's reader lets pass and ours does not.
STRANGE = (
    r"[:,]\s*(-?(\d+\.\d+0\s*[,}]|\d+\.\d{6}|0\.0000|\d{16}|\d{10}\d*\.|\d[0-9.]*[eE]|[nN]a[nN]|[iI]nf)|-0)"
    r"|,\s*\}"
)


@dataclass(frozen=True)
class Fields:
    """Which column or key is which field; `constants` are given for all lines."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in blocks of whole lines, each with its line ends."""
    rest = b""
    while data := file.read(BLOCK):
        data = rest + data
        end = data.rfind(b"\n") + 1
        if end:
            yield data[:end]
        rest = data[end:]
    if rest:
        yield rest


def is_simple(block: bytes) -> bool:
    """Whether each line of a block is one line for everybody."""
    if (
        b"\r" in block
        or b"\0" in block
        or b"\x01" in block
        or b"\n\n" in block
        or block[:1] in (b"\n", b"\xef")
    ):
        return False
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def raw_lines(connection: Connection, block: bytes, path: Path) -> bool:
    """Make the table `raw` of a block: r, from 0, and line. Returns whether DuckDB sees the same lines."""
    path.write_bytes(block)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE raw AS SELECT row_number() OVER () - 1 AS r, line FROM "
        f"read_csv({quoted(str(path))}, columns={{'line': 'VARCHAR'}}, delim='\x01', quote='', escape='', "
        "header=false, auto_detect=false, new_line='\\n', parallel=false)"
    )
    [(count,)] = connection.execute("SELECT count(*) FROM raw").fetchall()
    return int(count) == block.count(b"\n") + (not block.endswith(b"\n"))


# --- JSON lines -----------------------------------------------------------------------------


def json_events(keys: Sequence[str], fields: Fields) -> str:
    """Return SQL for r, u, e, t, i and p of the plain lines of `raw` that have just these keys.

    A line with a number that is not written as it will be stored, or with a list or an object as a property,
    is not plain; nor is one where a text only looks so.
    """
    given = {name: quoted(value) for name, value in fields.constants.items()}
    wanted = {name: key for name, key in fields.columns.items() if name not in given}
    types = dict.fromkeys([*wanted.values(), "type"], "JSON")
    flat = "properties" not in wanted
    if flat:
        types |= {key: "VARCHAR" for key in keys if key not in types}
    else:
        types[wanted["properties"]] = "MAP(VARCHAR, VARCHAR)"
    schema = quoted(orjson.dumps(types).decode())

    def column(name: str) -> str:
        return f's."{wanted[name]}"'

    def text(name: str) -> str:
        """The field as text; NULL when it is neither a text nor a whole number."""
        if name not in wanted:
            return given.get(name, "NULL::VARCHAR")
        kind = f"json_type({column(name)})"
        return f"CASE WHEN {kind} IN ('VARCHAR', 'UBIGINT') THEN {column(name)} ->> '$' END"

    conditions = ["coalesce(s.type ->> '$', '') <> 'identify'"]
    if "event" in wanted:
        conditions.append(f"json_type({column('event')}) = 'VARCHAR'")
    if "insert_id" in wanted:
        kinds = "('VARCHAR', 'UBIGINT', 'NULL')"
        conditions.append(f"coalesce(json_type({column('insert_id')}) IN {kinds}, true)")
    if flat:
        cells = {key: f's."{key}"' for key in keys if key not in wanted.values()}
        if "type" in cells:
            cells["type"] = "CASE WHEN json_type(s.type) <> 'NULL' THEN s.type ->> '$' END"
        entries = ", ".join(f"{{k: {quoted(key)}, v: {cell}}}" for key, cell in cells.items())
        values = f"[{entries}]::STRUCT(k VARCHAR, v VARCHAR)[]"
    else:
        values = f"map_entries({column('properties')})"
    filtered = f"map_from_entries(list_filter({values}, lambda x: x.{'v' if flat else 'value'} IS NOT NULL))"
    if flat:
        properties = filtered
    else:
        kept = f"CASE WHEN contains(line, 'null') THEN {filtered} ELSE {column('properties')} END"
        # A map that is NULL although there is an object had a name twice: it is not plain. Nor is a line
        # whose properties are null and that has other fields, which are its properties then.
        key = quoted(f'"{re.escape(wanted["properties"])}"\\s*:\\s*null')
        none = f"regexp_matches(line, {key})" if set(keys) <= set(wanted.values()) else "false"
        properties = f"coalesce({kept}, CASE WHEN {none} THEN MAP {{}} END)"
    objects = 1 if flat else 2
    lines = (
        f"SELECT r, line, from_json(line, {schema}) AS s FROM raw WHERE length(line) < {LONGEST} "
        f"AND NOT contains(line, '\\') AND NOT contains(line, '[') AND json_valid(line) "
        f"AND length(line) - length(replace(line, '{{', '')) <= {objects} "
        f"AND NOT regexp_matches(line, {quoted(STRANGE)}) AND json_keys(line) = {listed(keys)}"
    )
    seen = (
        f"SELECT r, {text('user_id')} AS u, {text('event')} AS e, {text('time')} AS moment, "
        f"{text('insert_id')} AS i, {properties} AS p FROM ({lines}) WHERE {' AND '.join(conditions)}"
    )
    longest = "list_max(list_transform(map_keys(p), lambda x: length(x)))"
    shortest = longest.replace("list_max", "list_min")
    good = (
        f"cardinality(p) <= {MAX_PROPERTIES} AND coalesce({longest} <= {MAX_NAME} AND {shortest} > 0, true)"
    )
    return plain(seen, "true", "p", good)


# --- CSV ------------------------------------------------------------------------------------


def csv_events(
    connection: Connection, block: bytes, path: Path, header: Sequence[str], fields: Fields
) -> str | None:
    """Return the same SQL for a block of CSV in which each line is a row; None when that is not so."""
    count = len(header)
    if b'"' not in block:
        cells = [f"cells[{number + 1}]" for number in range(count)]
        rows = f"(SELECT r, string_split(line, ',') AS cells FROM raw) WHERE len(cells) = {count}"
    elif is_well_formed(connection, count):
        cells = [f"c{number}" for number in range(count)]
        columns = ", ".join(f"'{column}': 'VARCHAR'" for column in cells)
        rows = (
            f"(SELECT row_number() OVER () - 1 AS r, * FROM read_csv({quoted(str(path))}, "
            f"columns={{{columns}}}, delim=',', quote='\"', escape='\"', nullstr='', header=false, "
            "auto_detect=false, strict_mode=true, null_padding=false, new_line='\\n', parallel=false))"
        )
    else:
        return None
    names = dict(zip(header, cells, strict=True))

    def text(name: str) -> str:
        if name in fields.constants:
            return quoted(fields.constants[name])
        return f"nullif({names[fields.columns[name]]}, '')" if name in fields.columns else "NULL::VARCHAR"

    used = set(fields.columns.values())
    entries = ", ".join(f"{{k: {quoted(n)}, v: {cell}}}" for n, cell in names.items() if n not in used)
    rest = f"list_filter([{entries}]::STRUCT(k VARCHAR, v VARCHAR)[], lambda x: x.v <> '')"
    longest = " + ".join(f"coalesce(length({cell}), 0)" for cell in cells)
    selected = (
        f"SELECT r, {text('user_id')} AS u, {text('event')} AS e, {text('time')} AS moment, "
        f"{text('insert_id')} AS i, map_from_entries({rest}) AS p, {longest} < {LONGEST} AS told FROM {rows}"
    )
    return plain(selected, "told", "p")


WELL_FORMED = r'("([^"]|"")*"|[^",]*)(,("([^"]|"")*"|[^",]*)){COMMAS}'


def is_well_formed(connection: Connection, columns: int) -> bool:
    """Whether each line of `raw` is a row of so many columns, quoted as all readers want it."""
    pattern = quoted(WELL_FORMED.replace("COMMAS", str(columns - 1)))
    counted = f"SELECT count(*) FROM raw WHERE NOT regexp_full_match(line, {pattern})"
    return connection.execute(counted).fetchall() == [(0,)]


# --- Both -----------------------------------------------------------------------------------


def plain(rows: str, good: str, properties: str, after: str = "true") -> str:
    """Return SQL for the plain ones of rows with r, u, e, moment, i; `after`: what holds of their p."""
    at = (
        f"CASE WHEN regexp_full_match(moment, {quoted(PLAIN_TIME)}) THEN epoch_us({seconds_of('moment')}) END"
    )
    number = (
        "CASE WHEN regexp_full_match(moment, '[1-9]\\d{9}') THEN moment::BIGINT * 1000000 "
        "WHEN regexp_full_match(moment, '[1-9]\\d{12}') THEN moment::BIGINT * 1000 "
        "WHEN regexp_full_match(moment, '[1-9]\\d{15}') THEN moment::BIGINT END"
    )
    return (
        f"SELECT r, u, e, t, nullif(i, '') AS i, p FROM (SELECT r, u, e, i, coalesce({at}, {number}) AS t, "
        f"{properties} AS p, {good} AS good FROM ({rows})) "
        f"WHERE good AND regexp_full_match(u, {quoted(PLAIN_USER)}) AND length(e) BETWEEN 1 AND {MAX_NAME} "
        f"AND {after} AND t BETWEEN 0 AND {micros(LATEST) - 1} AND coalesce(length(i) <= {MAX_NAME}, true)"
    )


def seconds_of(text: str) -> str:
    """SQL for the moment of a plain time, which is in UTC."""
    bare = f"regexp_replace(replace({text}, 'T', ' '), '(Z|\\+00|\\+00:00)$', '')"
    return f"TRY_CAST({bare} AS TIMESTAMP)"


NOTHING_PLAIN = (
    "CREATE OR REPLACE TEMP TABLE plain (r BIGINT, u VARCHAR, e VARCHAR, t BIGINT, i VARCHAR, "
    "p MAP(VARCHAR, VARCHAR))"
)
Others = Callable[[Sequence[int]], None]
STAGED = "{r:'BIGINT', u:'VARCHAR', e:'VARCHAR', t:'BIGINT', i:'VARCHAR', p:'MAP(VARCHAR, VARCHAR)'}"


def write_part(connection: Connection, total: int, others: Others, lines: Path, target: Path) -> None:
    """Write a block's events in the order of its lines: those of the table `plain`, and what `others` writes
    to the file `lines` of the lines that are not there."""
    left = f"SELECT r FROM range({total}) AS all_lines(r) ANTI JOIN plain USING (r) ORDER BY r"
    others([int(row[0]) for row in connection.execute(left).fetchall()])
    rows = "SELECT r, u, e, t, i, p FROM plain"
    if lines.stat().st_size:
        rows += (
            f" UNION ALL SELECT r, u, e, t, i, p FROM read_json({quoted(str(lines))}, columns={STAGED}, "
            f"format='newline_delimited', maximum_object_size={2 * MAX_LINE})"
        )
    ordered = f"SELECT u, e, t, i, p FROM ({rows}) ORDER BY r"
    connection.execute(f"COPY ({ordered}) TO {quoted(str(target))} (FORMAT parquet)")
