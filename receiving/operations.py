"""Amplitude's operations on user properties, as its docs on the Identify API define them.

`$set` and `$unset` say what a property is, whatever it was; they are plain values. The others build on what
the user has; they are applied in the order in which they happened.
"""

from collections.abc import Callable
from typing import Any

from receiving.shapes import BadField, Operation

# A property that was unset: told from null, which a sender can set.
GONE = object()
SET, UNSET, CLEAR_ALL = "$set", "$unset", "$clearAll"


def read_operations(
    properties: dict[str, Any], *, only: bool
) -> tuple[dict[str, Any], tuple[Operation, ...]]:
    """Return plain values and operations of an event's user properties. Raises BadField.

    Without operations the properties are plain values themselves. With `only`, as an `$identify` has it, a
    name that begins with a dollar is an operation, or refused.
    """
    values: dict[str, Any] = {}
    operations: list[Operation] = []
    is_operated = only and any(name.startswith("$") for name in properties) or bool(KNOWN & properties.keys())
    for name, value in properties.items():
        if not is_operated or not name.startswith("$"):
            values[name] = value
        elif name == CLEAR_ALL:
            operations.insert(0, Operation(CLEAR_ALL, "", None))
        elif name not in KNOWN:
            raise BadField(f"user_properties.{name[:50]}", "is no operation that is known here")
        elif not isinstance(value, dict):
            raise BadField(f"user_properties.{name}", "is not an object")
        elif name == SET:
            values |= value
        elif name == UNSET:
            values |= dict.fromkeys(value, GONE)
        else:
            operations += [_operation(name, trait, given) for trait, given in value.items()]
    return values, tuple(operations)


def _operation(name: str, trait: str, value: Any) -> Operation:
    if name == "$add" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise BadField(f"user_properties.$add.{trait[:50]}", "is not a number")
    return Operation(name, trait, value)


def operate(operation: Operation, old: Any) -> Any:
    """Return the property's new value; `old` is GONE when there is none."""
    return BUILDS[operation.name](None if old is GONE else old, operation.value)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _add(old: Any, value: Any) -> Any:
    return value if isinstance(old, bool) or not isinstance(old, (int, float)) else old + value


def _remove(old: Any, value: Any) -> Any:
    return [one for one in _listed(old) if one not in _listed(value)]


def _missing(old: Any, value: Any) -> list[Any]:
    return [one for one in _listed(value) if one not in _listed(old)]


BUILDS: dict[str, Callable[[Any, Any], Any]] = {
    "$setOnce": lambda old, value: value if old is None else old,
    "$add": _add,
    "$append": lambda old, value: [*_listed(old), *_listed(value)],
    "$prepend": lambda old, value: [*_listed(value), *_listed(old)],
    "$preInsert": lambda old, value: [*_missing(old, value), *_listed(old)],
    "$postInsert": lambda old, value: [*_listed(old), *_missing(old, value)],
    "$remove": _remove,
}
KNOWN = frozenset({SET, UNSET, CLEAR_ALL, *BUILDS})
