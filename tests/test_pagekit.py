"""What every app's admin pages are made with, and that no app has another way."""

import ast
import re

import pytest

from pagekit.shown_if import shown_if
from tests.test_docs import ROOT, files

pytestmark = pytest.mark.once
# unfold's decorator and its lists of actions, and addresses for htmx to go to.
OTHER_ACTIONS = re.compile(
    r"unfold\.decorators import [^\n]*\baction\b|\bactions_(?:detail|row|list|submit_line)\b"
    r"|HX-Redirect|BaseDialogForm"
)
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
