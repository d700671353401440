"""A file of members reads back the same."""

import io

from cohorts import csv_export
from cohorts.tests.ids import WEIRD
from events import file_of_ids


def read(content):
    with file_of_ids.opened(io.BytesIO(content)) as opened:
        return [user_id for block in opened.blocks() for user_id in block]


def test_an_export_reads_back_the_same():
    assert read("".join(csv_export.chunks([WEIRD[:9], WEIRD[9:]])).encode()) == WEIRD
    assert read("".join(csv_export.cell(user_id) + "\n" for user_id in WEIRD).encode()) == WEIRD
