"""Whether a page is a step of several: see `pagekit.way`."""

from django import template
from django.template import Context

from pagekit.way import then

register = template.Library()


@register.simple_tag(takes_context=True)
def way_on(context: Context) -> str:
    """Return where the page leads; '' if nowhere."""
    return then(context["request"]) if "request" in context else ""
