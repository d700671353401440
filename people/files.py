"""Putting a file of people on the list of suppressed people, or taking them off it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from events import file_of_ids
from events.tables import Hints
from people.suppression import Entry, InvalidEntry, entry_of

# Of values that name nobody, this many are shown.
SHOWN = 5


@dataclass
class Invalid:
    """Values that name nobody: how many, and a sentence about each of the first."""

    count: int = 0
    sentences: list[str] = field(default_factory=list)

    def note(self, error: InvalidEntry) -> None:
        self.count += 1
        if len(self.sentences) < SHOWN:
            self.sentences.append(str(error))

    def sentence(self) -> str:
        more = f" And {self.count - SHOWN:,} more." if self.count > SHOWN else ""
        return " ".join(self.sentences) + more


def use_file(
    file: IO[bytes],
    use: Callable[[Iterable[Entry]], int],
    *,
    kind: str,
    name: str = "",
    hints: Hints | None = None,
    skip_invalid: bool = False,
) -> tuple[int, Invalid]:
    """Read people from a file and hand them to `use`; return what it returned, and who was skipped.

    The file is read twice, so that a value that names nobody is found before anything changes: it raises
    InvalidEntry unless such values are to be skipped. Raises InvalidTable for what is no such file.
    """
    invalid = Invalid()
    for _ in _entries(file, kind, name, hints, invalid):
        pass
    if invalid.count and not skip_invalid:
        raise InvalidEntry(f"{invalid.sentence()} Nothing was changed.")
    file.seek(0)
    return use(_entries(file, kind, name, hints, Invalid())), invalid


def entries_of(kind: str, texts: Iterable[object], invalid: Invalid) -> Iterator[Entry]:
    """Yield the people that texts name; those that name nobody are noted."""
    for text in texts:
        try:
            yield entry_of(kind, text)
        except InvalidEntry as error:
            invalid.note(error)


def _entries(file: IO[bytes], kind: str, name: str, hints: Hints | None, invalid: Invalid) -> Iterator[Entry]:
    with file_of_ids.opened(file, name=name, hints=hints) as opened:
        for block in opened.blocks():
            yield from entries_of(kind, block, invalid)
