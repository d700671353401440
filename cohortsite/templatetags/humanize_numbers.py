"""Numbers in templates: with separators for people, without any for SVG."""

from django import template

register = template.Library()


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"


@register.filter
def plain(number: float) -> str:
    return f"{number:.2f}"
