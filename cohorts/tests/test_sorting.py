"""Sorting more ids than memory should hold."""

import pytest

from cohorts import sorting
from cohorts.sorting import sorted_distinct
from cohorts.tests.ids import WEIRD
from events.tables import InvalidTable


def flat(blocks):
    return [user_id for block in blocks for user_id in block]


def blocks_of(ids, size):
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@pytest.mark.parametrize("chunk", [0, 2, 45, 1000])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_more_ids_than_memory_holds_are_sorted_and_made_distinct(chunk, size):
    ids = [*WEIRD, *reversed(WEIRD), *WEIRD, *LOWER]
    assert flat(sorted_distinct(blocks_of(ids, size), chunk)) == sorted({*ids})
    assert flat(sorted_distinct([], chunk)) == []


# Each control character before, between and after others, and alone.
LOWER = [
    before + chr(low) + after for low in range(1, 32) for before in ("", "a") for after in ("", "b", "\x01")
]


def test_one_that_begins_like_a_byte_order_mark_is_first_or_last():
    ids = ["\ufeffz", "\ufeffa", "\ufeff"]
    assert flat(sorted_distinct([ids], 0)) == sorted(ids)


def test_many_blocks_of_repeats_are_distinct(monkeypatch):
    monkeypatch.setattr(sorting, "READ", 64)
    ids = [f"u{number % 97:03}" for number in range(3_000)]
    assert flat(sorted_distinct(blocks_of(ids, 100), 500)) == sorted({*ids})


@pytest.mark.parametrize("chunk", [3, 10_000])
def test_an_error_in_the_input_comes_before_the_first_id(chunk):
    def blocks():
        yield from blocks_of(WEIRD, 5)
        raise InvalidTable("at the end")

    with pytest.raises(InvalidTable):
        next(sorted_distinct(blocks(), chunk))
