"""The grammar as JSON Schema (2020-12), for editors and for the documentation.

It describes the shape. What only `parse` can say (a count that nobody can reach, a circle of cohorts,
the number of conditions, the end of a window before its beginning) is not in it.
"""

from typing import Any

from cohorts.definitions.operators import OPERATORS
from cohorts.definitions.parse_measure import (
    COMPARISONS,
    COUNTED,
    HIGHEST_N,
    MAX_CONDITIONS,
    MAX_NAMES,
    MOMENTS,
    OF_A_PROPERTY,
    PERIODS_OF,
)
from cohorts.definitions.parse_property import MAX_VALUES, TYPES
from cohorts.definitions.parse_time import MOST_PERIODS, PERIODS
from cohorts.definitions.shapes import EXACT, MAX_TEXT

Schema = dict[str, Any]
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
TEXT: Schema = {"type": "string", "maxLength": MAX_TEXT}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": EXACT}


def json_schema() -> Schema:
    """Return the JSON Schema of a definition, version 1."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Behavioral cohort",
        **closed(
            {
                "version": {"const": 1},
                "timezone": {"type": "string", "description": "An IANA name, such as Europe/Berlin."},
                "where": ref("node"),
            },
            required=["version", "where"],
        ),
        "$defs": {
            "node": node(),
            "performed": performed(),
            "sequence": sequence(),
            "step": step(),
            "since": closed(
                {"event": ref("event"), "where": ref("where"), "within": ref("duration")}, ["event", "within"]
            ),
            "event": {
                "anyOf": [NAME, {"type": "array", "items": NAME, "minItems": 1, "maxItems": MAX_NAMES}]
            },
            "counted": closed(
                {"event": ref("event"), "where": ref("where"), "window": ref("window")}, ["event"]
            ),
            "asked": {"anyOf": [ref("property"), closed({"any": several("property")}, ["any"])]},
            "where": {"type": "array", "items": ref("asked"), "minItems": 1, "maxItems": MAX_CONDITIONS},
            "property": property_comparison(),
            "window": window(),
            "duration": {"type": "string", "pattern": "^[1-9][0-9]{0,6}[mhdw]$"},
            "date": {"type": "string", "pattern": "^(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}$"},
        },
    }


def ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def several(name: str) -> Schema:
    return {"type": "array", "items": ref(name), "minItems": 1, "maxItems": MAX_CONDITIONS}


def closed(properties: Schema, required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def node() -> Schema:
    group = several("node")
    more = {
        "first": ref("counted"),
        "than": ref("counted"),
        "times": {"type": "number", "exclusiveMinimum": 0},
    }
    sample = {"percent": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}, "salt": TEXT}
    kinds: Schema = {
        "all": group,
        "any": group,
        "not": ref("node"),
        "performed": ref("performed"),
        "more": closed(more, ["first", "than"]),
        "sequence": ref("sequence"),
        "sample": closed(sample, ["percent"]),
        "user": ref("property"),
        "cohort": NAME,
    }
    return {**closed(kinds, []), "minProperties": 1, "maxProperties": 1}


def performed() -> Schema:
    fields: Schema = {
        "event": ref("event"),
        "where": ref("where"),
        "window": ref("window"),
        "after_first": ref("since"),
        "or_never": {"type": "boolean"},
    }
    measures = {kind: comparison({}, WHOLE) for kind in COUNTED}
    percent = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100}
    measures |= {
        kind: comparison(
            {"property": NAME, **({"percent": percent} if kind == "percentile" else {})},
            WHOLE if kind == "distinct" else NUMBER,
        )
        for kind in OF_A_PROPERTY
    }
    periods = {
        "of": {"enum": list(PERIODS_OF)},
        "times": comparison({}, WHOLE),
        "in_a_row": {"type": "boolean"},
    }
    measures |= {kind: ref("window") for kind in MOMENTS}
    measures |= {"periods": comparison(periods, WHOLE, ["of"]), "nth": nth()}
    return {**closed(fields | measures, ["event"]), **at_most_one(list(measures))}


def at_most_one(keys: list[str]) -> Schema:
    none = {"not": {"anyOf": [{"required": [key]} for key in keys]}}
    return {"oneOf": [none, *({"required": [key]} for key in keys)]}


def nth() -> Schema:
    n = {"type": "integer", "minimum": -HIGHEST_N, "maximum": HIGHEST_N, "not": {"const": 0}}
    asked = closed({"n": n, "where": ref("where"), "window": ref("window")}, ["n"])
    return {**asked, "anyOf": [{"required": ["where"]}, {"required": ["window"]}]}


def comparison(more: Schema, number: Schema, required: list[str] | None = None) -> Schema:
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    operators = {op: pair if op == "between" else number for op in COMPARISONS}
    fields = closed(more | operators, list(more) if required is None else required)
    return {**fields, "oneOf": [{"required": [op]} for op in COMPARISONS]}


def property_comparison() -> Schema:
    ordered: Schema = {"anyOf": [TEXT, NUMBER]}
    any_value: Schema = {"anyOf": [TEXT, NUMBER, {"type": "boolean"}]}
    shapes: Schema = {
        "any": any_value,
        "text": NAME,
        "order": ordered,
        "pair": {"type": "array", "items": ordered, "minItems": 2, "maxItems": 2},
        "list": {"type": "array", "items": any_value, "minItems": 1, "maxItems": MAX_VALUES},
        "none": {"const": True},
        "pattern": NAME,
        "duration": ref("duration"),
    }
    fields = {"property": NAME, "type": {"enum": list(TYPES)}, "ignore_case": {"type": "boolean"}}
    operators = {sign: shapes[operator.shape] for sign, operator in OPERATORS.items()}
    return {**closed(fields | operators, ["property"]), "oneOf": [{"required": [op]} for op in OPERATORS]}


def step() -> Schema:
    fields = {"event": ref("event"), "where": ref("where"), "absent": {"type": "boolean"}}
    return closed(fields | {"within": ref("duration")}, ["event"])


def sequence() -> Schema:
    steps = {"type": "array", "items": ref("step"), "minItems": 2, "maxItems": 6}
    fields = {"steps": steps, "within": ref("duration"), "window": ref("window"), "same": NAME}
    return closed(fields, ["steps"])


def window() -> Schema:
    ago = {"type": "array", "items": ref("duration"), "minItems": 2, "maxItems": 2}
    dates = closed({"from": ref("date"), "to": ref("date")}, [])
    return {
        "anyOf": [
            {"const": "all_time"},
            closed({"last": ref("duration")}, ["last"]),
            closed({"between_ago": ago}, ["between_ago"]),
            {**dates, "minProperties": 1},
            closed({"this": {"enum": list(PERIODS)}}, ["this"]),
            closed(
                {
                    "previous": {"enum": list(PERIODS)},
                    "count": {"type": "integer", "minimum": 1, "maximum": MOST_PERIODS},
                },
                ["previous"],
            ),
        ]
    }
