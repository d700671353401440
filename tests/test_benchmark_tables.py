"""Benchmarks print the figure that landed last beside the new one."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.once
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", BENCHMARKS / "tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_figure_stands_with_the_one_that_landed_last(tables, tmp_path, capsys, monkeypatch):
    landed = tmp_path / "landed.json"
    landed.write_text(json.dumps({"sync": {"list · SQLite": "3.19"}}))
    monkeypatch.setattr(sys, "argv", ["delivery.py"])

    table = tables.Table("sync", "kind", "database", "times", watched="times", keys=2, landed=landed)
    table.row("list", "SQLite", "2.00")
    table.row("list", "PostgreSQL", "2.50")

    assert capsys.readouterr().out.splitlines()[2:] == [
        "| list | SQLite | 2.00 | 3.19 |",
        "| list | PostgreSQL | 2.50 | - |",
    ]
    assert json.loads(landed.read_text()) == {"sync": {"list · SQLite": "3.19"}}


def test_landing_keeps_what_other_tables_hold(tables, tmp_path, monkeypatch):
    landed = tmp_path / "landed.json"
    landed.write_text(json.dumps({"pages": {"/": "12"}, "sync": {"list": "3.19", "property": "3.80"}}))
    monkeypatch.setattr(sys, "argv", ["delivery.py", "--land"])

    tables.Table("sync", "kind", "times", watched="times", landed=landed).row("list", "2.00")

    assert json.loads(landed.read_text()) == {
        "pages": {"/": "12"},
        "sync": {"list": "2.00", "property": "3.80"},
    }


def test_the_landed_figures_are_those_of_tables_that_are_printed(tables):
    text = "".join(path.read_text() for path in BENCHMARKS.glob("*.py"))
    for name in json.loads(tables.LANDED.read_text()):
        assert f'"{name.split(",")[0].split(" at ")[0]}' in text, name
