"""What other apps show on a row's page: an app below need not know who uses its rows.

syncs:    panels.add(Cohort, syncs_of)     at import of its admin
cohorts:  the page of a cohort shows it    (ActionsAdmin)
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string

# Returns the template and what it shows of the row; None when there is nothing for this person.
Panel = Callable[[HttpRequest, Any], tuple[str, dict[str, Any]] | None]
_panels: dict[type, list[Panel]] = {}


def add(model: type, panel: Panel) -> None:
    """Show a panel on the pages of a model's rows."""
    _panels.setdefault(model, []).append(panel)


def of(request: HttpRequest, row: Any) -> list[str]:
    """Return the panels of the row, rendered."""
    found = [panel(request, row) for panel in _panels.get(type(row), ())]
    return [render_to_string(*shown, request=request) for shown in found if shown]
