"""The words of the grammar for the form, so that they stand in one place: builder.js reads them from here."""

from typing import Any

from cohorts.definitions.operators import LIST, OPERATORS

MEASURES = {
    "": "at least once",
    "count": "counted",
    "days": "on different days",
    "sum": "sum of a property",
    "avg": "average of a property",
    "min": "smallest value",
    "max": "largest value",
    "distinct": "different values",
    "first": "for the first time",
    "last": "for the last time",
}
COMPARISONS = {
    ">=": "at least",
    ">": "more than",
    "<=": "at most",
    "<": "fewer than",
    "=": "exactly",
    "between": "between",
}
WINDOWS = {
    "all_time": "at any time",
    "last": "in the last",
    "between_ago": "between … ago",
    "dates": "from … to",
}
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
TYPES = {"string": "text", "number": "number", "boolean": "true/false", "date": "date"}
KINDS = {
    "performed": "did an event",
    "sequence": "did one thing after another",
    "user": "has a property",
    "cohort": "is in a cohort",
}


def vocabulary() -> dict[str, Any]:
    """Return what the form offers, by the words of the grammar, each with what a person reads."""
    return {
        "operators": {operator.sign: operator.label for operator in LIST},
        "shapes": {sign: operator.shape for sign, operator in OPERATORS.items()},
        "measures": MEASURES,
        "comparisons": COMPARISONS,
        "windows": WINDOWS,
        "units": UNITS,
        "types": TYPES,
        "kinds": KINDS,
    }
