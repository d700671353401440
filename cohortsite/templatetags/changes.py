"""What the History page of an object shows above the actions: its changes of configuration."""

from typing import Any

from django import template

from cohortsite.records import changes_of

register = template.Library()


@register.inclusion_tag("cohortsite/changes.html")
def configuration_changes(row: Any) -> dict[str, Any]:
    return {"changes": changes_of(row)}
