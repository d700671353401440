"""What people decided about the names of events and properties: values (naming.py keeps them)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class InvalidName(ValueError):
    """What is to be decided about a name makes no sense; the message says why."""


def check_text(name: str) -> None:
    """Raise InvalidName unless this can be the name of an event or a property."""
    if not name.strip() or len(name) > 255 or "\0" in name:
        raise InvalidName("A name has 1 to 255 characters, and no NUL among them.")
    if name == "*":
        raise InvalidName('"*" stands for any event: it is no name.')


@dataclass(frozen=True)
class Names:
    """Of one kind: what names that came are called now, which are hidden, and which why not to be used."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    forbidden: Mapping[str, str] = field(default_factory=dict)

    def current(self, name: str) -> str:
        return self.renamed.get(name, name)

    def stored(self, name: str) -> tuple[str, ...]:
        """The names under which files and tables have it: the one that it has now first."""
        now = self.current(name)
        return (now, *sorted(old for old, new in self.renamed.items() if new == now))

    def is_offered(self, name: str) -> bool:
        """Whether forms suggest it."""
        return name not in self.hidden and name not in self.forbidden

    def why_not(self, name: str) -> str:
        """Why it is not to be used, by this name or the one that it has now; empty when it may be."""
        return self.forbidden.get(name, "") or self.forbidden.get(self.current(name), "")


@dataclass(frozen=True)
class WorkspaceNames:
    events: Names = Names()
    properties: Names = Names()
    user_properties: Names = Names()


AS_THEY_CAME = WorkspaceNames()
