"""Fields of other libraries' forms, styled like unfold's."""

from django import template
from django.forms import BoundField
from unfold.widgets import INPUT_CLASSES

register = template.Library()


@register.filter
def styled(field: BoundField) -> BoundField:
    attrs = field.field.widget.attrs
    attrs["class"] = " ".join(INPUT_CLASSES)
    # The label says it already, and stays when something is entered.
    attrs.pop("placeholder", None)
    if field.errors:
        attrs["aria-invalid"] = "true"
    field.help_text = ""
    return field
