"""What a file of events would bring, before anything of it is taken."""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from events import formats
from events.devices import PREFIX
from events.formats import Bad, Progress, Record
from events.identities import flat
from events.importing import GUESSES, Imported, Mapped, Owners, digest_of, is_anonymous, stage_record
from events.models import ImportedFile
from events.records import InvalidRecord
from events.tables.suspicious import Suspicions, in_words
from events.tables.understood import SEPARATORS
from events.times import from_micros

# So many records are looked at for the columns and shown, so many names of events counted.
COLUMNS_OF, SHOWN, NAMES = 1_000, 5, 1_000
IDS = 5_000


@dataclass
class Look:
    """What a file is and holds. `fields`: where each field was found; `text`: how a text is separated.

    first, last: of the events' times, ISO 8601 in UTC. events: the commonest names with counts.
    """

    file: str
    rows: int = 0
    users: int = 0
    bad_lines: int = 0
    anonymous: int = 0
    known: bool = False
    text: str = ""
    columns: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    first: str = ""
    last: str = ""
    events: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    suspicious: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        counts = f"{self.rows:,} events, {self.users:,} users' properties, {self.bad_lines:,} bad lines"
        yield f"{self.file}: {counts}. Nothing was imported."
        if self.known:
            yield "  It was imported before: an import would do nothing (--again repeats it)."
        if self.text:
            yield f"  {self.text}"
        yield f"  Columns: {', '.join(self.columns) or 'none'}."
        taken = ", ".join(f"{name} = {column}" for name, column in self.fields.items())
        yield f"  Taken for: {taken or 'nothing'}."
        if self.rows:
            yield f"  Times from {self.first} to {self.last}."
            named = (f"{name} ({count:,})" for name, count in self.events.items())
            yield f"  Events: {', '.join(named)}."
        for sample in self.samples:
            yield "    " + orjson.dumps(sample).decode()[:300]
        if self.anonymous:
            said = "lines name a device and no user: they count when it is known whose it is."
            yield f"  {self.anonymous:,} {said}"
        if self.suspicious:
            yield f"  {in_words(self.suspicious)}"
        yield from (f"  {problem}" for problem in self.problems)


def look(
    workspace: str, path: Path, mapped: Mapped | None = None, progress: Progress = lambda done: None
) -> Look:
    """Read a whole file as an import would, and keep nothing. Raises UnreadableFile and OSError."""
    formats.check_plain(path)
    mapped = mapped or Mapped()
    looked, counted = Look(path.name), Imported(path.name)
    names: Counter[str] = Counter()
    columns: dict[str, None] = {}
    suspicions, ids = Suspicions(), list[str]()
    now, times = datetime.now(UTC), list[int]()
    for number, record in enumerate(formats.read(path, progress)):
        if isinstance(record, Record) and number < COLUMNS_OF:
            columns |= dict.fromkeys(record.fields)
            found = {name: mapped.column(name, record.fields) for name in GUESSES}
            looked.fields |= {name: column for name, column in found.items() if column}
        taken = _taken(record, mapped, now, counted)
        looked.rows += taken.event is not None
        looked.users += taken.traits is not None
        if len(looked.samples) < SHOWN and (taken.event or taken.traits):
            looked.samples.append(_shown(taken.event or taken.traits or {}))
        if taken.event and (len(names) < NAMES or taken.event["e"] in names):
            names[taken.event["e"]] += 1
        if taken.event:
            times = [min([*times, taken.event["t"]]), max([*times, taken.event["t"]])]
        line = taken.event or taken.traits
        if line and not line["u"].startswith(PREFIX):
            ids.append(line["u"])
        if len(ids) >= IDS:
            suspicions.look(ids, "\n".join(ids))
            ids.clear()
    suspicions.look(ids, "\n".join(ids))
    looked.bad_lines, looked.anonymous = counted.bad_lines, counted.anonymous
    looked.problems = counted.problems
    looked.columns = list(columns)
    looked.events = dict(names.most_common(20))
    if times:
        looked.first, looked.last = (from_micros(time).isoformat() for time in times)
    looked.suspicious = suspicions.as_json()
    looked.text = _text_of(path)
    digest = digest_of(path, mapped)
    looked.known = ImportedFile.objects.standing(workspace).filter(digest=digest).exists()
    return looked


@dataclass
class _Taken:
    event: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


def _taken(record: Record | Bad, mapped: Mapped, now: datetime, counted: Imported) -> _Taken:
    """Return the lines that an import would keep of a record, as they are kept; count what it would not."""
    if isinstance(record, Bad):
        counted.bad(record.position, record.reason)
        return _Taken()
    record = Record(record.position, flat(record.fields))
    counted.anonymous += is_anonymous(record, mapped)
    events, traits = io.BytesIO(), io.BytesIO()
    try:
        stage_record(record, mapped, now, events, traits, Owners())
    except InvalidRecord as error:
        counted.bad(record.position, str(error))
        return _Taken()
    said = (orjson.loads(line) for line in traits.getvalue().splitlines())
    users = [line for line in said if not line["u"].startswith(PREFIX)]  # the others are of devices
    return _Taken(orjson.loads(events.getvalue() or b"null"), next(iter(users), None))


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    time = from_micros(line["t"]).isoformat()
    named = {"event": line["e"], "insert_id": line["i"]} if "e" in line else {}
    who = {"device_id": line["u"][1:]} if line["u"].startswith(PREFIX) else {"user_id": line["u"]}
    return {**who, **named, "time": time, "properties": line["p"]}


def _text_of(path: Path) -> str:
    """Say how a text is separated; '' of what is none."""
    if path.name.lower().endswith((".parquet", ".xlsx", ".zip")):
        return ""
    with path.open("rb") as opened, formats.damaged(path):
        name, file = formats.unpacked(path.name.lower(), opened)
        if not name.endswith(formats.TEXTS):
            return ""
        text = formats.text_of(file, lambda: None)
    return f"A text, separated by {SEPARATORS.get(text.delimiter, repr(text.delimiter))}, with a heading."
