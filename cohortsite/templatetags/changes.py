"""What the History page of an object shows above the actions: its changes of configuration."""

from typing import Any

from django import template
from django.contrib.auth import get_permission_codename
from django.template import Context
from django.urls import reverse

from cohortsite.records import changes_of

register = template.Library()


@register.inclusion_tag("cohortsite/changes.html", takes_context=True)
def configuration_changes(context: Context, row: Any) -> dict[str, Any]:
    """Give the changes, and to who may change the row the form in which one is put back."""
    meta = row._meta
    may = context["request"].user.has_perm(f"{meta.app_label}.{get_permission_codename('change', meta)}")
    form = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk]) if may else ""
    return {"changes": changes_of(row), "form_url": form}
