"""What every app's admin pages are made with, and that no app has another way."""

import ast
import re
from datetime import UTC, datetime, timedelta

import pytest

from pagekit.shown_if import shown_if
from pagekit.times import ago, exactly, when
from tests.test_docs import ROOT, files

pytestmark = pytest.mark.once
# unfold's decorator and its lists of actions, and addresses for htmx to go to.
OTHER_ACTIONS = re.compile(
    r"unfold\.decorators import [^\n]*\baction\b|\bactions_(?:detail|row|list|submit_line)\b"
    r"|HX-Redirect|BaseDialogForm"
)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORBIDDEN_BY_READ_ONLY = {"has_add_permission", "has_change_permission", "has_delete_permission"}


def test_a_field_is_shown_by_one_value_by_several_and_by_several_fields() -> None:
    assert shown_if(kind="list") == "typeof kind === 'undefined' || (['list'].includes(kind))"
    assert shown_if(a=("x", "y"), b="z") == (
        "typeof a === 'undefined' || (['x', 'y'].includes(a) && ['z'].includes(b))"
    )


def refused_by(made: ast.ClassDef) -> set[str]:
    """Return the methods of a class that do nothing but return False."""
    methods = [node for node in made.body if isinstance(node, ast.FunctionDef)]
    return {
        method.name
        for method in methods
        if isinstance(last := method.body[-1], ast.Return)
        and isinstance(last.value, ast.Constant)
        and last.value.value is False
    }


def test_there_is_one_read_only_admin_and_one_way_to_show_a_field() -> None:
    read_only, expressions = [], []
    for path in files():
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        text = path.read_text()
        if "=== 'undefined'" in text:
            expressions.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)) if "_permission(" in text else ():
            if isinstance(node, ast.ClassDef) and refused_by(node) >= FORBIDDEN_BY_READ_ONLY:
                read_only.append(node.name)
    assert read_only == ["ReadOnlyAdmin"]
    assert expressions == ["pagekit/shown_if.py"]


def test_what_is_done_with_a_row_is_an_action_of_pagekit_and_nothing_else() -> None:
    """Of several rows at once, it is an action of Django's list."""
    others = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.suffix == ".py" and "tests" not in path.parts and OTHER_ACTIONS.search(path.read_text())
    ]
    assert others == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-59, "just now"),
        (-60, "1 minute ago"),
        (-7_300, "2 hours ago"),
        (30, "in less than a minute"),
        (90_000, "in 1 day"),
    ],
)
def test_times_are_distinguished_from_now(seconds: int, words: str) -> None:
    assert ago(NOW + timedelta(seconds=seconds), NOW).replace("\xa0", " ") == words


def test_an_exact_time_says_its_zone_and_no_time_is_a_dash() -> None:
    assert ">2026-03-01 12:00 UTC</time>" in exactly(NOW)
    assert 'title="2026-03-01 12:00:00 UTC"' in when(NOW)
    assert exactly(None) == when(None) == "–"


def test_whether_a_field_is_shown_is_known_without_a_browser_too() -> None:
    class Row:
        kind, other = "list", ""

    assert shown_if(kind=("list", "property")).holds(Row())
    assert not shown_if(kind="list", other="x").holds(Row())
