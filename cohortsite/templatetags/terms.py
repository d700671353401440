"""A word of the glossary in a template: a link to its row, which tells its meaning on hover and on focus."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cohortsite.glossary import address_of, meanings

register = template.Library()


@register.simple_tag
def term(word: str, shown: str = "") -> SafeString:
    """Return the word, or `shown` in its stead. Raises KeyError for a word that the glossary has not."""
    return format_html(
        '<a class="cs-term" href="{}" aria-description="{}">{}</a>',
        address_of(word),
        meanings()[word],
        shown or word,
    )


@register.filter
def explained(label: str) -> str:
    """Return a label with its meaning if the glossary has the word, else as it is."""
    word = label.lower()
    return term(word, label) if word in meanings() else label
