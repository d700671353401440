"""Each module has tests that can be found: by its name, by who imports it, or by who uses it."""

import subprocess
import sys

import pytest

from tests import where_tested
from tests.where_tested import ROOT

pytestmark = pytest.mark.once
# How many modules may stand between a module and the tests that are about it.
FARTHEST = 3


def test_each_module_has_tests_near_by() -> None:
    ways = {module: where_tested.of(module) for module in where_tested.modules()}
    by_name = {m for m in ways if m.rpartition(".")[2] in where_tested.BY_NAME}
    lost = sorted(
        f"{module}: {' → '.join(way)}"
        for module, (found, way) in ways.items()
        if module not in by_name and (not found or len(way) - 1 > FARTHEST)
    )
    assert lost == []
    assert len(ways) > 300


def test_the_map_names_the_tests_of_a_module_and_the_way_to_them() -> None:
    found, way = where_tested.of("destinations.certify.subject")
    assert way == ["destinations.certify.subject", "destinations.certify.run"]
    assert ROOT / "destinations/tests/test_certify.py" in found
    assert all((ROOT / path).exists() for path in where_tested.NAMED.values())
    command = [sys.executable, "-m", "tests.where_tested", "destinations/certify/run.py"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "destinations/tests/test_certify.py" in said.splitlines()
