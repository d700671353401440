"""When a form shows a field, as unfold's `conditional_fields` wants it: an expression of Alpine."""

from collections.abc import Collection
from typing import Any


class ShownIf(str):
    """The expression. `wanted`: the values of which each field must have one."""

    wanted: dict[str, list[str]]

    def holds(self, row: Any) -> bool:
        """Return what a browser would say of the row's form."""
        return all(str(getattr(row, name)) in values for name, values in self.wanted.items())


def shown_if(**values: str | Collection[str]) -> ShownIf:
    """Return an expression that holds while each of the fields has (one of) these values.

    Who may only look has a page without a form, where Alpine knows no field: there, all are shown.
    """
    wanted = {name: [value] if isinstance(value, str) else list(value) for name, value in values.items()}
    first = next(iter(wanted))
    all_hold = " && ".join(f"{these}.includes({name})" for name, these in wanted.items())
    made = ShownIf(f"typeof {first} === 'undefined' || ({all_hold})")
    made.wanted = wanted
    return made
