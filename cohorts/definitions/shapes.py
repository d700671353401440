"""The shapes of JSON that a definition is made of, and how a problem with one is told."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

MAX_TEXT = 1_024
EXACT = 2**53
T = TypeVar("T")


def escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def is_number(value: object) -> bool:
    """A number that a double holds exactly enough to compare: integers up to 2**53, finite floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= EXACT if isinstance(value, int) else abs(value) < float("inf")


class Shapes:
    """Collects problems instead of stopping at the first. A method returns None when it found one."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def wrong(self, path: str, message: str) -> None:
        self.problems.append((path, message))

    # --- Shapes -----------------------------------------------------------------------------

    def mapping(self, value: object, path: str, keys: Iterable[str], what: str) -> Mapping[str, Any] | None:
        """Check that the value is an object of known keys; unknown ones are named, with a suggestion."""
        if not isinstance(value, dict):
            self.wrong(path, f"{what} is an object, not {kind_of(value)}")
            return None
        known = list(keys)
        for key in value:
            if key not in known:
                self.unknown(f"{path}/{escape(str(key))}", str(key), known, what)
        return value

    def unknown(self, path: str, key: str, known: list[str], what: str) -> None:
        near = difflib.get_close_matches(key, known, n=1)
        advice = f'did you mean "{near[0]}"?' if near else "use " + ", ".join(f'"{k}"' for k in known)
        self.wrong(path, f'unknown {what} "{key}"; {advice}')

    def text(self, value: object, path: str, what: str) -> str | None:
        if not isinstance(value, str):
            return self.wrong(path, f"{what} is a string, not {kind_of(value)}")
        if not value:
            return self.wrong(path, f"{what} is empty")
        return value if self.storable(value, path, what) else None

    def storable(self, value: str, path: str, what: str) -> bool:
        if len(value) > MAX_TEXT:
            self.wrong(path, f"{what} is longer than {MAX_TEXT:,} characters")
        elif "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
            self.wrong(path, f"{what} contains a NUL character or a lone surrogate")
        else:
            return True
        return False

    def list_of(
        self, value: object, path: str, what: str, low: int, high: int, one: Callable[[Any, str], T | None]
    ) -> tuple[T, ...] | None:
        if not isinstance(value, list):
            return self.wrong(path, f"{what} is a list, not {kind_of(value)}")
        if not low <= len(value) <= high:
            return self.wrong(path, f"{what} has {low:,} to {high:,} items, not {len(value):,}")
        items = [one(item, f"{path}/{index}") for index, item in enumerate(value)]
        found = tuple(item for item in items if item is not None)
        return found if len(found) == len(items) else None

    def number(self, value: Any, path: str, whole: bool = False) -> int | float | None:
        if not is_number(value):
            return self.wrong(path, f"is a number within 2^53, not {kind_of(value)}: {str(value)[:40]}")
        if whole and type(value) is not int:
            return self.wrong(path, f"is a whole number, not {value}")
        return value  # type: ignore[no-any-return]
