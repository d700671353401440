"""The words of the grammar for the form, so that they stand in one place: builder.js reads them from here."""

from typing import Any

from cohorts.definitions.operators import LIST, OPERATORS

MEASURES = {
    "": "at least once",
    "count": "counted",
    "days": "on different days",
    "weeks": "in different weeks",
    "periods": "in so many days, weeks or months",
    "sum": "sum of a property",
    "avg": "average of a property",
    "median": "median of a property",
    "percentile": "percentile of a property",
    "min": "smallest value",
    "max": "largest value",
    "distinct": "different values",
    "first": "for the first time",
    "last": "for the last time",
    "nth": "of which the n-th",
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
    "this": "this …",
    "previous": "the … before this one",
}
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
TYPES = {"string": "text", "number": "number", "boolean": "true/false", "date": "date"}
PERIODS = {"day": "day", "week": "week", "month": "month", "quarter": "quarter", "year": "year"}
KINDS = {
    "performed": "did an event",
    "more": "did one event more than another",
    "sequence": "did one thing after another",
    "user": "has a property",
    "cohort": "is in a cohort",
    "sample": "is in a random sample",
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
        "periods": PERIODS,
        "kinds": KINDS,
    }
