"""Files that say what people are known by: which column is which field, and what came of it."""

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple

from django.utils import timezone

from events.tables import Hints, InvalidTable, Page, Table, Understood, open_table
from events.tables.headings import plain
from events.tables.packing import size_of
from events.user_ids import InvalidUserId, check_user_id
from people import profiles
from people.models import ImportState, ProfileImport
from people.profiles import TYPES, InvalidValue, Said, check_name, is_hashed, read_text, type_of
from people.tombstones import Tombstones

# Users whose values are written at a time.
PAGE = 2_000
# Of values that are none, this many are shown.
SHOWN = 20
MOST_MAPPED = 100
LATER = timedelta(microseconds=1)
Progress = Callable[[float], None]


class Mapped(NamedTuple):
    """A field, the type of its values, and the column that has them."""

    field: str
    type: str
    column: str


def mapped_of(text: str) -> Mapped:
    """Return what `email=E-Mail` says, or `work:email=E-Mail (work)`. Raises InvalidValue."""
    left, sign, column = text.partition("=")
    name, colon, kind = left.rpartition(":")
    if not colon or kind not in TYPES:
        name, kind = left, type_of(left)
    if not sign or not column:
        raise InvalidValue("says no column: write email=E-Mail")
    return Mapped(check_name(name), kind, column)


def mapped_argument(text: str) -> Mapped:
    """Return what a command's --map says. Raises ArgumentTypeError."""
    try:
        return mapped_of(text)
    except InvalidValue as error:
        raise ArgumentTypeError(f"{text!r} {error}") from None


def mapped_lines(text: str) -> list[Mapped]:
    """Return what lines such as `email=E-Mail` say. Raises InvalidValue."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_MAPPED:
        raise InvalidValue(f"There are more than {MOST_MAPPED} lines.")
    found = []
    for line in lines:
        try:
            found.append(mapped_of(line))
        except InvalidValue as error:
            raise InvalidValue(f"{line[:80]!r} {error}.") from None
    return found


# Headings, as headings.plain writes them, that say what their column is.
SUGGESTED = {
    "email": ("email", "emails", "mail", "emailaddress", "useremail", "customeremail"),
    "phone": ("phone", "phonenumber", "tel", "telephone", "mobile", "mobilephone", "telefon", "phonee164"),
}


def suggested(columns: Sequence[str], ids: int) -> list[Mapped]:
    """Return the fields that headings name: of each the first column, but for the one of the user ids."""
    found: dict[str, Mapped] = {}
    for index, column in enumerate(columns):
        for name, words in SUGGESTED.items():
            if index != ids and plain(column) in words:
                found.setdefault(name, Mapped(name, type_of(name), column))
    return list(found.values())


class Fields(NamedTuple):
    """Columns of a file that are kept as fields of people's profiles; how, see Reading."""

    workspace: str
    mapped: Sequence[Mapped]
    skip_invalid: bool = False


@dataclass(kw_only=True)
class Kept:
    """What is said of people, and what of it could not be taken."""

    users: int = 0
    values: Counter[str] = field(default_factory=Counter)
    hashed: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    sentences: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        self.skipped += 1
        if len(self.sentences) < SHOWN:
            self.sentences.append(sentence)

    def refuse_invalid(self) -> None:
        """Raise InvalidTable if values were none, with a sentence about each of the first."""
        if self.skipped:
            more = f" And {self.skipped - SHOWN:,} more." if self.skipped > SHOWN else ""
            raise InvalidTable(f"{' '.join(self.sentences)}{more} Nothing was kept.")

    def of_people(self) -> dict[str, Any]:
        return {
            "users": self.users,
            "values": dict(self.values),
            "hashed": dict(self.hashed),
            "skipped": self.skipped,
            "skipped_first": self.sentences,
        }


@dataclass(kw_only=True)
class Found(Kept):
    """What a file holds."""

    understood: Understood

    def as_json(self) -> dict[str, Any]:
        return self.of_people() | {"understood": self.understood.as_json()}


@dataclass(frozen=True)
class Reading:
    """How a file is read; `hints` say which column has the user ids."""

    mapped: Sequence[Mapped]
    hints: Hints = Hints()
    skip_invalid: bool = False


def look(
    file: IO[bytes], reading: Reading, *, name: str = "", step: Callable[[], None] = lambda: None
) -> Found:
    """Read a whole file and say what is in it; nothing is kept. `step` is called for each page of rows.

    Raises InvalidTable, among these for a value that is none, unless such values are to be skipped.
    """
    with _opened(file, name, reading) as (table, found):
        for _ in _people(table, found, reading, timezone.now(), step):
            pass
    if not reading.skip_invalid:
        found.refuse_invalid()
    return found


