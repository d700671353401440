"""Sorting more ids than memory should hold."""

from itertools import islice

import pytest

from cohorts.sorting import sorted_distinct
from cohorts.tests.ids import WEIRD
from events.tables import InvalidTable


@pytest.mark.parametrize("chunk", [1, 2, 7, 45, 1000])
def test_more_ids_than_memory_holds_are_sorted_and_made_distinct(chunk):
    assert list(sorted_distinct([*WEIRD, *reversed(WEIRD), *WEIRD], chunk)) == sorted(WEIRD)
    assert list(sorted_distinct([], chunk)) == []


def test_an_error_in_the_input_comes_before_the_first_id():
    def ids():
        yield from WEIRD
        raise InvalidTable("at the end")

    with pytest.raises(InvalidTable):
        next(sorted_distinct(ids(), 3))


def test_sorting_holds_no_more_than_a_chunk_or_two_at_a_time():
    held = 0

    def ids():
        nonlocal held
        for number in range(1_000):
            held += 1
            yield f"{number:05}"

    source = iter(ids())
    result = sorted_distinct(source, 10)
    assert list(islice(result, 3)) == ["00000", "00001", "00002"]
    assert held == 1_000
