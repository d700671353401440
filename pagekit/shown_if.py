"""When a form shows a field, as unfold's `conditional_fields` wants it: an expression of Alpine."""

from collections.abc import Collection


def shown_if(**values: str | Collection[str]) -> str:
    """Return an expression that holds while each of the fields has (one of) these values.

    Who may only look has a page without a form, where Alpine knows no field: there, all are shown.
    """
    wanted = {name: [value] if isinstance(value, str) else list(value) for name, value in values.items()}
    first = next(iter(wanted))
    all_hold = " && ".join(f"{these}.includes({name})" for name, these in wanted.items())
    return f"typeof {first} === 'undefined' || ({all_hold})"
