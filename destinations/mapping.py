"""Whom a destination knows people by, and what it is sent of them: from a user's fields to identifiers. Pure.

    identifiers    [{"field": "email", "filters": ["email", "sha256"], "as": "email_sha256"}, …]
    traits         [{"field": "plan", "as": "tier"}, …]

A field is one of a profile, or `user_id`. Filters are those of templates (`filters`) and two that know what
they are given: `email` and `phone`. A value that is a SHA-256 already is not hashed again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

from destinations import filters
from pagekit.identifiers import InvalidIdentifier, clean_email, clean_phone, is_hash

USER_ID = "user_id"
FIRST, EVERY = "first", "all"
MAX_BYTES = 1024
MOST = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


class Unsuitable(ValueError):
    """A value from which no identifier can be made; the message follows the field's name: "has no @"."""


# `phone` may have a region after a colon, of numbers that say no country: phone:DE.
PHONE = "phone"
OWN: Mapping[str, Callable[[str], str]] = {"email": clean_email, PHONE: clean_phone}
FILTERS = {**OWN, **filters.FILTERS}
# How often it was changed what a filter makes of a text: another number is another mapping.
REVISED = {"gmail": 1}


def problem_with(name: str) -> str:
    """Return what is wrong with the name of a filter, or ''."""
    base, _, region = name.partition(":")
    if name in FILTERS or base == PHONE and re.fullmatch("[A-Z]{2}", region):
        return ""
    close = get_close_matches(name, FILTERS, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"There is no filter {name!r}{meant} Known: {', '.join(FILTERS)}, phone:DE."


@cache
def prepared(names: tuple[str, ...]) -> Callable[[str], str]:
    """Return what these filters, one after the other, make of a text; it raises Unsuitable."""
    steps = [_step(name) for name in names]
    hashes = "sha256" in names

    def apply_all(text: str) -> str:
        if hashes and is_hash(text.strip()):
            return text.strip().lower()
        try:
            for step in steps:
                text = step(text)
        except InvalidIdentifier as error:
            raise Unsuitable(str(error)) from None
        return text

    return apply_all


def _step(name: str) -> Callable[[str], str]:
    base, _, region = name.partition(":")
    return partial(clean_phone, region=region) if base == PHONE else FILTERS[name]


def apply(names: Sequence[str], text: str) -> str:
    """Return the text as a partner is sent it. Raises Unsuitable."""
    return prepared(tuple(names))(text)


def _check(text: str) -> str:
    """Return a text that can be a key. Raises Unsuitable."""
    if not text or text.isspace():
        raise Unsuitable("is blank")
    if "\0" in text:
        raise Unsuitable("contains a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Unsuitable("contains a lone surrogate") from None
    if size > MAX_BYTES:
        raise Unsuitable(f"is longer than {MAX_BYTES:,} bytes")
    return text


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a user, what is done to its values, and what it is called at the partner."""

    field: str
    filters: tuple[str, ...] = ()
    name: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Field":
        return cls(given["field"], tuple(given.get("filters", ())), given.get("as") or given["field"])


@dataclass(frozen=True, slots=True)
class Sendable:
    """Whom a partner knows a user by: identifiers with what they are called; or none, and why."""

    identifiers: Mapping[str, str]
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class PeopleMapping:
    """What a destination says of people. Without identifiers it knows them by our user id."""

    identifiers: tuple[Field, ...] = (Field(USER_ID, (), USER_ID),)
    every: bool = False
    traits: tuple[Field, ...] = ()
    workspace: str = ""
    consent: str = ""

    @property
    def fields(self) -> list[str]:
        """Return the fields of profiles that it asks for."""
        asked = {one.field for one in (*self.identifiers, *self.traits)} | {self.consent}
        return sorted(asked - {USER_ID, ""})

    @property
    def digest(self) -> str:
        """Return what differs when another mapping would send something else."""
        parts = [
            [[one.field, one.filters, one.name] for one in fields]
            for fields in (self.identifiers, self.traits)
        ]
        used = {name for one in (*self.identifiers, *self.traits) for name in one.filters}
        revised = [(name, REVISED[name]) for name in sorted(used & REVISED.keys())]
        text = json.dumps([*parts, self.every, self.workspace, self.consent, *revised])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def sendable(self, user_id: str, fields: Mapping[str, Any]) -> Sendable:
        """Return whom the partner knows a user by, of whom these fields are known."""
        if self.consent and fields.get(self.consent) is not True:
            return Sendable({}, f"{self.consent} is not true")
        found: dict[str, str] = {}
        problems = []
        for one in self.identifiers:
            values = [user_id] if one.field == USER_ID else _several(fields.get(one.field))
            for value in values:
                try:
                    found.setdefault(_check(apply(one.filters, _as_text(value))), one.name)
                except Unsuitable as error:
                    problems.append(f"{one.field} {error}")
            if found and not self.every:
                break
        if found:
            return Sendable(found)
        names = " nor ".join(dict.fromkeys(one.field for one in self.identifiers))
        return Sendable({}, "; ".join(problems) or f"there is no {names}")

    def traits_of(self, user_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what goes along with a user, by its name at the partner; what is not known is left out."""
        known = {**fields, USER_ID: user_id}
        found: dict[str, Any] = {}
        for one in self.traits:
            value = known.get(one.field)
            if value is None:
                continue
            try:
                found[one.name] = apply(one.filters, _as_text(value)) if one.filters else value
            except Unsuitable:
                continue
        return found


PLAIN = PeopleMapping()


def fields_of(given: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    return tuple(Field.of(one) for one in given)


def _several(value: Any) -> list[Any]:
    several = value if isinstance(value, list) else [value]
    return [one for one in several if one is not None and one != ""]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def problems_with(given: Any, *, identifiers: bool) -> list[str]:
    """Return what is wrong with a list of fields as people write it."""
    if not isinstance(given, list) or len(given) > MOST:
        return [f'Must be a list of at most {MOST}: [{{"field": "email", "filters": ["email", "sha256"]}}].']
    found: list[str] = []
    for one in given:
        found += _problems_of(one)
    if not found and not identifiers:
        names = [Field.of(one).name for one in given]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            found.append(f"Two of them are called {twice!r}: one would hide the other.")
        found += [f'{name!r} is no name: say "as".' for name in names if not _NAME.fullmatch(name)]
    return found


def _problems_of(one: Any) -> list[str]:
    if not isinstance(one, dict) or not isinstance(one.get("field"), str) or not one["field"].strip():
        return ['Each is an object with a "field".']
    if unknown := sorted(one.keys() - {"field", "filters", "as"}):
        return [f"{unknown[0]!r} is none of field, filters and as."]
    names, called = one.get("filters", []), one.get("as", "")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ['"filters" is a list of names: ["email", "sha256"].']
    if not isinstance(called, str) or len(called) > 50 or "\0" in called + one["field"]:
        return ['"as" is a name of at most 50 characters.']
    return [problem for name in names if (problem := problem_with(name))]
