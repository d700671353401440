"""Times in templates, as `pagekit.times` writes them."""

from django import template

from pagekit import times

register = template.Library()
register.filter(times.when)
register.filter(times.exactly)