def import_file(
    workspace: str,
    file: IO[bytes],
    reading: Reading,
    *,
    name: str = "",
    by: str = "",
    progress: Progress = lambda fraction: None,
) -> tuple[ProfileImport, Found]:
    """Keep what a file says of people, as `keep_file`; it is on the list of imports."""
    found, changed = keep_file(workspace, file, reading, name=name, progress=progress)
    kept = ProfileImport.objects.create(
        workspace=workspace,
        source=name[:300],
        columns=[list(one) for one in reading.mapped],
        created_by=by,
        state=ImportState.DONE,
        finished_at=timezone.now(),
        **numbers_of(found, changed),
    )
    return kept, found


def numbers_of(found: Found, changed: int) -> dict[str, Any]:
    """Return what the list of imports has of a file that was kept."""
    return {
        "users": found.users,
        "changed": changed,
        "hashed": found.hashed.total(),
        "skipped": found.skipped,
        "skipped_first": found.sentences,
    }


def keep_file(
    workspace: str,
    file: IO[bytes],
    reading: Reading,
    *,
    name: str = "",
    progress: Progress = lambda fraction: None,
) -> tuple[Found, int]:
    """Keep what a file says of people, of whom later rows are later words; return how many values are new.

    The file is read twice, so that what is wrong is found before anything is kept. Raises InvalidTable as
    `look`, and profiles.Refused. Killed in between, it has kept a part: the same file again does the rest.
    `progress` is told a fraction from 0 to 1.
    """
    size = size_of(file) or 1
    rows = look(file, reading, name=name, step=lambda: progress(min(1.0, file.tell() / size) / 2)).users
    file.seek(0)
    # No row is of a later time than now.
    began, changed = timezone.now() - rows * LATER, 0
    with _opened(file, name, reading) as (table, found):
        page, tombstones = list[Said](), Tombstones()

        def tell() -> None:
            progress(0.5 + found.users / max(1, rows) / 2)

        for said in _people(table, found, reading, began, tell):
            page.append(said)
            if len(page) == PAGE:
                changed += profiles.write(workspace, not_erased(page, tombstones))
                tell()
                page = []
        changed += profiles.write(workspace, not_erased(page, tombstones))
    return found, changed


def not_erased(page: Sequence[Said], tombstones: Tombstones) -> list[Said]:
    """Leave out who was erased: no old file brings them back."""
    erased = tombstones.among([said.user_id for said in page])
    return [said for said in page if said.user_id not in erased]


def in_a_sentence(found: Kept, changed: int | None) -> str:
    """Say what is kept, without anybody's value. `changed`: how many are new; None: none was kept."""
    fields = ", ".join(f"{number:,} of {name}" for name, number in found.values.items()) or "none"
    said = f"Profiles: values {fields}"
    said += "" if changed is None else f"; {changed:,} other than before"
    said += f"; {found.hashed.total():,} taken as hashes" if found.hashed.total() else ""
    return said + (f"; {found.skipped:,} passed over" if found.skipped else "") + "."


@contextmanager
def _opened(file: IO[bytes], name: str, reading: Reading) -> Iterator[tuple[Table, Found]]:
    with open_table(file, name=name, hints=reading.hints) as table:
        yield table, Found(understood=table.understood)


def _people(
    table: Table, found: Found, reading: Reading, began: datetime, step: Callable[[], None]
) -> Iterator[Said]:
    ids = table.column_of_ids()
    columns = {one: table.column(one.column) for one in reading.mapped}
    for page in table.pages([ids, *columns.values()]):
        step()
        for index, row in enumerate(page.rows):
            user_id = _user_of(page, index, row[ids])
            cells = ((one, row[column]) for one, column in columns.items() if row[column].strip())
            fields = fields_of(cells, page.position(index), found)
            if fields:
                found.users += 1
                yield Said(user_id, fields, began + found.users * LATER)


def _user_of(page: Page, index: int, cell: str) -> str:
    try:
        return check_user_id(cell)
    except InvalidUserId as error:
        raise InvalidTable(f"{page.position(index)}: the user id {error}.") from None


def fields_of(cells: Iterable[tuple[Mapped, str]], position: str, found: Kept) -> Mapping[str, Any]:
    """Return what a row says. A field of several columns has a list of values; what is none is noted."""
    values: dict[str, list[Any]] = {}
    for mapped, cell in cells:
        try:
            value = read_text(cell, mapped.type)
        except InvalidValue as error:
            shown = cell if len(cell) < 60 else f"{cell[:60]}…"
            found.note(f"{position}: {mapped.field} {shown!r} {error}.")
            continue
        found.values[mapped.field] += 1
        found.hashed[mapped.field] += is_hashed(mapped.type, value)
        if value not in values.setdefault(mapped.field, []):
            values[mapped.field].append(value)
    return {name: several if len(several) > 1 else several[0] for name, several in values.items()}
