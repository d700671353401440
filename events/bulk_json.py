"""Rows of a block of JSON lines (bulk.py).

The engine reads a line into columns, by the keys of some of the block's lines, and passes over other keys. So
a line is plain only when its keys are just those that were read, each once, and when each of its values
is written by the engine as the reader of lines would store it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from events.bulk import LONGEST, NOTHING, Fields, Rows, raw_lines
from events.convert import listed, quoted
from events.records import MAX_NAME

# So many of a block's lines are looked at for their keys.
LOOKED_AT = 2_000
MOST_SHAPES = 50
# What may be written otherwise than it is stored: exponents, whole numbers beyond 64 bits, what is no number,
# objects, and lists unless what is in them is plain.
ODD = r"-?\d+(\.\d+)?[eE][-+]?\d+|-?\d{19,}(\.\d*)?|-?[nN][aA][nN]|-?[iI]nf.*|[\[{].*"
ITEM = r'("[^"]*"|0|-?[1-9]\d{0,17}|true|false)'
FLAT_LIST = rf"\[({ITEM}(,{ITEM})*)?\]"
# How a key ends, and what a block must not have whose keys are counted by it: escapes, nulls, spaces before a
# colon, and commas that the engine would let pass.
KEY = b'":'
UNCOUNTED = (b"\\", b"\t", b"null", b",}", b",]")
UNCOUNTED_SPACES = (b'" ', b"  ", b", }", b", ]")
# What a text of properties is called in SQL, and what is read of it.
OPENED = frozenset({"line", "s", "pk"})
KINDS = ("user_id", "event", "time", "insert_id", "device")


@dataclass(frozen=True)
class Shapes:
    """What was seen of a block: the keys of its lines, the most frequent first, those of the properties
    within, and which key is which field."""

    keys: Sequence[Sequence[str]]
    names: Sequence[str]
    fields: Fields

    @property
    def within(self) -> str | None:
        """The key of the object of properties; None when they stand alongside the other fields."""
        return self.fields.columns.get("properties")


def shapes_of(block: bytes, fields_of: Callable[[Sequence[str]], Fields | None]) -> Shapes | None:
    """Look at some lines. Returns None when they cannot be read in bulk."""
    records = list(some_records(block))
    kept: list[tuple[str, ...]] = []
    fields: Fields | None = None
    for keys, _ in Counter(map(tuple, records)).most_common(MOST_SHAPES):
        found = fields_of(list(dict.fromkeys(key for one in [*kept, keys] for key in one)))
        if found and (fields is None or ("properties" in found.columns) == ("properties" in fields.columns)):
            fields, kept = found, [*kept, keys]
    if fields is None:
        return None
    known = set(kept)
    within = fields.columns.get("properties")
    names: dict[str, None] = {}
    for record in records:
        if tuple(record) in known:
            inner = record if within is None else record.get(within)
            names |= dict.fromkeys(inner) if isinstance(inner, dict) else {}
    if within is not None and {"distinct_id", "time"} <= names.keys():
        del names["distinct_id"]  # a line of Mixpanel's is told by both (identities.py)
    return Shapes(kept, [name for name in names if is_nameable(name)], fields)


def some_records(block: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of some lines from all over a block."""
    for line in some_lines(block):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record


