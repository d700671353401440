"""The words of the grammar for the form, so that they stand in one place: builder.js reads them from here."""

from typing import Any

from cohorts.definitions.operators import LIST, OPERATORS

# What is counted stands behind its number: "at least 3 different days".
MEASURES = {
    "": "at least once",
    "count": "times",
    "days": "different days",
    "weeks": "different weeks",
    "periods": "whole",
    "sum": "as the sum of",
    "avg": "as the average of",
    "median": "as the median of",
    "percentile": "as a percentile of",
    "min": "as the smallest value of",
    "max": "as the largest value of",
    "distinct": "different values of",
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
# Each condition with what it is called when it must not hold.
KINDS = {
    "performed": "did",
    "more": "did one event more than another",
    "sequence": "did one thing after another",
    "user": "has the property",
    "cohort": "is in the cohort",
    "sample": "is in a random sample of",
}
NOT_KINDS = {
    "performed": "did not do",
    "more": "did not do one event more than another",
    "sequence": "did not do one thing after another",
    "user": "does not have the property",
    "cohort": "is not in the cohort",
    "sample": "is not in a random sample of",
}
GROUPS = {"all": "all of these hold", "any": "any of these holds"}
NOT_GROUPS = {"all": "not all of these hold", "any": "none of these holds"}
# What a definition may begin with: templates.js writes them with the names of the events that came.
TEMPLATES = {
    "new": "New: first seen in the last 30 days",
    "active": "Active: on 3 days of the last 7",
    "lapsed": "Lapsed: active before, not in the last 30 days",
    "left_cart": "Left a cart: put something in, did not buy",
    "big_spender": "Big spender: the sum of what was bought",
    "then_not": "Did one thing, then not another",
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
        "notKinds": NOT_KINDS,
        "groups": GROUPS,
        "notGroups": NOT_GROUPS,
        "templates": TEMPLATES,
    }
