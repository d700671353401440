"""Templates: JSON with `$name` variables in its strings and keys; a path is text with them. Pure.

They are substituted once, in the parsed JSON, so that a cohort called `"}, $user_id` stays a name. `$$` is a
dollar. `${user_id|trim|sha256}` is a variable with filters (see `filters`). Alone, as a whole value:
"$value" becomes the word for entering or leaving (true or false), "$items" the encoded batch,
"${items|join:,}" the ids of the batch in one text, "${items|default:nobody}" the batch or, for a whole list
without users, one user `nobody`; "${list_id|number}" a number;
"$is_last" true or false.

`$secret_NAME` is the destination's named secret NAME.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import orjson

from destinations import filters

COHORT = frozenset({"cohort_name", "cohort_id"})
NAMES = COHORT | {"source_label", "integration_name", "integration_version"}
COMMON = NAMES | {"external_name", "now", "now_unix", "now_ms"}
USER = frozenset({"user_id", "value"})
# What goes along with a user: see `mapping`. `$trait_plan` is one of them.
OF_USER = frozenset({"identifier_type", "traits"})
# Which request of a whole list it is: see `sessions`.
SESSION = frozenset({"session", "sequence", "is_last", "total"})
# What holds users: a batch; and of one that adds and removes, who enters and who leaves.
HOLDERS = frozenset({"items", "added", "removed"})
# What each field may use, beside named secrets.
KNOWN: Mapping[str, frozenset[str]] = {
    "name_template": NAMES,
    "create_path": COMMON,
    "create_template": COMMON | {"items"},
    "add_path": COMMON | {"list_id", "user_id"} | SESSION,
    "add_template": COMMON | {"list_id", "items", "user_id"} | SESSION,
    "remove_path": COMMON | {"list_id", "user_id"},
    "remove_template": COMMON | {"list_id", "items", "user_id"},
    "change_template": COMMON | {"list_id"} | HOLDERS,
    "list_item_template": COMMON | USER | OF_USER | {"list_id"},
    "remove_item_template": COMMON | USER | OF_USER | {"list_id"},
    "identify_path": COMMON | USER,
    "batch_path": COMMON,
    "item_template": COMMON | USER | OF_USER,
    "batch_template": COMMON | {"items", "value"},
    "find_path": COMMON,
    "test_path": COMMON,
    "read_path": COMMON | {"list_id"},
    "poll_path": COMMON | {"list_id", "job_id"},
}
# What a partner may not have.
OPTIONAL = frozenset(
    {"find_path", "test_path", "read_path", "poll_path", "remove_item_template", "change_template"}
)
SECRET = "secret_"
TRAIT = "trait_"
# A body that is no object: an array of items, or the empty body `null`.
ANY_SHAPE = frozenset({"list_item_template", "remove_item_template", "item_template"})
VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([^{}]*)\})?")
# `$user_id|sha256`: the filter would be sent as text.
BARE_FILTER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\|([A-Za-z0-9_]+)")


class TemplateError(ValueError):
    """A template that cannot be used; the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    filters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"${{{'|'.join((self.name, *self.filters))}}}" if self.filters else f"${self.name}"


Resolve = Callable[[Variable], str]


def parse_variable(match: re.Match[str]) -> Variable | None:
    """Return the variable that VARIABLE found, None for `$$`; TemplateError for a dollar that begins none."""
    if match[1]:
        return None
    if match[2]:
        return Variable(match[2])
    if not match[3]:
        raise TemplateError(f"A lone dollar in {match.string[:80]!r}: write $$ for a dollar.")
    name, *names = (
        part if part.partition(":")[0] in filters.OF_ITEMS else part.strip() for part in match[3].split("|")
    )
    for one in names:
        if problem := filters.problem_with(one):
            raise TemplateError(problem)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise TemplateError(f"{match[0]!r} is no variable: write ${{user_id|sha256}}.")
    return Variable(name, tuple(names))


def found(text: str) -> Iterator[Variable]:
    """Yield the variables of a text; TemplateError on a dollar that begins none."""
    for match in VARIABLE.finditer(text):
        if (variable := parse_variable(match)) is not None:
            yield variable


def variables(text: str) -> Iterator[str]:
    """Yield the names that a text uses."""
    return (variable.name for variable in found(text))


def alone(text: str) -> Variable | None:
    """Return the variable that is the whole of a text, or None."""
    match = VARIABLE.fullmatch(text)
    return parse_variable(match) if match else None


def nobody(template: Any) -> str | None:
    """Return who stands for nobody in a parsed template: `x` of "${items|default:x}"; None without one."""
    items = (one for one in map(alone, strings(template)) if one and one.name == "items")
    return next((filters.argument(one.filters, filters.DEFAULT) for one in items), None)


