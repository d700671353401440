"""Writing user ids as CSV, one a line under a heading, so that `file_of_ids` reads the same ids back."""

from collections.abc import Iterable, Iterator

# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What a reader may take for the end of a cell: the separators that are looked for are among them.
SPECIAL = ',;\t"\r\n'
HEADING = "user_id\n"


def cell(user_id: str, *, for_spreadsheet: bool = False) -> str:
    """Return the user id as a CSV cell, quoted where needed.

    Not `csv.writer`: before Python 3.13 it leaves a carriage return bare, which reads back as a new
    line. `for_spreadsheet`: an id that a spreadsheet would calculate gets an apostrophe before it, so
    that it is text; such a file does not read back the same.
    """
    if for_spreadsheet and user_id.startswith(FORMULA):
        user_id = f"'{user_id}"
    if any(special in user_id for special in SPECIAL):
        return '"' + user_id.replace('"', '""') + '"'
    return user_id


def chunks(user_ids: Iterable[str], *, for_spreadsheet: bool = False, size: int = 1_000) -> Iterator[str]:
    """Yield the lines of a file with a header, some at a time: a chunk for each id is slow to send."""
    lines = [HEADING]
    for user_id in user_ids:
        lines.append(cell(user_id, for_spreadsheet=for_spreadsheet) + "\n")
        if len(lines) >= size:
            yield "".join(lines)
            lines = []
    yield "".join(lines)
