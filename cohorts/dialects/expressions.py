"""Small expressions that every dialect is made of."""

from sqlglot import exp

USER = exp.column("user_id")
# Between the elements of a list that is compared as a whole: no text has it by chance.
SEPARATOR = "\x1f"
DAY = 86_400_000_000


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A function that sqlglot must not translate: each dialect names its engine's own."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def text(value: str) -> exp.Literal:
    return exp.Literal.string(value)


def integer(value: int) -> exp.Expr:
    return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))
