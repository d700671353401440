"""Files of user ids as people make them, at random: taken exactly, or refused with a sentence."""

import bz2
import csv
import gzip
import io
import json
import random
import zipfile
from dataclasses import dataclass

import openpyxl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from events import file_of_ids
from events.tables import Hints, InvalidTable
from events.tables.headings import is_known

pytestmark = pytest.mark.once

NASTY = [
    *(
        "8.21581E+17",
        "55520.0",
        "#N/A",
        "undefined",
        "null",
        "[object Object]",
        " lead",
        "trail ",
        "a,b",
        "a;b",
    ),
    *(
        "a\tb",
        "auth0|5f7c",
        'say "hi"',
        '"',
        "'u1'",
        "two\nlines",
        "cr\rcr",
        "José",
        "Зоя",
        "😀",
        "{}",
        "{'a'}",
    ),
    *(
        "=1+1",
        "\\",
        "back\\slash",
        "\ufeffbom",
        "sep=;",
        "-",
        "---",
        "(2 rows)",
        "%",
        "<b>",
        "é" * 512,
        "\x01",
    ),
    *(
        "0",
        "007",
        "1e5",
        "123e4567-e89b-12d3-a456-426614174000",
        "ann@shop.example",
        "user 1",
        "next\x85line",
        "line\u2028",
    ),
]
plain = st.builds(
    lambda kind, number: kind.format(number),
    st.sampled_from(["u{}", "{}", "u{}@b.de"]),
    st.integers(1, 10**9),
)
user_ids = st.lists(st.one_of(plain, st.sampled_from(NASTY)), min_size=1, max_size=12)
OTHER_HEADINGS = ["name", "Stadt", "first name", "a;b", "x,y", "amount"]
OTHER_CELLS = ["Ann", "", "Ann, the first", "1,5", "x;y", "Zoë", 'the "one"', "two\nlines", "a\tb"]


@dataclass(frozen=True)
class Made:
    content: bytes
    name: str
    ids: list[str]
    how: str


@st.composite
def tables(draw):
    """A table as rows of texts, and its ids. Without a heading the first id is no known one."""
    ids = draw(user_ids)
    width = draw(st.sampled_from([1, 1, 2, 3]))
    at = draw(st.integers(0, width - 1))
    heading = draw(st.sampled_from(["user_id", "distinct_id", "email", "Person.id", "Kundennummer", None]))
    if heading is None:
        assume(not is_known(ids[0]))
    rows = [[draw(st.sampled_from(OTHER_CELLS)) for _ in range(width)] for _ in ids]
    for row, user_id in zip(rows, ids, strict=True):
        row[at] = user_id
    if heading is None:
        # Nor does the file begin with what is a byte-order mark there.
        assume(not any(is_known(cell) or cell.startswith("\ufeff") for cell in rows[0]))
        return ids, rows
    names = draw(st.permutations(OTHER_HEADINGS))[:width]
    names[at] = heading
    return ids, [names, *rows]


@st.composite
def texts(draw):
    ids, rows = draw(tables())
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    written = io.StringIO(newline="")
    if draw(st.booleans()):
        written.write(f"sep={separator}{end}")
    csv.writer(written, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    text = written.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(end)
    encoding = draw(
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252"])
    )
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    return Made(content, "users.csv", ids, f"{separator!r} {end!r} {quoting} {encoding}: {text!r}")


@st.composite
def documents(draw):
    """JSON lines, or a workbook."""
    ids, rows = draw(tables())
    if draw(st.booleans()):
        lines = "\n".join(json.dumps({"user_id": user_id, "n": 1}) for user_id in ids)
        return Made(lines.encode(), draw(st.sampled_from(["a.jsonl", "a.txt"])), ids, lines)
    book = openpyxl.Workbook()
    try:
        for row in rows:
            book.active.append(row)
    except openpyxl.utils.exceptions.IllegalCharacterError:
        assume(False)
    for row in book.active.iter_rows():
        for cell in row:
            cell.data_type = "s"  # an id that begins with = is no formula
    stored = io.BytesIO()
    book.save(stored)
    # A workbook's texts have line feeds only.
    assume("\r" not in "".join(ids))
    return Made(stored.getvalue(), "a.xlsx", ids, f"workbook {rows!r}")


@st.composite
def files(draw):
    made = draw(st.one_of(texts(), texts(), documents()))
    content = made.content
    packing = draw(st.sampled_from(["", "", "", "gzip", "zip", "mac zip", "bz2", "cut zip"]))
    if "gzip" in packing:
        content = gzip.compress(content)
    elif "zip" in packing:
        stored = io.BytesIO()
        with zipfile.ZipFile(stored, "w") as archive:
            archive.writestr(made.name, content)
            if packing == "mac zip":
                archive.writestr(f"__MACOSX/._{made.name}", b"\0")
        content = stored.getvalue()
    elif packing == "bz2":
        content = bz2.compress(content)
    if packing.startswith("cut"):
        content = content[: len(content) * draw(st.integers(50, 99)) // 100]
    return Made(content, made.name, made.ids, f"{packing} {made.how}")


def read(made, hints=None):
    with file_of_ids.opened(io.BytesIO(made.content), name=made.name, hints=hints) as opened:
        return [user_id for block in opened.blocks() for user_id in block]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=files())
def test_a_file_is_taken_exactly_or_refused_with_a_sentence(made):
    try:
        taken = read(made)
    except InvalidTable as refused:
        assert str(refused)[0].isupper() and str(refused).endswith((".", "…"))
        return
    assert taken == made.ids, made.how


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(ids=user_ids, separator=st.sampled_from([",", ";", "\t", "|"]), seed=st.integers(0, 99))
def test_a_well_formed_table_whose_column_is_said_is_taken(ids, separator, seed):
    rows = [["k", "user_id"], *([random.Random(seed).choice(OTHER_CELLS), user_id] for user_id in ids)]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    hints = Hints(column="user_id", heading=True, separator=separator, encoding="utf-8", kind="csv")
    assert read(Made(written.getvalue().encode(), "", ids, ""), hints) == ids
