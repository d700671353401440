"""The parts of the form that know no page, tested by node; and the words that the server gives it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cohorts.definitions import grammar, parse
from cohorts.definitions.operators import OPERATORS
from cohorts.definitions.parse import NODES
from cohorts.definitions.parse_measure import COMPARISONS, MEASURES
from cohorts.definitions.parse_property import TYPES
from cohorts.definitions.vocabulary import vocabulary

pytestmark = pytest.mark.once

TESTS = Path(__file__).with_name("builder.test.mjs")
PARTS = TESTS.parent.parent / "static/cohorts"


def test_what_the_form_does_to_a_definition() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the form's parts are tested by it")
    ran = subprocess.run([node, "--test", str(TESTS)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "# pass 0" not in ran.stdout, ran.stdout + ran.stderr


def test_the_form_is_given_every_word_of_the_grammar() -> None:
    words = vocabulary()
    assert list(words["operators"]) == list(words["shapes"]) == list(OPERATORS)
    assert tuple(words["measures"]) == ("", *MEASURES)
    assert tuple(words["comparisons"]) == COMPARISONS
    assert set(words["units"]) == set(grammar.MINUTES)
    assert tuple(words["types"]) == TYPES
    assert set(words["kinds"]) | set(words["groups"]) | {"not"} == set(NODES)
    assert list(words["kinds"]) == list(words["notKinds"]) and list(words["groups"]) == list(
        words["notGroups"]
    )
    templates = (PARTS / "builder/templates.js").read_text()
    assert [name for name in words["templates"] if f"{name}: (" not in templates] == []


def test_the_words_stand_in_one_file() -> None:
    scripts = "".join(path.read_text() for path in [PARTS / "builder.js", *(PARTS / "builder").glob("*.js")])
    labels = [label for label in vocabulary()["operators"].values() if " " in label]
    assert len(labels) > 8 and [label for label in labels if f'"{label}"' in scripts] == []


def test_a_fresh_condition_of_each_operator_is_one_that_the_parser_takes() -> None:
    values = {
        "any": "a",
        "text": "a",
        "pattern": "a",
        "order": 1,
        "pair": [1, 2],
        "list": ["a"],
        "none": True,
        "duration": "30d",
    }
    for sign, shape in vocabulary()["shapes"].items():
        parse({"version": 1, "where": {"user": {"property": "p", sign: values[shape]}}})
