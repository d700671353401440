"""The names that a definition asks for, and which of them are not to be used."""

from cohorts.definitions.definition import Definition
from cohorts.definitions.nested import path_of
from events.names import Names, WorkspaceNames

LABELS = {
    "event": "The event",
    "property": "The property of events",
    "user_property": "The property of users",
}


def names_in(definition: Definition, kind: str) -> set[str]:
    """Return the names of a kind, the properties that names lead into among them."""
    found = {
        "event": definition.event_names,
        "property": definition.property_names,
        "user_property": definition.user_property_names,
    }[kind]()
    paths = [] if kind == "event" else map(path_of, found)
    return found | {path.keys[0] for path in paths if path}


def names_of(names: WorkspaceNames, kind: str) -> Names:
    by_kind = {
        "event": names.events,
        "property": names.properties,
        "user_property": names.user_properties,
    }
    return by_kind[kind]


def why_not(definition: Definition, names: WorkspaceNames) -> list[str]:
    """Return a sentence for each name in a definition that is not to be used."""
    return [
        f"{label} “{name}” is not to be used: {why}"
        for kind, label in LABELS.items()
        for name in sorted(names_in(definition, kind))
        if (why := names_of(names, kind).why_not(name))
    ]
