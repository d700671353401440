"""docs/behavioral.md says what the grammar takes; docs/behavioral.schema.json is the schema of the code.

After a change of the grammar: WRITE_SCHEMA=1 pytest tests/test_behavioral_docs.py
"""

import json
import os
import re

import pytest
import yaml
from django.conf import settings

from cohorts.definitions import json_schema, parse

pytestmark = pytest.mark.once

DOCS = settings.BASE_DIR / "docs"
PAGE = (DOCS / "behavioral.md").read_text()
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
IN_TABLE = [json.loads(text) for text in re.findall(r"\| `(\{.*?\})` \|$", PAGE, re.MULTILINE)]


def test_the_published_schema_is_the_one_of_the_code():
    path = DOCS / "behavioral.schema.json"
    text = json.dumps(json_schema(), indent=2) + "\n"
    if os.environ.get("WRITE_SCHEMA"):
        path.write_text(text)
    assert path.read_text() == text, "write it anew: WRITE_SCHEMA=1 pytest tests/test_behavioral_docs.py"


@pytest.mark.parametrize("example", [*BLOCKS, *IN_TABLE], ids=lambda example: next(iter(example)))
def test_each_example_of_the_page_is_a_definition(example):
    assert parse(example if "where" in example else {"version": 1, "where": example}).sentence()


def test_there_are_examples_and_the_first_has_the_sentence_of_the_page():
    assert (len(BLOCKS), len(IN_TABLE)) == (6, 6)
    assert f"*{parse(BLOCKS[0]).sentence()}*" in " ".join(PAGE.split())


def test_the_definitions_of_its_configuration_file_are_right():
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    cohorts = yaml.safe_load(text)["cohorts"]
    assert [parse(c["source"]["definition"]).version for c in cohorts if "definition" in c["source"]] == [1]
