"""The documents at /help/, as they are in this release: offline, searched, linked from each page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cohortsite import tour

DOCS = Path(__file__).parent.parent / "docs"
# Sections that a search shows.
MOST = 30
# By how a page's address begins: the document about it, and its heading. The first that fits.
ABOUT = (
    ("/admin/cohorts/cohort/add", "behavioral", ""),
    ("/admin/cohorts/", "members", ""),
    ("/admin/destinations/destination/add", "partners", ""),
    ("/admin/destinations/", "partners", "the-language-of-a-destination"),
    ("/admin/syncs/driver/", "delivery", "one-driver-for-each-destination"),
    ("/admin/syncs/alert/", "operations", "metrics"),
    ("/admin/syncs/rejection/", "delivery", "the-failure-table"),
    ("/admin/syncs/", "delivery", ""),
    ("/admin/people/suppression/", "people", "suppressed-people"),
    ("/admin/people/erasure/", "people", "forgetting-a-person"),
    ("/admin/people/", "people", ""),
    ("/admin/retention/", "operations", "retention"),
    ("/admin/where/", "people", "what-is-known-of-a-person"),
    ("/admin/events/correction/", "behavioral", "correcting-what-came-in"),
    ("/admin/events/", "behavioral", "events-in"),
    ("/admin/receiving/", "partner", ""),
    ("/admin/cohortsite/proposal/", "operations", "four-eyes"),
    ("/admin/cohortsite/apitoken/", "rest-api", "tokens"),
    ("/admin/auth/", "operations", "people"),
    ("/admin/", "glossary", ""),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, as plain text."""

    page: str
    title: str
    anchor: str
    text: str

    @property
    def url(self) -> str:
        return f"{url_of(self.page)}#{self.anchor}"


def page(request: HttpRequest, name: str = "index") -> HttpResponse:
    """GET /help/NAME/."""
    if name not in pages():
        raise Http404
    context = {"title": title_of(name), "document": rendered(name), "is_index": name == "index"}
    context["tour_offer"] = tour.offer(request)
    return TemplateResponse(request, "cohortsite/help.html", admin.site.each_context(request) | context)


def search(request: HttpRequest) -> HttpResponse:
    """GET /help/?q=: the sections in which every word stands, those that it is the heading of first."""
    asked = request.GET.get("q", "")
    if not asked.strip():
        return page(request)
    context = {"title": "Help", "asked": asked, "found": matching(asked)}
    return TemplateResponse(request, "cohortsite/help.html", admin.site.each_context(request) | context)


def about(path: str) -> str:
    """Return the address of what explains a page of the admin; '' for any other page."""
    for begins, name, anchor in ABOUT:
        if path.startswith(begins):
            return url_of(name) + (f"#{anchor}" if anchor else "")
    return ""


def url_of(name: str) -> str:
    return reverse("help-page", args=[name])


@cache
def pages() -> frozenset[str]:
    return frozenset(path.stem for path in DOCS.glob("*.md"))


def title_of(name: str) -> str:
    return next((section.title for section in _sections(name)), name)


@cache
def rendered(name: str) -> SafeString:
    """Return a document as HTML. What is HTML in it is shown as text."""
    tokens = _parsed(name)
    for token in tokens:
        for child in token.children or ():
            _lead(child)
    html: str = _markdown().renderer.render(tokens, _markdown().options, {})
    return SafeString(html)


def matching(asked: str) -> list[Section]:
    words = asked.lower().split()
    found = [
        section
        for name in sorted(pages())
        for section in _sections(name)
        if all(word in f"{section.title} {section.text}".lower() for word in words)
    ]
    found.sort(key=lambda section: not all(word in section.title.lower() for word in words))
    return found[:MOST]


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _parsed(name: str) -> list[Token]:
    """Return the tokens of a document, with an anchor on each heading."""
    tokens = _markdown().parse((DOCS / f"{name}.md").read_text())
    seen: dict[str, int] = {}
    for opened, inline in zip(tokens, tokens[1:], strict=False):
        if opened.type == "heading_open":
            slug = slugify(inline.content) or "section"
            seen[slug] = seen.get(slug, 0) + 1
            opened.attrSet("id", slug if seen[slug] == 1 else f"{slug}-{seen[slug]}")
        elif opened.type == "table_open":
            opened.attrSet("class", "cs-table")
        elif opened.type == "td_open" and re.fullmatch(r"\*\*.+\*\*", inline.content):
            # A row about a word, as in the glossary.
            opened.attrSet("id", slugify(inline.content))
    return tokens


def _lead(token: Token) -> None:
    """Lead links between documents to their pages here; what is not among them has no link."""
    target = str(token.attrGet("href") or "")
    if token.type != "link_open" or re.match(r"https?:|#", target):
        return
    name, _, anchor = target.partition("#")
    if name.removesuffix(".md") in pages():
        token.attrSet("href", url_of(name.removesuffix(".md")) + (f"#{anchor}" if anchor else ""))
    else:
        token.attrs = {}


@cache
def _sections(name: str) -> tuple[Section, ...]:
    return tuple(_cut(name))


def _cut(name: str) -> Iterator[Section]:
    title, anchor, text = name, "", ""
    tokens = _parsed(name)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            if text.strip():
                yield Section(name, title, anchor, text.strip())
            title, anchor, text = token.content, str(before.attrGet("id")), ""
        elif token.type in ("inline", "fence", "code_block"):
            text += re.sub(r"[*_`]|\]\([^)]*\)|\[", "", token.content) + "\n"
    if text.strip():
        yield Section(name, title, anchor, text.strip())
