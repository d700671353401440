"""The reader of tables: what a file is understood to be, and the sentence for what is not certain."""

import gzip
import io
import re
import zipfile
from datetime import date

import duckdb
import openpyxl
import pytest

from events.tables import Hints, InvalidTable, NoSuchColumn, Suspicions, Unsure, open_table
from events.tables.headings import looks_like_heading

pytestmark = pytest.mark.once


def ids(content, name="", **hints):
    with open_table(io.BytesIO(content), name=name, hints=Hints(**hints)) as table:
        return [user_id for block in table.blocks(table.column_of_ids()) for user_id in block.ids]


def understood(content, name="", partial=False, **hints):
    with open_table(io.BytesIO(content), name=name, hints=Hints(**hints), partial=partial) as table:
        return table.understood


def zipped(*members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def workbook(*sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    stored = io.BytesIO()
    book.save(stored)
    return stored.getvalue()


# --- headings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heading",
    [
        *("user_id", "User ID", "userId", "USER-ID", '"user_id"', "$user_id", "distinct_id", "$distinct_id"),
        *("email", "E-Mail", "amplitude_id", "external_id", "Person.id", "users.user_id", "customerId", "id"),
        *("contact id", "anonymous_id", "traits.email", "braze.external_id"),
    ],
)
def test_a_known_heading_is_no_user(heading):
    assert ids(f"{heading}\nu1\nu2".encode()) == ["u1", "u2"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Kundennummer", "1", "2"],
        ["crm_contact_id", "a"],
        ["loyalty card number", "a"],
        ["distinct", "u1", "u2"],
        ["col1", "a@b.de", "c@d.de"],
        ["x1", "77", "78"],
        ["Export of May", "anna", "bert"],
        ["f1", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001"],
    ],
)
def test_a_first_line_that_may_be_a_heading_is_asked_about_and_either_answer_counts(lines):
    content = "\n".join(lines).encode()
    with pytest.raises(Unsure) as error:
        ids(content)
    assert error.value.asks == "heading"
    assert str(error.value) == f"Is the first line, {lines[0]!r}, a heading or a user id? Say which."
    assert ids(content, heading=True) == lines[1:]
    assert ids(content, heading=False) == lines


@pytest.mark.parametrize(
    ("first", "others"),
    [("b", ["a"]), ("anna", ["bert", "carl"]), ("u1", ["u2", "3"]), ("a", ["b1"]), ("42", ["43", "44"])],
)
def test_ids_that_are_like_each_other_need_no_answer(first, others):
    assert not looks_like_heading(first, others)


# --- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_and_the_known_column_taken(separator):
    content = f"name{separator}user_id\nAnn{separator}u1\nBob{separator}u2\n".encode()
    assert ids(content) == ["u1", "u2"]
    known = understood(content)
    assert (known.separator, known.heading, known.columns) == (separator, True, ("name", "user_id"))
    assert known.rows == (("Ann", "u1"), ("Bob", "u2"))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_columns_of_which_none_is_known_are_refused_with_their_names(separator):
    content = f"u1{separator}Ann\nu2{separator}Bob\n".encode()
    with pytest.raises(Unsure) as error:
        ids(content)
    assert error.value.asks == "column"
    assert str(error.value).startswith(
        "The file has 2 columns, of which none is known to hold user ids: u1, Ann."
    )
    assert ids(content, column="1", heading=False) == ["u1", "u2"]
    assert ids(content, column="Ann") == ["Bob"]
    assert ids(content, separator="none") == content.decode().splitlines()


def test_our_own_name_counts_before_other_known_ones_and_two_others_are_asked_about():
    assert ids(b"id,email,user_id\n1,a@b,u1\n") == ["u1"]
    with pytest.raises(Unsure, match="^Several columns may hold the user ids: id, email. Name the one.$"):
        ids(b"id,email\n1,a@b\n")


def test_a_number_names_a_column_once_it_is_said_whether_there_is_a_heading():
    with pytest.raises(Unsure) as error:
        ids(b"kunde;name\n1;Ann\n", column="1")
    assert error.value.asks == "heading"
    assert ids(b"kunde;name\n1;Ann\n", column="1", heading=True) == ["1"]
    with pytest.raises(NoSuchColumn, match="^The file has no column named '3'; it has no heading, and"):
        ids(b"1;Ann\n", column="3", heading=False)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"user_id,name\nu1,Ann, the first\n", "Line 2 has 3 columns; the heading has 2."),
        (b"user_id;name\nu1;Ann\nu2\n", "Line 3 has 1 column; the heading has 2."),
        (b"user_id\nu1\nu2,Ann\n", "Line 3 has 2 columns; name the one with the ids."),
        (b"Export\nuser_id;name\nu1;Ann\n", "The first line has one column, the lines after it have 2, sep"),
        (
            b"user_id\nu1;Ann\nu2;Bob\n",
            "The first line has one column, the lines after it have 2, separated by",
        ),
        (b"a,b;c\nd,e;f\n", "The columns may be separated by commas or semicolons. Say which."),
        (b'[\n"a",\n"b"\n]', "Several"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(content, sentence):
    with pytest.raises(InvalidTable) as error:
        ids(content, name="x.json" if sentence == "Several" else "")
    expected = "The file is one JSON array. Write one value a line" if sentence == "Several" else sentence
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"+---------+\n| user_id |\n+---------+\n| u1      |\n",
            "The file is a table as a terminal prints it.",
        ),
        (
            b" user_id | name \n---------+------\n u1      | Ann\n(1 row)\n",
            "The file is a table as a terminal",
        ),
        (b"user_id\n-------\nu1\n(1 rows affected)\n", "The file is a table as a terminal prints it."),
        (b"{\\rtf1 u1}", "The file is a text of a word processor (RTF)."),
        (b'["u1","u2"]', "The file is one JSON array."),
        (b'[{"user_id":"u1"}]\n', "The file is one JSON array."),
    ],
)
def test_what_is_no_table_of_ids_is_refused_by_what_it_is(content, sentence):
    for name in ("", "x.txt", "x.csv"):
        with pytest.raises(InvalidTable) as error:
            ids(content, name=name)
        assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    "line", ["(1 rows affected)", "2 rows in set (0.00 sec)", "(3 rows)", "7 rows selected."]
)
def test_the_last_line_of_a_printed_result_is_a_suspicious_id(line):
    suspicions = Suspicions()
    suspicions.look(["u1", line, "row 5"], f"u1\n{line}\nrow 5")
    assert suspicions.counts == {"frame": 1}