def some_lines(block: bytes) -> Iterator[bytes]:
    """Yield some lines from all over a block."""
    step = max(1, len(block) // LOOKED_AT)
    end = -1
    for start in range(0, len(block), step):
        if start <= end:
            continue
        begin = start if start == 0 else block.find(b"\n", start - 1) + 1
        if begin == 0 and start:
            return
        end = block.find(b"\n", begin)
        end = len(block) if end < 0 else end
        yield block[begin:end]


def is_nameable(key: str) -> bool:
    """Whether a key can name a column."""
    return 0 < len(key) <= MAX_NAME and key.isprintable() and not set(key) & set("\"\\'*")


def json_rows(block: bytes, path: Path, shapes: Shapes) -> Iterator[Rows]:
    """Yield ways to read a block, which is the file `path`, too, the quickest first; none when its rows
    cannot be told in SQL."""
    given = {field: quoted(value) for field, value in shapes.fields.constants.items()}
    columns = {field: key for field, key in shapes.fields.columns.items() if field not in given}
    if not all(map(is_nameable, columns.values())):
        return
    schema, cells = schema_of(shapes, [columns[field] for field in KINDS if field in columns])
    # The properties' texts; a field that is a property, too, is the device.
    texts = {name: text_of(cell) if schema.get(name) == "JSON" else cell for name, cell in cells.items()}

    def text(field: str) -> str:
        return given.get(field) or (text_of(column(columns[field])) if field in columns else NOTHING)

    conditions = []
    if "type" in schema:
        conditions.append(f"coalesce({column('type')} NOT IN ('identify', 'alias'), true)")
    if "event" in columns:
        conditions.append(f"starts_with({column(columns['event'])}::VARCHAR, '\"')")
    # Neither a text nor a whole number: refused, or read in another way.
    found = [field for field in ("user_id", "insert_id", "device") if field in columns]
    conditions += [f"({column(columns[f])} IS NULL OR {text(f)} IS NOT NULL)" for f in found]
    conditions += [is_written_alike(cell) for name, cell in cells.items() if schema.get(name) != "JSON"]

    def rows(more: Sequence[str], keys: str = "", asked: str = "") -> Rows:
        parsed = f"TRY(from_json(line, {quoted(orjson.dumps(schema).decode())})) AS s"
        return Rows(
            relation=f"(SELECT r, line, {parsed}{asked} FROM {raw_lines(path)})",
            user=text("user_id"),
            event=text("event"),
            moment=text("time"),
            insert_id=text("insert_id"),
            device=text("device"),
            cells=texts,
            good=f"CASE WHEN s IS NOT NULL THEN {' AND '.join([*more, *conditions])} ELSE false END",
            read=keys,
            there=block.count(KEY) if keys else 0,
        )

    short = f"strlen(line) < {LONGEST}"
    if may_have_just_these(block, shapes, schema):
        yield rows([short], keys=present(schema, cells))
    one_by_one = [
        "NOT contains(line, '\\')",
        short,
        has_no_loose_comma(),
        has_known_keys(shapes, schema, cells),
    ]
    yield rows(one_by_one, asked=f", {keys_in(shapes)}")


def with_text(rows: Rows, text: str, names: Sequence[str]) -> Rows:
    """Return rows with the properties that are in a JSON text of theirs: `text` is its SQL, `names` the keys
    that were seen in some. A key that is a column's name, too, is left to the reader of lines."""
    names = [name for name in unlike(names, []) if name not in rows.cells]
    if not names:
        return replace(rows, good=f"{rows.good} AND {text} IS NULL")
    cells = {name: column(name) for name in names}
    schema = orjson.dumps(dict.fromkeys(names, "VARCHAR")).decode()
    opened = (
        f"(SELECT *, TRY(from_json(line, {quoted(schema)})) AS s, TRY(json_keys(line)) AS pk "
        f"FROM (SELECT *, {text} AS line FROM {rows.relation}))"
    )
    control = quoted("[\\x00-\\x1f]")
    plain = [
        "s IS NOT NULL",
        "starts_with(line, '{')",
        "NOT contains(line, '\\')",
        f"NOT regexp_matches(line, {control})",
        f"strlen(line) < {LONGEST}",
        has_no_loose_comma(),
        just_these("pk", cells),
        *map(is_written_alike, cells.values()),
    ]
    good = f"{rows.good} AND CASE WHEN line IS NULL THEN true ELSE {' AND '.join(plain)} END"
    return replace(rows, relation=opened, cells={**rows.cells, **cells}, good=good)


def names_in_texts(texts: Iterable[object]) -> list[str]:
    """Return the keys of JSON objects, as far as they can name columns."""
    names: dict[str, None] = {}
    for text in texts:
        try:
            found = orjson.loads(text) if isinstance(text, str) else None
        except orjson.JSONDecodeError:
            continue
        names |= dict.fromkeys(found) if isinstance(found, dict) else {}
    return [name for name in names if is_nameable(name)]


def is_written_alike(cell: str) -> str:
    """SQL for whether the engine writes a value of JSON as the reader of lines does."""
    return (
        f"coalesce(NOT regexp_full_match({cell}, {quoted(ODD)}) OR "
        f"regexp_full_match({cell}, {quoted(FLAT_LIST)}), true)"
    )


def may_have_just_these(block: bytes, shapes: Shapes, schema: Mapping[str, Any]) -> bool:
    """Whether a block's keys can be counted: each is a KEY, and each value that is read has one. A text that
    begins with a colon looks like a key, too. So when as many values were read as KEYs are there, no
    line has another key, or one twice."""
    all_read = all(schema.keys() >= set(keys) for keys in shapes.keys) and "type" not in schema
    within = shapes.within is None or isinstance(schema[shapes.within], dict)
    signs = UNCOUNTED + UNCOUNTED_SPACES if b" " in block else UNCOUNTED
    return all_read and within and not any(sign in block for sign in signs)


def present(schema: Mapping[str, Any], cells: Mapping[str, str]) -> str:
    """SQL for how many values were read of a line."""
    values = {*map(column, schema), *cells.values()}
    return " + ".join(f"({value} IS NOT NULL)::BIGINT" for value in sorted(values))


def schema_of(shapes: Shapes, fields: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the engine reads of a line, and SQL of the properties in it, by their names."""
    schema: dict[str, Any] = dict.fromkeys(fields, "JSON")
    within = shapes.within
    if within is None:
        names = unlike(shapes.names, fields)
        schema |= dict.fromkeys((name for name in names if name not in schema), "VARCHAR")
        return schema, {name: column(name) for name in names if name not in shapes.fields.used}
    if any("type" in keys for keys in shapes.keys):
        schema["type"] = "VARCHAR"
    names = unlike(shapes.names, [])
    schema[within] = dict.fromkeys(names, "VARCHAR") or "JSON"
    return schema, {name: f"{column(within)}.{identifier(name)}" for name in names}


def unlike(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Leave out names that the engine would take for another one: it knows no capitals."""
    found = {name.casefold(): name for name in reversed([*taken, *names])}
    return [name for name in names if found[name.casefold()] == name]


def keys_in(shapes: Shapes) -> str:
    """SQL for the keys of a line, `k`, and of the properties within, `pk`; NULL when it is no JSON."""
    inner = f", TRY(json_keys(line, {quoted(path_of(shapes))})) AS pk" if shapes.within is not None else ""
    return f"TRY(json_keys(line)) AS k{inner}"


def path_of(shapes: Shapes) -> str:
    return "$" if shapes.within is None else f"$.{identifier(shapes.within)}"


def has_known_keys(shapes: Shapes, schema: Mapping[str, Any], cells: Mapping[str, str]) -> str:
    """SQL for whether a line has no other keys than were read, and none twice."""
    if shapes.within is None:
        return just_these("k", {name: column(name) for name in schema})
    shaped = f"k IN ({', '.join(map(listed, shapes.keys))})"
    # Without properties, all other fields of a line are its properties.
    bare = [keys for keys in shapes.keys if set(keys) <= shapes.fields.used]
    nothing = f"k IN ({', '.join(map(listed, bare))})" if bare else "false"
    path = path_of(shapes)
    kind = f"coalesce(json_type(line, {quoted(path)}), 'NULL')"
    return (
        f"{shaped} AND CASE WHEN len(pk) > 0 THEN {just_these('pk', cells)} "
        f"ELSE {kind} = 'OBJECT' OR ({kind} = 'NULL' AND {nothing}) END"
    )


def just_these(keys: str, values: Mapping[str, str]) -> str:
    """SQL for whether the keys of an object are those of the values that were read of it, or of nulls."""
    present = " + ".join(["0", *(f"({value} IS NOT NULL)::INT" for value in values.values())])
    known = f"list_has_all({listed(list(values))}::VARCHAR[], {keys})"
    return (
        f"CASE WHEN contains(line, 'null') THEN {known} AND len(list_distinct({keys})) = len({keys}) "
        f"ELSE len({keys}) = {present} END"
    )


def has_no_loose_comma() -> str:
    """SQL for whether no comma stands before a bracket: the engine lets it pass."""
    signs = [",}", ", }", ",]", ", ]", "  ", "\t"]
    seen = " OR ".join(f"contains(line, {quoted(sign)})" for sign in signs)
    return f"CASE WHEN {seen} THEN NOT regexp_matches(line, ',\\s*[}}\\]]') ELSE true END"


def text_of(value: str) -> str:
    """SQL for a text or a whole number of JSON as text; NULL of anything else."""
    text = f"{value}::VARCHAR"
    return (
        f"CASE WHEN starts_with({text}, '\"') THEN substring({text}, 2, length({text}) - 2) "
        f"WHEN regexp_full_match({text}, '\\d{{1,18}}') THEN {text} END"
    )


def column(name: str) -> str:
    return f"s.{identifier(name)}"


def identifier(name: str) -> str:
    return f'"{name}"'
