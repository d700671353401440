"""What is known of people: named fields of a user id, each with its time; the latest wins.

A profile's fields are the traits that a workspace keeps: there is one store, of what partners send, what
files bring and what scripts say, and whoever keeps it says so by `keep` (`cohortsite.apps`).
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pagekit.identifiers import InvalidIdentifier, clean_email, clean_phone, is_hash

MAX_TEXT = 4_096
MAX_NAME = 255
MOST_VALUES = 100


class InvalidValue(ValueError):
    """The message says what is wrong, as a phrase that follows the field: "has no @"."""


class Refused(Exception):
    """Nothing was kept; the message is for a person."""


class Said(NamedTuple):
    """What is said of a user at a time: values by field. A list is several values; None unsets."""

    user_id: str
    fields: Mapping[str, Any]
    time: datetime


class Value(NamedTuple):
    """What is known of a field, and since when."""

    value: Any
    time: datetime


class Mark(NamedTuple):
    """How far changes of fields are known: a time by our clock, and what the fields were then.

    `fields`: by name, numbers that differ when the field is not the same one any more.
    """

    at: int
    workspace: int
    fields: dict[str, list[int]]


class Store(Protocol):
    """Where profiles are kept, by workspace. Each method raises Refused for a workspace that there is not."""

    def workspaces(self) -> list[str]:
        """Return their names, to choose one; of very many, the first."""

    def knows(self, workspace: str) -> bool:
        """Say whether there is a workspace of this name."""

    def write(self, workspace: str, said: Sequence[Said]) -> int:
        """Keep what is said, unless a later word is kept already; return how many values are new."""

    def of(self, workspace: str, user_id: str) -> dict[str, Value]:
        """Return all that is known of a user, by field."""

    def values_of(
        self, workspace: str, fields: Sequence[str], user_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return the values of these fields by user and field; what is not known is left out."""

    def mark(self, workspace: str, fields: Sequence[str]) -> Mark:
        """Note changes of these fields from now on, and return the mark of now."""

    def changed_since(self, mark: Mark) -> Iterator[str] | None:
        """Yield in user order whose fields changed since a mark, perhaps others too; None: anybody's."""


# Set by the site.
_store: Store | None = None


def keep(store: Store) -> None:
    global _store
    _store = store


def store() -> Store:
    if _store is None:
        raise Refused("This site keeps no profiles.")
    return _store


# --- typed values --------------------------------------------------------------------------------


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise InvalidValue(f"is longer than {MAX_TEXT:,} characters")
    if "\0" in text:
        raise InvalidValue("contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue("contains a lone surrogate") from None
    return unicodedata.normalize("NFC", text)


def _number(text: str) -> int | float:
    try:
        number = float(text)
        if number in (float("inf"), float("-inf")) or number != number:
            raise ValueError
    except ValueError:
        raise InvalidValue("is not a number") from None
    return int(text) if text.strip().lstrip("+-").isdecimal() and len(text.strip()) < 19 else number


def _truth(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in words:
        raise InvalidValue("is neither true nor false")
    return words[text.strip().lower()]


def _hashed_or(clean: Any) -> Any:
    def read(text: str) -> str:
        if is_hash(text.strip()):
            return text.strip().lower()
        try:
            return str(clean(text))
        except InvalidIdentifier as error:
            raise InvalidValue(str(error)) from None

    return read


TYPES: Mapping[str, Any] = {
    "text": _text,
    "email": _hashed_or(clean_email),
    "phone": _hashed_or(clean_phone),
    "number": _number,
    "boolean": _truth,
}
# Fields of these names are of the type of that name, unless another is said.
TYPED = ("email", "phone")


def type_of(field: str) -> str:
    return field if field in TYPED else "text"


def check_name(field: str) -> str:
    """Return the name of a field, or raise InvalidValue."""
    if not field.strip() or len(field) > MAX_NAME:
        raise InvalidValue(f"is no name of 1 to {MAX_NAME} characters")
    return str(_text(field))


def read_text(text: str, kind: str) -> Any:
    """Return the value that a text stands for, of one of TYPES. Raises InvalidValue."""
    return TYPES[kind](_text(text).strip())


def read_value(field: str, value: Any) -> Any:
    """Return a JSON value as it is kept: texts of typed fields in their one form. Raises InvalidValue."""
    if isinstance(value, str):
        return read_text(value, type_of(field)) if type_of(field) != "text" else _text(value)
    if isinstance(value, list):
        if len(value) > MOST_VALUES:
            raise InvalidValue(f"has more than {MOST_VALUES} values")
        return [read_value(field, one) for one in value]
    if type_of(field) != "text" and value is not None:
        raise InvalidValue("is no text")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise InvalidValue("is neither a text, a number, true, false nor a list of them")


def is_hashed(kind: str, value: Any) -> bool:
    """Say whether a value was taken as a hash of what its type says."""
    return kind in TYPED and isinstance(value, str) and is_hash(value)


def write(workspace: str, said: Iterable[Said]) -> int:
    """Keep what is said of users. Raises Refused."""
    return store().write(workspace, list(said))
