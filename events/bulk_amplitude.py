"""Rows of a block of Amplitude's export (bulk.py): lines of JSON, in which much beside the properties is kept
of an event (amplitude.py), and what is known of its user comes along.

A line is plain when it has what is read here and nothing that would be read in its place; what else it has
is passed over, as by the reader of lines.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from events.amplitude import FIELDS
from events.bulk import LONGEST, NOTHING, Rows, raw_lines
from events.bulk_json import (
    MOST_SHAPES,
    column,
    has_no_loose_comma,
    identifier,
    is_nameable,
    is_written_alike,
    some_records,
    text_of,
    unlike,
)
from events.convert import listed, quoted

EVENT, USER = "event_properties", "user_properties"
NEEDED = {"user_id", "event_type", "event_time", EVENT}
# The ids of an event, the one that counts first.
IDS = ("insert_id", "$insert_id", "uuid")
# What would be read in the place of the above, or makes something else of a line.
OTHERS = {
    *(
        "userId",
        "distinct_id",
        "customer_id",
        "event",
        "event_name",
        "time",
        "timestamp",
        "originalTimestamp",
    ),
    *("messageId", "properties", "traits", "type", "$device_id", "anonymousId", "anonymous_id"),
}
SPELLINGS = tuple(dict.fromkeys(said for spellings in FIELDS.values() for said in spellings))


@dataclass(frozen=True)
class Export:
    """The keys that were seen in a block: of its lines, of an event's properties, and of its user's."""

    shapes: Sequence[Sequence[str]]
    of_event: Sequence[str]
    of_user: Sequence[str]


def export_of(block: bytes) -> Export | None:
    """Look at some lines. Returns None unless they are of Amplitude's export."""
    records = [one for one in some_records(block) if one.keys() >= NEEDED and not one.keys() & OTHERS]
    if not records:
        return None
    shapes = [shape for shape, _ in Counter(map(tuple, records)).most_common(MOST_SHAPES)]
    return Export(shapes, *(names_in(record.get(key) for record in records) for key in (EVENT, USER)))


def names_in(objects: Iterable[Any]) -> list[str]:
    found: dict[str, None] = {}
    for one in objects:
        found |= dict.fromkeys(one) if isinstance(one, dict) else {}
    return unlike([name for name in found if is_nameable(name)], [])


def export_rows(path: Path, export: Export) -> Iterator[Rows]:
    """Yield the way to read a block, which is the file `path`."""
    there = {key for shape in export.shapes for key in shape}
    ids = [name for name in IDS if name in there]
    asked = ["user_id", *ids, *({"device_id"} & there)]
    spelled = [said for said in SPELLINGS if said in there]
    schema: dict[str, Any] = dict.fromkeys([*asked, "event_type", "event_time"], "JSON")
    schema |= dict.fromkeys(spelled, "VARCHAR")
    inner, known = cells_in(EVENT, export.of_event), cells_in(USER, export.of_user)
    schema |= {
        EVENT: dict.fromkeys(inner, "VARCHAR") or "JSON",
        USER: dict.fromkeys(known, "VARCHAR") or "JSON",
    }
    alike = [*inner.values(), *known.values(), *map(column, spelled)]
    conditions = [
        "NOT contains(line, '\\')",
        f"strlen(line) < {LONGEST}",
        has_no_loose_comma(),
        f"k IN ({', '.join(map(listed, export.shapes))})",
        f"CASE WHEN len(ek) > 0 THEN {has_just('ek', inner)} "
        f"ELSE json_type(line, '$.{EVENT}') = 'OBJECT' END",
        f"CASE WHEN len(uk) > 0 THEN {has_just('uk', known)} "
        f"ELSE coalesce(json_type(line, '$.{USER}'), 'NULL') IN ('OBJECT', 'NULL') END",
        f"starts_with({column('event_type')}::VARCHAR, '\"')",
        *(f"({column(name)} IS NULL OR {text_of(column(name))} IS NOT NULL)" for name in asked),
        # A property that is null is none, whatever stands beside the properties.
        *(f"NOT (list_contains(ek, {quoted(n)}) AND {inner[n]} IS NULL)" for n in FIELDS if n in inner),
        *map(is_written_alike, alike),
    ]
    texts = [f"nullif({text_of(column(name))}, '')" for name in ids]
    yield Rows(
        relation=(
            f"(SELECT r, line, TRY(from_json(line, {quoted(orjson.dumps(schema).decode())})) AS s, "
            f"TRY(json_keys(line)) AS k, TRY(json_keys(line, '$.{EVENT}')) AS ek, "
            f"TRY(json_keys(line, '$.{USER}')) AS uk FROM {raw_lines(path)})"
        ),
        user=text_of(column("user_id")),
        event=text_of(column("event_type")),
        moment=text_of(column("event_time")),
        insert_id=f"coalesce({', '.join(texts)})" if texts else NOTHING,
        device=text_of(column("device_id")) if "device_id" in there else NOTHING,
        cells=inner | dict(kept(spelled, inner)),
        good=f"CASE WHEN s IS NOT NULL THEN {' AND '.join(conditions)} ELSE false END",
        traits=map_of(known),
    )


def has_just(keys: str, values: Mapping[str, str]) -> str:
    """SQL for whether the keys of an object are known, and each stands there once."""
    present = " + ".join(["0", *(f"({value} IS NOT NULL)::INT" for value in values.values())])
    known = f"list_has_all({listed(list(values))}::VARCHAR[], {keys})"
    return (
        f"CASE WHEN len({keys}) = {present} THEN true "
        f"ELSE {known} AND len(list_distinct({keys})) = len({keys}) END"
    )


def cells_in(key: str, names: Sequence[str]) -> dict[str, str]:
    return {name: f"{column(key)}.{identifier(name)}" for name in names}


def kept(spelled: Sequence[str], inner: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names under which something is kept of an event, and its SQL: see amplitude.properties_of."""
    for name, spellings in FIELDS.items():
        found = [inner[name]] if name in inner else []
        found += [column(said) for said in spellings if said in spelled]
        found += [inner[said] for said in spellings if said in inner]
        if found:
            yield name, f"coalesce({', '.join(found)})"


def map_of(known: Mapping[str, str]) -> str:
    """SQL for what is said of the user, nulls among it; NULL when nothing is."""
    if not known:
        return "NULL"
    pairs = ", ".join(f"{{k: {quoted(name)}, v: {cell}}}" for name, cell in known.items())
    said = f"map_from_entries(list_filter([{pairs}], lambda x: list_contains(uk, x.k)))"
    return f"CASE WHEN len(uk) > 0 THEN {said} END"
