"""The documents and the code point at each other, and what they name is there."""

import re
from functools import cache
from pathlib import Path

import pytest

from destinations.filters import FILTERS, NUMBER, OF_ITEMS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
# Pages that stood on somebody's desk and not here.
ELSEWHERE = re.compile(r"\b(design|protocol|house) page|\b(design|house|doors)\.md", re.IGNORECASE)
NAMED = re.compile(r"docs/([\w-]+\.md)`?(?:, ((?:[\"“][^\"”\n]+[\"”](?:, )?)+))?")
TEXT = {".py", ".html", ".js", ".md", ".toml", ".css", ".yaml"}


@cache
def files() -> list[Path]:
    """What belongs to the project and is text; not what tests have installed."""
    tops = [top for top in ROOT.iterdir() if top.name[0] != "." and top.name != "var"]
    all_of_them = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
    found = [path for path in all_of_them if path.suffix in TEXT or path.name == "run"]
    ours = [path for path in found if "node_modules" not in path.parts]
    return [path for path in ours if path.is_file() and path != Path(__file__)]


@cache
def headings(page: str) -> set[str]:
    text = (DOCS / page).read_text()
    return {re.sub(r"[`*]", "", line.lstrip("# ")).strip() for line in text.splitlines() if line[:1] == "#"}


def test_no_file_refers_to_a_page_that_is_not_in_the_repository() -> None:
    assert [str(path) for path in files() if ELSEWHERE.search(path.read_text())] == []


def test_each_page_that_is_named_is_there_with_the_heading_that_is_quoted() -> None:
    wrong: list[tuple[str, ...]] = []
    for path in files():
        for page, quoted in NAMED.findall(path.read_text()):
            titles = re.findall(r"[\"“]([^\"”]+)[\"”]", quoted)
            if page not in PAGES:
                wrong.append((str(path), page))
            else:
                known = headings(page)
                wrong += [
                    (str(path), page, title)
                    for title in titles
                    if not any(heading.startswith(title) for heading in known)
                ]
    assert wrong == []


def test_the_index_names_each_page_and_the_readme_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page for page in PAGES if page != "index.md" and f"({page})" not in index] == []
    assert "docs/index.md" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (DOCS / page).read_text())
    assert [link for link in links if not (DOCS / link).resolve().exists()] == []


@pytest.mark.parametrize("page", ["architecture.md", "changing.md", "protocol.md", "../CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w.-]*)`", (DOCS / page).read_text())
    ours = [name for name in named if (ROOT / name.split("/")[0]).is_dir()]
    assert ours
    assert [name for name in ours if not (ROOT / name).exists()] == []


def test_every_filter_of_templates_is_explained() -> None:
    explained = (
        (DOCS / "partners.md").read_text().split("## The language of a destination")[1].split("\n| field")[0]
    )
    known = [*FILTERS, NUMBER, *OF_ITEMS]
    assert [name for name in known if not re.search(rf"[`|]{name}\b", explained)] == []
