"""axe-core on an open page: the rules of WCAG 2.0 to 2.2, levels A and AA."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
# What is let pass, all of it: (rule, a part of the element's HTML): the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("nested-interactive", 'class="opblock-summary-control"'): (
        "Swagger UI, in the API's documentation, puts the link of a call within the button that opens it"
    ),
}
_axe = Axe()


def violations(page: Page, *rules: str) -> list[str]:
    """Return what is wrong on the page, a line each; `rules` to look at these alone."""
    only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": TAGS}
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe.axe_script)
    options = {"runOnly": only, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options).then(result => result.violations)", options)
    return [_line(rule, node) for rule in found for node in rule["nodes"] if not _is_excepted(rule, node)]


def _is_excepted(rule: dict[str, Any], node: dict[str, Any]) -> bool:
    return any(rule["id"] == name and part in node["html"] for name, part in EXCEPTIONS)


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    why = " ".join(check["message"] for kind in ("any", "all", "none") for check in node[kind])
    return f"{rule['id']}: {node['target']} {node['html'][:200]} {why[:300]}"
