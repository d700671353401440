"""Rows of a file of events in bulk, by DuckDB: plain ones become events here, the others line by line.

A row is plain when SQL can tell that the reader of lines (importing.py) would make the same event of it.
Every other row, and a whole block when DuckDB cannot read it, goes to that reader: what is refused, counted
and stored is the same, and only quicker. Where rows come from: bulk_csv.py, bulk_json.py, bulk_parquet.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from events.convert import Connection, quoted
from events.devices import PREFIX
from events.identities import ON_DEVICE
from events.layout import MAX_COLUMNS
from events.records import MAX_LINE, MAX_NAME
from events.times import LATEST, micros
from events.user_id_rule import MAX_BYTES

BLOCK = 32 * 1024 * 1024
PLAIN_TIME = r"\d{4}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|\+00|\+00:00)?"
# Longer rows may be longer than an event may be.
LONGEST = 100_000
# Events with which Mixpanel says who is who (identities.py).
IDENTITIES = ("$identify", "$create_alias", "$merge")
NOTHING = "NULL::VARCHAR"


@dataclass(frozen=True)
class Fields:
    """Which column or key is which field; `constants` are given for all lines."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]

    @property
    def used(self) -> set[str]:
        """The columns that are no properties: a device's is one, too."""
        return {column for field, column in self.columns.items() if field != "device"}


@dataclass(frozen=True)
class Rows:
    """Rows as SQL: a relation with their numbers in the block, `r`, from 0; expressions of their texts, NULL
    where one is missing; of whether all else is plain, `good`; and of the time in microseconds, `at`, when
    `moment` is not its text. With `read`, how many values were read of a row, they are plain only when
    there were no others in all of the block: `there`. `traits`: a map of what a row says of its user,
    or NULL."""

    relation: str
    user: str
    event: str
    moment: str
    insert_id: str
    device: str
    cells: Mapping[str, str]
    good: str
    at: str = ""
    read: str = ""
    there: int = 0
    traits: str = "NULL"


class Names:
    """The properties that have a column in what was staged, in the order of their coming."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.known = list(known)

    def fit(self, names: Sequence[str]) -> list[str]:
        """Return those of the names that have a column, or are given one while there are some."""
        new = [name for name in dict.fromkeys(names) if name not in self.known]
        self.known += new[: MAX_COLUMNS - len(self.known)]
        return [name for name in names if name in self.known]

    def column(self, name: str) -> str:
        return f"c{self.known.index(name)}"


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
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def count_lines(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))


def raw_lines(path: Path) -> str:
    """SQL for the lines of a block's file: r, from 0, and line."""
    return (
        "(SELECT row_number() OVER () - 1 AS r, line FROM "
        f"read_csv({quoted(str(path))}, columns={{'line': 'VARCHAR'}}, delim='\x01', quote='', escape='', "
        "header=false, auto_detect=false, new_line='\\n', parallel=false))"
    )


def moment_of(text: str) -> str:
    """SQL for the microseconds of a plain time; NULL of any other text."""
    return (
        f"CASE WHEN regexp_full_match({text}, {quoted(PLAIN_TIME)}) THEN "
        f"epoch_us(TRY_CAST({text} AS TIMESTAMP)) "
        f"WHEN regexp_full_match({text}, '[1-9]\\d{{9}}') THEN {text}::BIGINT * 1000000 "
        f"WHEN regexp_full_match({text}, '[1-9]\\d{{12}}') THEN {text}::BIGINT * 1000 "
        f"WHEN regexp_full_match({text}, '[1-9]\\d{{15}}') THEN {text}::BIGINT END"
    )


def is_id(text: str, most: int = MAX_BYTES) -> str:
    """SQL for whether a text is a user's id for sure: something in it can be seen, and nothing is odd."""
    odd = quoted("[\\x00-\\x1f]")
    return (
        f"regexp_matches({text}, '[!-~]') AND strlen({text}) <= {most} AND NOT regexp_matches({text}, {odd})"
    )


