"""The operators of a property in one place: parser, schema, sentence, compiler and form read this table."""

from dataclasses import dataclass
from typing import Literal

Shape = Literal["any", "text", "pattern", "order", "pair", "list", "none", "duration"]


@dataclass(frozen=True)
class Operator:
    """`label` follows the property's name in the form, `phrase` in the sentence. `negates`: it holds where
    that other operator does not, for a missing property too."""

    sign: str
    shape: Shape
    label: str
    phrase: str
    negates: str = ""
    # In the sentence, of a date.
    of_date: str = ""


LIST = (
    Operator("=", "any", "is", "equal to", of_date="at"),
    Operator("!=", "any", "is not", "other than", negates="=", of_date="other than"),
    Operator("contains", "text", "contains", "containing"),
    Operator("not_contains", "text", "does not contain", "not containing", negates="contains"),
    Operator("starts_with", "text", "starts with", "starting with"),
    Operator("ends_with", "text", "ends with", "ending with"),
    Operator("matches", "pattern", "matches the pattern", "matching"),
    Operator(">", "order", "above", "above", of_date="after"),
    Operator(">=", "order", "at least", "of at least", of_date="at or after"),
    Operator("<", "order", "below", "below", of_date="before"),
    Operator("<=", "order", "at most", "of at most", of_date="at or before"),
    Operator("between", "pair", "between", "between", of_date="between"),
    Operator("in", "list", "is one of", "among", of_date="among"),
    Operator("not_in", "list", "is none of", "not among", negates="in", of_date="not among"),
    Operator("last", "duration", "is a date in the last", "in the last", of_date="in the last"),
    Operator("next", "duration", "is a date in the next", "in the next", of_date="in the next"),
    Operator("is_set", "none", "is set", "set"),
    Operator("is_not_set", "none", "is not set", "not set", negates="is_set"),
)
OPERATORS = {operator.sign: operator for operator in LIST}
# Those for which "ignore_case" says something.
CASED = ("=", "!=", "contains", "not_contains", "starts_with", "ends_with", "matches", "in", "not_in")
