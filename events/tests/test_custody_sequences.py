"""Random sequences of everything that happens to a year of events: what was acknowledged and not taken back
is there, or is named as damaged; nothing else ever is, and nothing twice.

    CUSTODY_SEQUENCES=500 CUSTODY_FROM=1000 python -m pytest events/tests/test_custody_sequences.py

plays so many, from that seed on. Each event bears a number of its own; the model keeps what must be there,
what may be, and what must not. A death is played at each step that reaches the disk or the database, and
from then on nothing of the dead process reaches either.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from django.db.models import QuerySet

from events import compact as compaction
from events import custody, site, spool
from events.adopt import adopt
from events.compact import compact
from events.correct import NothingToCorrect, Wanted, delete_events, delete_people, undo_import
from events.engine import EngineError
from events.importing import Replaces, import_file
from events.models import EventFile, FileState, ImportedFile, Site
from events.records import is_intact
from events.store import Folders, Incomplete, read_layout
from events.tests.test_custody import Dump, another_database, database, flip, restore
from events.verify import check, give_up
from events.workspace_folders import Refused

SEQUENCES = int(os.environ.get("CUSTODY_SEQUENCES", "6"))
FIRST = int(os.environ.get("CUSTODY_FROM", "1"))
STEPS = 22
USERS = 5
LONG_AGO = "2024-05-01T00:00Z"


class Killed(BaseException):
    """The death of the process."""


@contextmanager
def death_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process die at a step; with a step that never comes, it lives."""
    left = steps

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Killed
            return function(*arguments, **keywords)

        return step

    with monkeypatch.context() as patched:
        for owner, name in (
            (os, "fsync"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
            (shutil, "rmtree"),
            (QuerySet, "update"),
            (QuerySet, "bulk_create"),
            (QuerySet, "update_or_create"),
            (QuerySet, "delete"),
        ):
            patched.setattr(owner, name, mortal(getattr(owner, name)))
        yield


class Play:
    """One sequence: the site, what happens to it, and the model of what must be there."""

    def __init__(self, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.draw, self.folder, self.monkeypatch = random.Random(seed), folder, monkeypatch
        self.log: list[str] = []
        self.users: dict[int, str] = {}
        self.must: set[int] = set()
        self.may: set[int] = set()
        self.harmed: set[int] = set()
        self.imports: dict[str, set[int]] = {}
        # What a process that died was about: it is there as a whole or not at all.
        self.open: list[set[int]] = []
        self.backups: list[Dump] = []
        self.descriptions: dict[Path, bytes] = {}
        self.sent = 0

    def play(self) -> None:
        actions = [
            (self.send, 8),
            (self.bring, 5),
            (self.compact, 5),
            (self.undo, 2),
            (self.replace, 2),
            (self.delete, 1),
            (self.erase, 1),
            (self.back_up, 2),
            (self.restore, 1),
            (self.switch, 1),
            (self.second_site, 1),
            (self.flip_a_bit, 2),
            (self.grow_old, 1),
            (self.look, 2),
        ]
        for _ in range(STEPS):
            [action] = self.draw.choices([a for a, _ in actions], [w for _, w in actions])
            self.log.append(action.__name__)
            action()
        self.look()

    # --- What people and machines do ------------------------------------------------------

    def event(self) -> dict[str, Any]:
        self.sent += 1
        user = f"u{self.draw.randrange(USERS)}"
        self.users[self.sent] = user
        properties: dict[str, Any] = {"number": self.sent}
        for name in self.draw.sample("abcd", 2):
            properties[name] = self.draw.choice([1, "x"])
        insert_id = f"i{self.sent}" if self.draw.random() < 0.5 else None
        return {
            "user_id": user,
            "event": "play",
            "time": f"2024-05-0{1 + self.sent % 5}T10:00:00Z",
            "properties": properties,
            "insert_id": insert_id,
        }

    def attempt(self, work: Callable[[], object], about: set[int], *, may_die: bool = True) -> bool:
        """Do it, perhaps with a death in between. Returns whether it was done; `about` is open if it died."""
        steps = self.draw.randrange(1, 30) if may_die and self.draw.random() < 0.3 else 10**9
        try:
            with death_after(steps, self.monkeypatch):
                work()
        except Killed:
            self.log[-1] += f" (died at step {steps})"
            self.another_process()
            self.may_be_half_done(about)
            return False
        except (EngineError, Refused) as error:
            self.log[-1] += f" (refused: {str(error)[:60]})"
            return False
        return True

    def may_be_half_done(self, about: set[int] | frozenset[int]) -> None:
        """These are there as a whole or not at all."""
        self.split(about)
        if about:
            self.open.append(set(about))
        self.must -= about
        self.may |= about

    def split(self, about: set[int] | frozenset[int]) -> None:
        """What was open as a whole may now be there in part: without these."""
        self.open = [part for group in self.open for part in (group & about, group - about) if part]

    def another_process(self) -> None:
        for segment in spool._segments.values():
            if segment.descriptor >= 0:  # its lock ends with the process
                segment.leave()
        spool._segments.clear()
        site._checked.clear()
        custody._intact.clear()

    def send(self) -> None:
        events = [self.event() for _ in range(self.draw.randrange(1, 4))]
        numbers = {event["properties"]["number"] for event in events}
        if self.attempt(lambda: spool.append("default", events), numbers):
            self.must |= numbers

    def bring(self, replaces: Replaces | None = None, gone: frozenset[int] = frozenset()) -> None:
        events = [self.event() for _ in range(self.draw.randrange(1, 5))]
        numbers = {event["properties"]["number"] for event in events}
        path = self.folder / f"{self.sent}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
        keys: list[str] = []

        def work() -> None:
            keys.append(import_file("default", path, source="shop", replaces=replaces).key)

        if self.attempt(work, numbers):
            self.must |= numbers
            self.imports[keys[0]] = numbers
            self.take_back(gone)
        elif "died" in self.log[-1]:
            self.may_be_half_done(gone)

    def replace(self) -> None:
        if standing := self.standing():
            key = self.draw.choice(standing)
            self.bring(Replaces([key]), frozenset(self.there(key)))

    def compact(self) -> None:
        self.attempt(lambda: compact("default"), set())

    def standing(self) -> list[str]:
        found = ImportedFile.objects.standing("default").values_list("key", flat=True)
        return sorted(key for key in found if key in self.imports)

    def undo(self) -> None:
        if standing := self.standing():
            key = self.draw.choice(standing)
            if self.attempt(lambda: undo_import("default", key, "Ada"), self.there(key)):
                self.take_back(self.imports[key])

    def there(self, key: str) -> set[int]:
        """What is, or may be, there of an import: a deletion or an erasure may have taken some of it."""
        return self.imports[key] & (self.must | self.may)

    def take_back(self, numbers: set[int] | frozenset[int]) -> None:
        self.must -= numbers
        self.may -= numbers

    def delete(self) -> None:
        day = 1 + self.draw.randrange(5)
        since, until = (datetime(2024, 5, day + more, tzinfo=UTC) for more in (0, 1))
        gone = {number for number in self.must | self.may if 1 + number % 5 == day}
        self.correct(lambda: delete_events("default", "Ada", Wanted(since=since, until=until)), gone)

    def erase(self) -> None:
        user = f"u{self.draw.randrange(USERS)}"
        gone = {number for number in self.must | self.may if self.users[number] == user}
        self.correct(lambda: delete_people("default", [user], "Ada"), gone)

    def correct(self, work: Callable[[], object], gone: set[int]) -> None:
        def or_nothing() -> None:
            try:
                work()
            except NothingToCorrect:
                assert not self.must & gone or self.harmed, "acknowledged events were not found"

        # What may be there already is not open as a whole.
        if self.attempt(or_nothing, gone & self.must):
            self.take_back(gone)
        elif "died" in self.log[-1]:
            self.split(gone)

    # --- What befalls the database and the folder -------------------------------------------

    def back_up(self) -> None:
        self.backups.append(database())

    def restore(self) -> None:
        if self.backups:
            restore(self.draw.choice(self.backups))
            self.another_process()
            self.perhaps_adopt()

    def switch(self) -> None:
        """SQLite to PostgreSQL or back: a database that knows nothing."""
        another_database()
        self.another_process()
        self.perhaps_adopt()

    def perhaps_adopt(self) -> None:
        if self.draw.random() < 0.6:
            self.attempt(lambda: adopt("default"), set())

    def second_site(self) -> None:
        own = list(Site.objects.all())
        if not own or not Folders("default").files.is_dir() or not list(Folders("default").files.iterdir()):
            return
        Site.objects.update(key="another site's")
        self.another_process()
        for work in (lambda: spool.append("default", [self.event()]), lambda: compact("default")):
            with pytest.raises(Refused):
                work()
        with pytest.raises(Incomplete):
            read_layout("default")
        restored = list(own)
        Site.objects.all().delete()
        Site.objects.bulk_create(restored)
        self.another_process()

    def flip_a_bit(self) -> None:
        folders = Folders("default")
        parts = [folders.files, folders.spool, folders.sealed, folders.manifest]
        paths = sorted(path for part in parts for path in part.rglob("*.*") if path.is_file())
        if paths := [path for path in paths if path.stat().st_size]:
            path = self.draw.choice(paths)
            self.log[-1] += f" ({path.parent.name}/{path.name[:8]}…{path.suffix})"
            self.harmed |= numbers_in(path)
            if path.suffix == ".json" and is_whole(path):
                self.descriptions[path] = path.read_bytes()
            flip(path, self.draw.randrange(8 * path.stat().st_size))

    def grow_old(self) -> None:
        """Backups are older than EVENTS_KEEP_DAYS, and files that were replaced go."""
        self.backups.clear()
        EventFile.objects.filter(state=FileState.RETIRED).update(retired_at=LONG_AGO)

    # --- What must be ------------------------------------------------------------------------

    def look(self) -> None:
        """Do what the documentation says until cohorts can be calculated, and compare."""
        self.another_process()
        found = self.read()
        for remedy in (adopt, check, adopt):
            if found is None:
                remedy("default")
                found = self.read()
        if found is None:
            assert self.harmed, f"nothing was damaged: {problems()}"
            self.from_a_backup()
            adopt("default")
            found = self.read()
        if found is None:
            self.give_up()
            found = self.read()
        assert found is not None, problems()
        assert len(found) == len(set(found)), "counted twice"
        self.compare(set(found))

    def read(self) -> list[int] | None:
        try:
            compact("default")
            layout = read_layout("default")
        except (Incomplete, Refused):
            return None
        if not layout.events:
            return []
        column = layout.number_column("number")
        with duckdb.connect() as connection:
            sql = f'SELECT "{column}" FROM read_parquet($1, union_by_name=true)'
            return [int(row[0]) for row in connection.execute(sql, [list(layout.events)]).fetchall()]

    def from_a_backup(self) -> None:
        """Only descriptions that are damaged: one that was written anew since is of another file, of the same
        batch, and an older copy of it would make that file a damaged one."""
        for path, content in self.descriptions.items():
            if path.exists() and not is_whole(path):
                path.write_bytes(content)
        self.descriptions.clear()

    def give_up(self) -> None:
        for file in EventFile.objects.troubled("default"):
            if file.state == FileState.UNKNOWN:
                (Folders("default").files / file.name).unlink(missing_ok=True)
            else:
                give_up("default", file.name)
        check("default")

    def compare(self, found: set[int]) -> None:
        assert found <= self.must | self.may, f"never acknowledged, or taken back: {found - self.must}"
        missing = self.must - found
        assert missing <= self.harmed, f"lost, and nothing of it was damaged: {missing - self.harmed}"
        for group in self.open:
            left = group & (self.must | self.may) - self.harmed
            assert not left & found or left <= found, f"half of it is there: {left}"
            self.may -= left - found
            self.must |= left & found
        self.open.clear()
        self.may |= missing
        self.must = (self.must | found) - missing


def is_whole(path: Path) -> bool:
    return custody.read_description(Folders("default"), path.name.removesuffix(".json")) is not None


def numbers_in(path: Path) -> set[int]:
    """What a flipped bit in a file may cost; -1 says that there was one, be it in a description."""
    if path.suffix == ".json":
        return {-1}
    if path.suffix == ".jsonl":
        lines = [line for line in path.read_bytes().splitlines() if is_intact(line)]
        return {-1} | {int(orjson.loads(line)["p"]["number"]) for line in lines}
    try:
        with duckdb.connect() as connection:
            columns = connection.execute("DESCRIBE FROM read_parquet($1)", [str(path)]).fetchall()
            [name] = [row[0] for row in columns if row[0].startswith("n") and row[0].endswith("_number")]
            rows = connection.execute(f'SELECT "{name}" FROM read_parquet($1)', [str(path)]).fetchall()
    except (duckdb.Error, ValueError):
        return {-1}
    return {-1} | {int(number) for (number,) in rows}


def problems() -> list[str]:
    return [f"{file.name} {file.problem}" for file in EventFile.objects.troubled("default")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
def test_what_was_acknowledged_is_there_or_named_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(compaction, "FAN", 3)
    play = Play(seed, tmp_path, monkeypatch)
    play.another_process()
    try:
        play.play()
    except BaseException as error:
        error.add_note("; ".join(play.log))
        raise