def make_plain(connection: Connection, rows: Rows, names: Names) -> int:
    """Make the table `plain` of rows: r, u, e, t, i, d (the device of a user's event), a column for each
    property, whether it is plain, `good`, how many values were read of it, k, and what it says of its user,
    f. Returns how many rows there are; none when there is more in them than was read."""
    fitting = set(names.fit(list(rows.cells)))
    cells = {names.column(name): cell for name, cell in rows.cells.items() if name in fitting}
    columns = "".join(f", {cell} AS {column}" for column, cell in cells.items())
    # A row with a property that found no column is for the reader of lines.
    without = [f"{cell} IS NULL" for name, cell in rows.cells.items() if name not in fitting]
    good = " AND ".join([rows.good, *without])
    selected = (
        f"SELECT r, nullif({rows.user}, '') AS u, nullif({rows.device}, '') AS d, {rows.event} AS e, "
        f"{rows.at or rows.moment} AS m, nullif({rows.insert_id}, '') AS i, {good} AS good, "
        f"{rows.read or '0'} AS k, ({rows.traits})::MAP(VARCHAR, VARCHAR) AS f{columns} FROM {rows.relation}"
    )
    timed = f"SELECT *, {'m' if rows.at else moment_of('m')} AS t FROM ({selected})"
    who = f"CASE WHEN u IS NULL THEN '{PREFIX}' || d ELSE u END"
    is_good = (
        f"good AND (u IS NOT NULL OR d IS NOT NULL) AND coalesce({is_id('u')}, true) "
        f"AND coalesce({is_id('d', MAX_BYTES - 1)}, true) AND length(e) BETWEEN 1 AND {MAX_NAME} "
        f"AND NOT contains(e, chr(0)) AND e NOT IN {IDENTITIES} "
        f"AND NOT coalesce(starts_with(u, '{ON_DEVICE}'), false) "
        f"AND t BETWEEN 0 AND {micros(LATEST) - 1} AND coalesce(length(i) <= {MAX_NAME}, true)"
    )
    kept = "".join(f", {column}" for column in cells)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE plain AS SELECT r, {who} AS u, e, t, i, "
        f"CASE WHEN u IS NOT NULL THEN d END AS d, coalesce({is_good}, false) AS good, k, f{kept} "
        f"FROM ({timed})"
    )
    [(count, read)] = connection.execute("SELECT count(*), coalesce(sum(k), 0) FROM plain").fetchall()
    return int(count) if read == rows.there else 0


def nothing_plain(connection: Connection, count: int) -> None:
    """Make the table `plain` of a block that is not read in bulk."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE plain AS SELECT r, NULL::VARCHAR AS u, NULL::VARCHAR AS e, "
        "NULL::BIGINT AS t, NULL::VARCHAR AS i, NULL::VARCHAR AS d, false AS good, 0 AS k, "
        "NULL::MAP(VARCHAR, VARCHAR) AS f "
        f"FROM range({count}) AS all_rows(r)"
    )


def owners(connection: Connection) -> list[tuple[str, str, int]]:
    """Return what the plain rows say of devices: the device, its user, and the earliest time."""
    said = "SELECT d, u, min(t) FROM plain WHERE good AND d IS NOT NULL GROUP BY d, u ORDER BY d, u"
    return [(str(device), str(user), int(at)) for device, user, at in connection.execute(said).fetchall()]


def count_anonymous(connection: Connection) -> int:
    """Count the plain rows that name a device and no user."""
    counted = f"SELECT count(*) FROM plain WHERE good AND starts_with(u, '{PREFIX}')"
    return int(connection.execute(counted).fetchall()[0][0])


Others = Callable[[Sequence[int]], None]
LINES = "{r:'BIGINT', u:'VARCHAR', e:'VARCHAR', t:'BIGINT', i:'VARCHAR', p:'MAP(VARCHAR, VARCHAR)'}"


def write_part(connection: Connection, first: int, others: Others, lines: Path, target: Path) -> None:
    """Write a block's events: the good ones of the table `plain`, and what `others` writes to the file
    `lines` of the others. `o` is their order in the file; the block's first row is its `first`."""
    left = connection.execute("SELECT r FROM plain WHERE NOT good ORDER BY r").fetchall()
    rows = f"SELECT * EXCLUDE (r, d, good, k, f), r + {first} AS o FROM plain WHERE good"
    if left:
        others([int(row[0]) for row in left])
        if lines.stat().st_size:
            rows += f" UNION ALL BY NAME {of_lines(lines, first)}"
    # A dictionary costs a third of the writing, and is read once.
    options = "FORMAT parquet, DICTIONARY_SIZE_LIMIT 1000"
    connection.execute(f"COPY ({rows}) TO {quoted(str(target))} ({options})")


def write_traits(connection: Connection, target: Path) -> None:
    """Write what the plain rows say of users, those of devices left out; no file when they say nothing."""
    rows = f"FROM plain WHERE good AND f IS NOT NULL AND NOT starts_with(u, '{PREFIX}')"
    if connection.execute(f"SELECT 1 {rows} LIMIT 1").fetchall():
        connection.execute(f"COPY (SELECT u, t, f AS p {rows}) TO {quoted(str(target))} (FORMAT parquet)")


def of_lines(lines: Path, first: int) -> str:
    """SQL for staged lines: their properties stay in one map."""
    return (
        f"SELECT u, e, t, i, p, r + {first} AS o FROM read_json({quoted(str(lines))}, columns={LINES}, "
        f"format='newline_delimited', maximum_object_size={2 * MAX_LINE})"
    )
