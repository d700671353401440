"""Markdown tables whose last column is what the same figure was when it last landed (`landed.json`).

A figure in a document guards nothing: delivery once became half as fast and nobody saw it. Each benchmark
prints the figure that it watches (a ratio, as only those can be compared between days) beside the last
one, and `--land` writes what was measured into the file, to be committed with what the documents say.
"""

import json
import sys
from pathlib import Path
from typing import Any

LANDED = Path(__file__).resolve().parent / "landed.json"


class Table:
    """A table that is printed as its rows come.

    `name` says which table it is, without what differs from run to run; `watched` is one of `columns`.
    The first `keys` cells of a row name it. With --land on the command line, `landed` is brought up to date.
    """

    def __init__(
        self, name: str, *columns: str, watched: str = "", keys: int = 1, landed: Path = LANDED
    ) -> None:
        self.name, self.watched, self.keys, self.landed = name, watched, keys, landed
        self.at = columns.index(watched) if watched else None
        every = json.loads(landed.read_text()) if landed.exists() else {}
        self.before: dict[str, str] = every.get(name, {})
        self._print(*columns, *(["last landed"] if watched else []))
        self._print(*["---"] * (len(columns) + bool(watched)))

    def row(self, *cells: Any) -> None:
        """Print a row, and what its watched figure was when it last landed."""
        if self.at is None:
            self._print(*cells)
            return
        name = " · ".join(str(cell) for cell in cells[: self.keys])
        self._print(*cells, self.before.get(name, "-"))
        if "--land" in sys.argv:
            self._land(name, str(cells[self.at]))

    def _land(self, name: str, figure: str) -> None:
        every = json.loads(self.landed.read_text()) if self.landed.exists() else {}
        every.setdefault(self.name, {})[name] = figure
        self.landed.write_text(json.dumps(every, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @staticmethod
    def _print(*cells: Any) -> None:
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
