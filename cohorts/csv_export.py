"""Writing user ids as CSV, one a line under a heading, so that `file_of_ids` reads the same ids back."""

from collections.abc import Iterable, Iterator, Sequence

# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
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


def chunks(pages: Iterable[Sequence[str]], *, for_spreadsheet: bool = False) -> Iterator[str]:
    """Yield the lines of a file with a header, a page of user ids at a time."""
    yield HEADING
    for page in pages:
        text = "\n".join(page)
        plain = text.count("\n") < len(page) and not any(
            special in text for special in SPECIAL if special != "\n"
        )
        if plain and not for_spreadsheet:
            yield f"{text}\n"
        else:
            yield "".join(f"{cell(user_id, for_spreadsheet=for_spreadsheet)}\n" for user_id in page)
