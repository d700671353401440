"""JSON lines: on each a text or an integer, or an object whose keys are the columns."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

from events.tables.errors import InvalidTable
from events.tables.text import BLOCK, SAMPLE, Block, Page, lines_of, pages_of
from events.user_ids import InvalidUserId, check_user_id

ONE_ARRAY = "The file is one JSON array. Write one value a line (JSON lines)."
# The one column of lines that are no objects.
VALUE = "value"


class Lines:
    """The rows of JSON lines. `columns`: the keys of the first objects, in the order of their coming."""

    separator, heading = "", False

    def __init__(self, texts: Iterator[str]) -> None:
        first = next(texts, "")
        self._numbered = _numbered(first, texts)
        sample: list[Any] = []
        for at, line in islice(_numbered(first, iter(())), SAMPLE):
            sample.append(_value(at, line))
        if sample and isinstance(sample[0], list):
            raise InvalidTable(ONE_ARRAY)
        self.objects = bool(sample) and isinstance(sample[0], dict)
        keys = dict.fromkeys(key for value in sample if isinstance(value, dict) for key in value)
        self.columns: Sequence[str] = list(keys) if self.objects else [VALUE]
        self.heading = self.objects
        self.rows = [[_shown(cell) for cell in self._cells(value)] for value in sample]

    def _cells(self, value: Any) -> list[Any]:
        if not self.objects:
            return [value]
        return [value.get(name) for name in self.columns] if isinstance(value, dict) else []

    def values(self) -> Iterator[tuple[int, Any]]:
        """Yield each line's value with the line's number. Raises InvalidTable."""
        for at, line in self._numbered:
            yield at, _value(at, line)

    def blocks(self, column: int) -> Iterator[Block]:
        values, name = self.values(), self.columns[column]
        while page := list(islice(values, BLOCK)):
            ids = [self._id(at, value, name) for at, value in page]
            yield Block(ids, [at for at, _ in page], "Line")

    def pages(self) -> Iterator[Page]:
        yield from pages_of(((at, self._row(at, value)) for at, value in self.values()), "Line")

    def _row(self, at: int, value: Any) -> list[str]:
        if self.objects and not isinstance(value, dict):
            raise InvalidTable(f"Line {at:,} is not a JSON object, as the first line is.")
        return [_shown(cell) for cell in self._cells(value)]

    def _id(self, at: int, value: Any, name: str) -> str:
        if self.objects:
            if not isinstance(value, dict):
                raise InvalidTable(f"Line {at:,} is not a JSON object, as the first line is.")
            value = value.get(name)
        try:
            return check_user_id(value)
        except InvalidUserId as error:
            raise InvalidTable(f"Line {at:,}: the user id {error}.") from None


def looks_like_json(first_line: str) -> bool:
    """Say whether a text whose format nobody named is JSON: its first line is an object or an array."""
    if not first_line.lstrip().startswith(("{", "[")):
        return False
    try:
        return isinstance(orjson.loads(first_line), dict | list)
    except orjson.JSONDecodeError:
        return False


def _numbered(first: str, texts: Iterator[str]) -> Iterator[tuple[int, str]]:
    number = 0
    text: str | None = first
    while text is not None:
        for line in lines_of(text):
            number += 1
            if not line.isspace():
                yield number, line
        text = next(texts, None)


def _value(at: int, line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _by_the_other_parser(at, line)


def _by_the_other_parser(at: int, line: str) -> Any:
    """Return what the stricter parser refuses: a lone surrogate, for instance, is the id's fault."""
    try:
        return json.loads(line)
    except RecursionError:
        raise InvalidTable(f"Line {at:,}: the JSON is nested too deep.") from None
    except ValueError as error:
        if line.lstrip().startswith("["):
            raise InvalidTable(ONE_ARRAY) from None
        raise InvalidTable(f"Line {at:,} is not valid JSON: {error}.") from None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
