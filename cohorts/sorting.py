"""Sorting more user ids than memory should hold, in blocks."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import eq
from pathlib import Path

# Ids that are sorted in memory; more are sorted by the engine, on disk.
CHUNK = 200_000
BLOCK = 10_000
MEMORY = "128MB"
READ = 1 << 20
# Line breaks end an id in the engine's file. They and what sorts among them are written as two characters.
LOW = "".join(map(chr, range(1, 14)))
_LOW, _WRITTEN = re.compile(f"[{LOW}]"), re.compile("\x01(.)")
# Comes before every id, and keeps the first of them from being taken for a byte-order mark.
FIRST = "\x01\x20"


def sorted_distinct(blocks: Iterable[Sequence[str]], chunk: int = CHUNK) -> Iterator[Sequence[str]]:
    """Yield the ids in ascending order, each once, in blocks.

    The input is read whole before the first id comes out, so that an error in it is raised before
    anybody acts on a part of it. Beyond `chunk` ids they lie in temporary files that vanish on their own.
    """
    source = iter(blocks)
    held: list[str] = []
    for block in source:
        held += block
        if len(held) > chunk:
            yield from _sorted_on_disk(chain([held], source))
            return
    ids = sorted(set(held))
    del held
    for start in range(0, len(ids), BLOCK):
        yield ids[start : start + BLOCK]


def _sorted_on_disk(blocks: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    # Only who brings so many pays for loading the engine.
    import duckdb

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unsorted, in_order = folder / "unsorted", folder / "sorted"
        with unsorted.open("wb") as file:
            file.write(f"{FIRST}\n".encode())
            for block in blocks:
                file.write(_lines(block))
        options: dict[str, str | bool | int | float | list[str]] = {
            "threads": 2,
            "memory_limit": MEMORY,
            "temp_directory": str(folder / "runs"),
        }
        with duckdb.connect(config=options) as connection:
            lines = (
                f"read_csv({_quoted(unsorted)}, columns = {{'id': 'VARCHAR'}}, header = false, delim = '', "
                "quote = '', escape = '', auto_detect = false, max_line_size = 16384)"
            )
            as_they_are = "(FORMAT csv, HEADER false, DELIMITER '', QUOTE '', ESCAPE '')"
            connection.execute(
                f"COPY (SELECT id FROM {lines} ORDER BY id) TO {_quoted(in_order)} {as_they_are}"
            )
        unsorted.unlink()
        yield from _distinct(_read(in_order))


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _lines(ids: Sequence[str]) -> bytes:
    """Return ids as lines whose order, byte for byte, is that of the ids, line breaks within them too."""
    text = "\n".join(ids)
    if text.count("\n") >= len(ids) or any(low in text for low in LOW if low != "\n"):
        text = "\n".join(_LOW.sub(lambda low: f"\x01{chr(ord(low[0]) + 32)}", user_id) for user_id in ids)
    return (text + "\n").encode()


def _read(path: Path) -> Iterator[list[str]]:
    """Yield the ids of a sorted file, but the one that was put before them."""
    rest = b""
    with path.open("rb") as file:
        file.readline()
        while chunk := file.read(READ):
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            if not end:
                continue
            text = whole.decode()
            ids = text.split("\n")
            if "\x01" in text:
                ids = [_WRITTEN.sub(lambda two: chr(ord(two[1]) - 32), user_id) for user_id in ids]
            yield ids


def _distinct(blocks: Iterable[list[str]]) -> Iterator[Sequence[str]]:
    last = ""
    for block in blocks:
        if any(map(eq, block, islice(block, 1, None))) or block[0] == last:
            block = [user_id for user_id in dict.fromkeys(block) if user_id != last]
        if block:
            last = block[-1]
            yield block
