"""What a template can do to a value on its way: `${user_id|trim|lower|sha256}`. Pure."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from urllib.parse import quote

Filter = Callable[[str], str]


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdecimal())


def _no_plus(text: str) -> str:
    """Return an address without the part of its name that begins with a +."""
    name, sign, domain = text.rpartition("@")
    return f"{name.partition('+')[0]}{sign}{domain}" if sign else text


def _gmail(text: str) -> str:
    """Return an address as Google wants its own: the name without dots, and without what follows a +."""
    name, sign, domain = text.rpartition("@")
    return _no_plus(name.replace(".", "") + sign + domain) if domain in GOOGLES else text


GOOGLES = ("gmail.com", "googlemail.com")
FILTERS: Mapping[str, Filter] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "digits": _digits,
    "gmail": _gmail,
    "no_plus": _no_plus,
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "md5": lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    # For JSON that stands as a text within a body.
    "json": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    # For a path or a query that stands within a body; in a path of our own all is quoted.
    "url": lambda text: (
        quote(text, safe="").replace(".", "%2E") if set(text) <= {"."} else quote(text, safe="")
    ),
}
# What a secret may go through: endpoint.py masks each of these forms.
OF_SECRETS = ("base64", "url", "sha256", "md5")
# These make something else than text, and stand alone as a whole value.
NUMBER = "number"
JOIN = "join"
# Who stands on a list without users, where the partner takes no empty one.
DEFAULT = "default"
OF_ITEMS = frozenset({JOIN, DEFAULT})


def problem_with(name: str) -> str:
    """Return what is wrong with the name of a filter, or ''."""
    kind, _, argument = name.partition(":")
    if kind == DEFAULT and not argument:
        return "Who stands on a list without users? Write ${items|default:nobody}."
    if name in FILTERS or name == NUMBER or kind in OF_ITEMS:
        return ""
    known = [*FILTERS, NUMBER, JOIN, DEFAULT]
    close = get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"There is no filter {name!r}{meant} Known: {', '.join(known)}."


def argument(names: tuple[str, ...], kind: str) -> str | None:
    """Return what stands after the colon of the filter `kind`, None without such a filter."""
    found = (name.partition(":") for name in names)
    return next((text for name, _, text in found if name == kind), None)


def apply(names: tuple[str, ...], text: str) -> str:
    for name in names:
        text = FILTERS[name](text)
    return text
