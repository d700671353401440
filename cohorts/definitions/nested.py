"""A name that leads into a property: `cart.total`, `items[].sku`."""

from typing import NamedTuple

from events.names import Names


class Path(NamedTuple):
    """`keys` from the property on. With `each`, they lead to a list, of whose elements that is asked."""

    keys: tuple[str, ...]
    each: tuple[str, ...] = ()

    @property
    def inside(self) -> str:
        """The JSON path from the property on: `$."total"`, `$[*]."sku"`."""
        return "$" + steps(self.keys[1:]) + (f"[*]{steps(self.each)}" if self.each else "")


def steps(keys: tuple[str, ...]) -> str:
    return "".join(f'."{key}"' for key in keys)


def path_of(name: str) -> Path | None:
    """Return where a name leads; None when it only names a property itself.

    A property of that very name comes first: whoever sent `a.b` means it.
    """
    before, each, after = name.partition("[].")
    keys, rest = before.split("."), after.split(".") if each else []
    if len(keys) + len(rest) < 2 or not all(map(is_key, [*keys, *rest])):
        return None
    return Path(tuple(keys), tuple(rest))


def spellings(name: str, names: Names) -> tuple[str, ...]:
    """Return all that a name may be in files and tables, the first that has a value counts: what the property
    is called now, what it was called, and the same with the names of the property that it leads into."""
    found: list[str] = []
    for stored in names.stored(name):
        path = path_of(stored)
        outer = path.keys[0] if path else stored
        heads = [head for head in names.stored(outer) if path and head == outer or is_plain(head)]
        found += [head + stored[len(outer) :] for head in heads] if path else [stored]
    return tuple(dict.fromkeys(found))


def is_plain(text: str) -> bool:
    """Whether a name can stand in front of what it leads to."""
    return is_key(text) and "." not in text


def is_key(text: str) -> bool:
    return bool(text) and not any(sign in text for sign in '"\\[]')