def test_ids_of_dashes_are_taken_once_a_person_has_said_what_the_first_line_is():
    assert ids(b"-----\nu1\n", heading=False) == ["-----", "u1"]
    assert ids(b"[x]\nu1\n") == ["[x]", "u1"]


def test_ids_of_login_services_with_a_pipe_stay_whole_under_a_heading():
    assert ids(b"user_id\nauth0|1\ngoogle-oauth2|2\n") == ["auth0|1", "google-oauth2|2"]


def test_a_spreadsheets_line_about_its_separator_is_no_row():
    assert ids(b"sep=;\nuser_id;name\nu1;Ann\n") == ["u1"]
    assert ids(b"sep=;\r\nuser_id\r\nu1\r\n") == ["u1"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "end"])
def test_lines_end_in_any_way(end, last):
    content = end.join(["user_id", "u1", "", "u2"]) + (end if last else "")
    assert ids(content.encode()) == ["u1", "u2"]
    table = end.join(["user_id,n", 'u1,"x\ny"', "", "u2,z"]) + (end if last else "")
    assert ids(table.encode()) == ["u1", "u2"]


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"user_id\nu1\ncr\rcr\n", 3), (b"user_id\r\nu1\r\ncr\rcr", 3), (b"user_id\ru1\rtwo\nlines\r", 3)],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_line_that_ends_in_another_way_may_be_a_part_of_an_id_and_is_refused(content, line, quoted):
    end = re.search(rb"[\r\n]+", content)[0]
    if quoted:
        content, line = content.replace(b"u1", b'"u1"'), line
    with pytest.raises(InvalidTable, match=f"^Line {line} ends in another way than the first."):
        ids(content)
    whole = content.replace(b"cr\rcr", b'"cr\rcr"').replace(b"two\nlines", b'"two\nlines"')
    assert ids(whole)[:2] in (["u1", "cr\rcr"], ["u1", "two\nlines"]) and whole.startswith(b"user_id" + end)


def test_line_feeds_with_and_without_carriage_returns_are_both_ends():
    assert ids(b"user_id\nu1\r\nu2\n") == ids(b'user_id\r\n"u1"\nu2\r\n') == ["u1", "u2"]


def test_a_quote_far_on_changes_how_the_rest_is_read_and_nothing_before():
    lines = [f"u{number:07}" for number in range(700_000)]
    lines[650_000] = '"two\nlines"'
    lines[650_001] = 'say ""hi""'
    content = "\n".join(["user_id", *lines]).encode()
    expected = [line.strip('"') if line.startswith('"') else line for line in lines]
    assert ids(content) == expected
    with pytest.raises(InvalidTable, match="^Line 700,003: a quoted cell has no closing quote.$"):
        ids(content + b'\n"open')


