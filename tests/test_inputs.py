"""The page about inputs that are easily taken wrong names tests that there are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "inputs.md").read_text()
NAMED = re.compile(r"`([a-z_/]+/test_\w+\.py)::(test_\w+)`")


def rows() -> Iterator[str]:
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| what comes |"):
            yield line


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED.findall(PAGE)}))
def test_each_test_that_the_page_names_is_there(path: str) -> None:
    named = {name for file, name in NAMED.findall(PAGE) if file == path}
    assert named - names_in(path) == set()


def test_each_input_names_a_test() -> None:
    assert len(list(rows())) > 60
    assert [row for row in rows() if not NAMED.findall(row.rpartition("|")[0].rpartition("|")[2])] == []
