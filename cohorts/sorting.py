"""Sorting more user ids than memory should hold."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO

import orjson

CHUNK = 100_000


def sorted_distinct(user_ids: Iterable[str], chunk: int = CHUNK) -> Iterator[str]:
    """Yield the ids in ascending order, each once; at most `chunk` of them are in memory at a time.

    The input is read whole before the first id comes out, so that an error in it is raised before
    anybody acts on a part of it. Sorted runs are kept in temporary files that vanish on their own.
    """
    source = iter(user_ids)
    with ExitStack() as files:
        runs: list[Iterator[str]] = []
        chunk_ids = sorted(set(islice(source, chunk)))
        while chunk_ids:
            following = set(islice(source, chunk))
            if not runs and not following:
                yield from chunk_ids
                return
            runs.append(_stored(files.enter_context(tempfile.TemporaryFile()), chunk_ids))
            chunk_ids = sorted(following)
        last = None
        for user_id in heapq.merge(*runs):
            if user_id != last:
                yield user_id
            last = user_id


def _stored(file: IO[bytes], ids: list[str]) -> Iterator[str]:
    """Write a sorted run as one JSON string a line (an id may hold a line break); return a reader."""
    file.writelines(orjson.dumps(user_id) + b"\n" for user_id in ids)
    file.seek(0)
    return map(orjson.loads, file)