# --- encodings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        *(("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16")),
        ("utf-16-be", "utf-16"),
    ],
)
def test_an_encoding_that_is_certain_is_found(encoding, named):
    content = "user_id\nJosé\nu2\nu3\n".encode(encoding)
    assert ids(content) == ["José", "u2", "u3"]
    assert understood(content).encoding == named


def test_windows_1252_is_believed_of_names_and_asked_about_for_ids():
    assert ids("user_id;name\nu1;José\n".encode("windows-1252")) == ["u1"]
    content = "user_id\nJosé\n".encode("windows-1252")
    with pytest.raises(Unsure) as error:
        ids(content)
    assert error.value.asks == "encoding"
    assert ids(content, encoding="windows-1252") == ["José"]


# --- what it is packed as -----------------------------------------------------------------------


def test_an_archive_of_one_file_is_read_and_what_a_mac_adds_is_passed_over():
    packed = zipped(("buyers/users.csv", "user_id\nu1\n"), ("__MACOSX/._users.csv", "x"), (".DS_Store", "x"))
    assert ids(packed) == ["u1"]
    assert understood(packed).packed == "zip: buyers/users.csv"
    assert ids(gzip.compress(b"user_id\nu1\n")) == ["u1"]


def encrypted():
    packed = bytearray(zipped(("a.csv", "u1\n")))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


