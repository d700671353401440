"""axe-core on an open page: the rules of WCAG 2.0 to 2.2, levels A and AA."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

TELEPHONE: ViewportSize = {"width": 390, "height": 844}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
# What is let pass, all of it: (rule, a part of the element's HTML): the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("nested-interactive", 'class="opblock-summary-control"'): (
        "Swagger UI, in the API's documentation, puts the link of a call within the button that opens it"
    ),
}
# What is half faded in has the contrast of neither before nor after. It begins a frame after the press.
SETTLED = """async () => {
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    const ending = document.getAnimations().filter(one => one.effect.getComputedTiming().endTime < Infinity);
    await Promise.allSettled(ending.map(one => one.finished));
}"""
# The bar that stays at the foot covers whatever lies there just now; scrolled, it covers something else.
BAR = (
    "position => document.querySelectorAll('#submit-row').forEach(bar => { bar.style.position = position; })"
)
_axe = Axe()


def violations(page: Page, *rules: str) -> list[str]:
    """Return what is wrong on the page, a line each; `rules` to look at these alone."""
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": TAGS}
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe.axe_script)
    page.evaluate(SETTLED)
    page.evaluate(BAR, "static")
    options = {"runOnly": only, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options).then(result => result.violations)", options)
    page.evaluate(BAR, "")
    return [_line(rule, node) for rule in found for node in rule["nodes"] if not _is_excepted(rule, node)]


def everywhere(page: Page) -> list[str]:
    """Return what is wrong on the page in both themes, and on a telephone: it must not scroll there."""
    found = violations(page) + in_the_dark(page)
    before = page.viewport_size
    assert before
    page.set_viewport_size(TELEPHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > TELEPHONE["width"]:
        found.append(f"{width} pixels wide on a telephone")
    found += [f"telephone: {line}" for line in violations(page, "target-size")]
    page.set_viewport_size(before)
    return found


@contextmanager
def dark(page: Page) -> Iterator[None]:
    """Show the page in its dark theme; it asks by itself only when it is loaded."""
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.classList.add('dark')")
    yield
    page.evaluate("document.documentElement.classList.remove('dark')")
    page.emulate_media(color_scheme="light")


def in_the_dark(page: Page) -> list[str]:
    """Return what is wrong of the page's colours in its dark theme."""
    with dark(page):
        return [f"dark: {line}" for line in violations(page, "color-contrast", "link-in-text-block")]


def _is_excepted(rule: dict[str, Any], node: dict[str, Any]) -> bool:
    return any(rule["id"] == name and part in node["html"] for name, part in EXCEPTIONS)


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    why = " ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
    return f"{rule['id']}: {node['target']} {node['html'][:200]} {why[:300]}"
