"""A user as a partner knows them: the text by which, what kind of text it is, and what goes along. Pure."""

from collections.abc import Mapping
from typing import Any


class Known(str):
    """An identifier as it is sent. A plain text is one of whom nothing more is said: see `type_of`."""

    __slots__ = ("traits", "type")

    type: str
    traits: Mapping[str, Any]

    @classmethod
    def of(cls, identifier: str, kind: str, traits: Mapping[str, Any]) -> "Known":
        known = cls(identifier)
        known.type, known.traits = kind, traits
        return known


def type_of(user: str) -> str:
    """Return what the identifier is called at the partner; '' where nothing says that."""
    return user.type if isinstance(user, Known) else ""


def traits_of(user: str) -> Mapping[str, Any]:
    return user.traits if isinstance(user, Known) else {}