BAD = {
    "several": (
        zipped(("a.csv", "1"), ("b.csv", "2")),
        "The zip archive holds 2 files: a.csv, b.csv. Pack the",
    ),
    "only a folder": (zipped(("__MACOSX/x", "1")), "The zip archive holds no file."),
    "an empty archive": (zipped(), "The zip archive is empty."),
    "encrypted": (encrypted(), "The zip archive is encrypted. Pack the file without a password."),
    "cut off": (
        zipped(("a.csv", "u1\n" * 99))[:-30],
        "The archive cannot be unpacked: File is not a zip file.",
    ),
    "packed twice": (gzip.compress(gzip.compress(b"u1\n")), "The file is packed twice. Pack it once."),
    "a bomb": (
        gzip.compress(b"user_id\n" + b"a\n" * 30_000_000, 1),
        "The file unpacks to more than",
    ),
    "a bomb in a zip": (
        zipped(("a.csv", b"user_id\n" + b"\n" * 60_000_000)),
        "The file unpacks to more than",
    ),
    "an old workbook": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "The file is a workbook of the old kind (.xls). Save",
    ),
    "a login page": (b"\n<!DOCTYPE html><html>", "The file is a web page or XML, perhaps of a login. Export"),
    "a PDF": (b"%PDF-1.7", "The file is a PDF. Export the ids as CSV."),
    "another packer": (b"BZh91AY&SY", "The file is packed with bzip2. Pack it with gzip or zip."),
    "a document": (
        zipped(("mimetype", "x"), ("content.xml", "")),
        "The file is a document of a program that",
    ),
    "a broken workbook": (
        zipped(("xl/workbook.xml", "<")),
        "The workbook cannot be read (KeyError). Save it as",
    ),
    "broken Parquet": (b"PAR1 no more", "The Parquet file cannot be read: "),
    "NUL": (b"a\0b\n", "Line 1 contains a NUL character: this is not a text file."),
    "a long line": (b"a\n" + b"x" * (2 << 20), "Line 2 is longer than 1,048,576 characters."),
    "blank beginning": (
        b"\n" * 300_000 + b"u1\n",
        "The file begins with nothing but blank lines. Remove them.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_reported_in_a_sentence(name):
    content, sentence = BAD[name]
    with pytest.raises(InvalidTable) as error:
        ids(content)
    assert str(error.value).startswith(sentence)


# --- workbooks, Parquet, JSON lines -------------------------------------------------------------


def test_a_workbook_is_read_by_its_first_sheet_or_the_one_that_is_named():
    rows = [
        ["name", "user_id"],
        ["Ann", 7],
        [None, None],
        ["Bob", "u2"],
        ["Cem", 8.0],
        ["Dan", 821581000000000000],
    ]
    book = workbook(("People", rows), ("Notes", [["user_id"], ["other"]]))
    assert ids(book) == ["7", "u2", "8", "8.21581E+17"]
    known = understood(book)
    assert (known.kind, known.sheet, known.sheets) == ("xlsx", "People", 2)
    assert known.sentence() == "A workbook, sheet “People”, the first of 2, with the heading name, user_id"
    assert ids(book, sheet="Notes") == ["other"]
    with pytest.raises(InvalidTable, match="^The workbook has no sheet 'X'; it has: People, Notes.$"):
        ids(book, sheet="X")


def test_a_workbook_may_be_packed_once_more_and_an_archive_may_not():
    book = workbook(("People", [["user_id"], ["u1"]]))
    assert ids(zipped(("a.xlsx", book))) == ids(gzip.compress(book)) == ["u1"]
    for packed in (zipped(("a.zip", zipped(("a.csv", "u1")))), gzip.compress(zipped(("a.csv", "u1")))):
        with pytest.raises(InvalidTable, match="^The file is packed twice. Pack it once.$"):
            ids(packed)
    bomb = zipped(("xl/workbook.xml", ""), ("xl/sharedStrings.xml", b" " * 60_000_000))
    with pytest.raises(InvalidTable, match="^The file unpacks to more than"):
        ids(bomb)


def test_cells_of_a_workbook_are_texts_as_people_see_them():
    book = workbook(("S", [["user_id"], [True], [1.5], [date(2024, 5, 1)], ["#N/A"], [" x "]]))
    assert ids(book) == ["TRUE", "1.5", "2024-05-01T00:00:00", "#N/A", " x "]


def test_parquet_is_read_by_name_and_a_column_of_numbers_with_decimals_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    duckdb.sql(
        "SELECT * FROM (VALUES ('u1', 7::BIGINT, 1.5::DOUBLE), ('u2', NULL, 2)) t(user_id, n, f)"
    ).write_parquet(str(path))
    content = path.read_bytes()
    assert ids(content) == ["u1", "u2"]
    assert ids(content, column="n") == ["7", ""]
    assert understood(content).columns == ("user_id", "n", "f")
    with pytest.raises(InvalidTable, match="^The column 'f' holds DOUBLE, neither texts nor whole numbers.$"):
        ids(content, column="f")


def test_whole_numbers_that_a_warehouse_writes_as_decimals_are_ids(tmp_path):
    path = tmp_path / "x.parquet"
    duckdb.sql("SELECT 12345678901234567890::DECIMAL(38,0) AS user_id, 7.0::DECIMAL(9,1) AS d").write_parquet(
        str(path)
    )
    assert ids(path.read_bytes()) == ["12345678901234567890"]
    with pytest.raises(InvalidTable, match="holds DECIMAL"):
        ids(path.read_bytes(), column="d")


def test_json_lines_are_texts_numbers_or_objects():
    assert ids(b'"a\\nb"\n7\n\n"c"\n', kind="jsonl") == ["a\nb", "7", "c"]
    assert ids(b'{"n": 1, "user_id": "u1"}\n{"user_id": 7}\n') == ["u1", "7"]
    with pytest.raises(InvalidTable, match="^Line 2: the user id is neither a string nor an integer.$"):
        ids(b'{"user_id": "u1"}\n{"user_id": 55520.0}\n')
    with pytest.raises(InvalidTable, match="^Line 2 is not a JSON object, as the first line is.$"):
        ids(b'{"user_id": "u1"}\n"u2"\n')


def test_texts_in_quotes_are_csv_until_a_backslash_makes_a_difference():
    assert ids(b'"a"\n"b"\n') == ["a", "b"]
    content = b'"a"\n"b\\\\c"\n'
    with pytest.raises(Unsure) as error:
        ids(content)
    assert error.value.asks == "kind"
    assert ids(content, kind="csv") == ["a", "b\\\\c"]
    assert ids(content, name="users.csv") == ["a", "b\\\\c"]
    assert ids(content, kind="jsonl") == ids(content, name="x.jsonl") == ["a", "b\\c"]


# --- a look at a part ---------------------------------------------------------------------------


def test_the_beginning_of_a_file_is_understood_and_its_cut_line_is_left_out():
    known = understood(b"user_id;name\nu1;Ann\nu2;Bo", partial=True)
    assert (known.columns, known.rows) == (("user_id", "name"), (("u1", "Ann"),))
    packed = gzip.compress(b"".join(b"u%d,%d\n" % (n, n * 7919 % 104729) for n in range(200_000)))
    known = understood(packed[:50_000], partial=True, heading=False)
    assert known.columns == ("column 1", "column 2") and known.packed == "gzip"
    with pytest.raises(InvalidTable, match="^An archive or a workbook cannot be shown before all of it is"):
        understood(zipped(("a.csv", "1"))[:40], partial=True)
