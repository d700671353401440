"""The words of docs/glossary.md, explained where they stand on a page."""

import re
from functools import cache

from django.utils.text import slugify

from cohortsite.help import DOCS, url_of

PAGE = "glossary"
ROW = re.compile(r"^\| \*\*(?P<word>.+?)\*\* \| (?P<meaning>.+) \|$", re.MULTILINE)


@cache
def meanings() -> dict[str, str]:
    """Return what each word means, as plain text."""
    rows = ROW.finditer((DOCS / f"{PAGE}.md").read_text())
    return {row["word"]: re.sub(r"[*`]", "", row["meaning"]) for row in rows}


def address_of(word: str) -> str:
    return f"{url_of(PAGE)}#{slugify(word)}"
