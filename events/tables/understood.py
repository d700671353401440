"""What a person may say about a file, and what was understood of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
NO_SEPARATOR = "none"
# What a person may call a separator.
SEPARATOR_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "none": NO_SEPARATOR}
ENCODINGS = ("utf-8", "utf-16", "windows-1252")
KINDS = ("csv", "jsonl", "xlsx", "parquet")


@dataclass(frozen=True, slots=True)
class Hints:
    """What is said about a file; empty or None is found out, and refused where it is not sure.

    `column`: the heading of the column with the ids, or its number from 1 on where there is no
    heading. `separator`: a key of SEPARATORS, or NO_SEPARATOR when each line is one id as it stands.
    `encoding`: one of ENCODINGS. `kind`: one of KINDS. `sheet`: a name; empty is the first.
    """

    column: str = ""
    heading: bool | None = None
    separator: str = ""
    encoding: str = ""
    kind: str = ""
    sheet: str = ""


@dataclass(frozen=True, slots=True)
class Understood:
    """What a file is. `rows`: the first rows after the heading. Without a heading columns are numbered."""

    kind: str
    packed: str = ""
    encoding: str = ""
    separator: str = ""
    heading: bool = False
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    sheet: str = ""
    sheets: int = 0
    # The text is not UTF-8: an id beyond ASCII is refused until somebody says what it is.
    guessed_encoding: bool = False
    # Each line is a text in quotes, which CSV and JSON lines read alike but for a backslash.
    maybe_json: bool = False

    def as_json(self) -> dict[str, Any]:
        names = ("kind", "packed", "encoding", "separator", "heading", "columns", "rows", "sheet", "sheets")
        known = asdict(self)
        return {name: known[name] for name in names}

    def sentence(self) -> str:
        """Return one line: `CSV in utf-8, separated by semicolons, with a heading: user_id, name`."""
        parts = [
            {"csv": "Text", "jsonl": "JSON lines", "xlsx": "A workbook", "parquet": "Parquet"}[self.kind]
        ]
        if self.encoding:
            parts[0] += f" in {self.encoding}"
        if self.packed:
            parts.append(f"packed ({self.packed})")
        if self.sheet:
            of = f", the first of {self.sheets}" if self.sheets > 1 else ""
            parts.append(f"sheet “{self.sheet}”{of}")
        if self.separator:
            parts.append(f"separated by {SEPARATORS[self.separator]}")
        elif self.kind == "csv":
            parts.append("one id a line")
        parts.append(f"with the heading {named(self.columns)}" if self.heading else "without a heading")
        return ", ".join(parts)


def named(columns: Sequence[str]) -> str:
    shown = ", ".join(column[:50] for column in columns[:20])
    return f"{shown} …" if len(columns) > 20 else shown