def strings(value: Any) -> Iterator[str]:
    """Yield every string and key within parsed JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def keys(value: Any) -> Iterator[str]:
    """Yield every key within parsed JSON."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from keys(item)


def check_known(texts: Iterator[str], field: str) -> set[str]:
    """Return the variables used in the texts of the field `field`, or raise TemplateError."""
    used: set[str] = set()
    for text in texts:
        if bare := BARE_FILTER.search(text):
            raise TemplateError(
                f"{bare[0]!r} would be sent with '|{bare[2]}' as text: write ${{{bare[1]}|{bare[2]}}}."
            )
        for variable in found(text):
            _check_alone(variable, text)
            used.add(variable.name)
    known = KNOWN[field]
    allowed = {name for name in used if name.startswith(SECRET) and field != "name_template"}
    if known >= OF_USER:
        allowed |= {name for name in used if name.startswith(TRAIT)}
    if unknown := sorted(used - known - allowed):
        listed = ", ".join(f"${name}" for name in sorted(known))
        close = get_close_matches(unknown[0], known, n=1)
        meant = f" Did you mean ${close[0]}?" if close else ""
        raise TemplateError(f"Unknown variable ${unknown[0]}. Known here: {listed}.{meant}")
    return used


def _check_alone(variable: Variable, text: str) -> None:
    if variable.name.startswith(SECRET) and (
        len(variable.filters) > 1 or set(variable.filters) - set(filters.OF_SECRETS)
    ):
        raise TemplateError(
            f'"{variable}": a secret takes one of {", ".join(filters.OF_SECRETS)}, or nothing could mask it.'
        )
    if variable.name == "traits" and str(variable) != text:
        raise TemplateError('"$traits" must stand alone, as a whole value: it is an object.')
    for name in variable.filters:
        kind = name.partition(":")[0]
        if kind in filters.OF_ITEMS | {filters.NUMBER} and str(variable) != text:
            raise TemplateError(f'"{variable}" must stand alone, as a whole value.')
        of_items = kind in filters.OF_ITEMS
        if of_items != (variable.name in HOLDERS) or (kind == filters.DEFAULT and variable.name != "items"):
            raise TemplateError(
                f'"{variable}" makes no sense: `join` and `default` are for $items, and nothing else is.'
            )


def parse_template(text: str, field: str) -> Any:
    """Return the parsed JSON of a template whose variables are known, or raise TemplateError."""
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
        orjson.dumps(parsed)
        every = list(strings(parsed))
    except json.JSONDecodeError as error:
        raise TemplateError(f"Not JSON: {error}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise TemplateError(f"JSON that cannot be sent: {error}.") from None
    if field not in ANY_SHAPE and parsed not in (None, "$items") and not isinstance(parsed, dict | list):
        raise TemplateError('Must be a JSON object: {…}, an array, "$items" for the batch alone, or null.')
    check_known(iter(every), field)
    for name in HOLDERS & KNOWN[field]:
        holders = [text for text in every if name in variables(text)]
        wrong = len(holders) > 1 or any(alone(text) is None for text in holders)
        if wrong or any(name in variables(key) for key in keys(parsed)):
            raise TemplateError(f'"${name}" must stand once, alone, as a whole value.')
    return parsed


def fill_text(text: str, resolve: Resolve) -> str:
    """Return the text with its variables replaced, once."""

    def put(match: re.Match[str]) -> str:
        variable = parse_variable(match)
        return "$" if variable is None else resolve(variable)

    return VARIABLE.sub(put, text)


def substitute(text: str, values: Mapping[str, str], field: str) -> str:
    """Return the text with its variables replaced, once, by these values."""
    check_known(iter((text,)), field)
    return fill_text(text, resolver(values))


def resolver(values: Mapping[str, str]) -> Resolve:
    def resolve(variable: Variable) -> str:
        if variable.name not in values:
            raise TemplateError(f"There is no secret {variable.name.removeprefix(SECRET)!r}.")
        return filters.apply(variable.filters, values[variable.name])

    return resolve


def fill(value: Any, resolve: Resolve, whole: Callable[[Variable], object]) -> Any:
    """Return parsed JSON with its variables replaced, once, in strings and keys.

    whole: what a variable becomes that is the whole of a string; NotImplemented for text like any other.
    """
    if isinstance(value, str):
        variable = alone(value)
        made = whole(variable) if variable else NotImplemented
        return fill_text(value, resolve) if made is NotImplemented else made
    if isinstance(value, dict):
        return {fill_text(key, resolve): fill(item, resolve, whole) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, resolve, whole) for item in value]
    return value


def as_number(variable: Variable, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise TemplateError(f'"{variable}" must be a whole number: {text[:40]!r} is none.')
    return int(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
