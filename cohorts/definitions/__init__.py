"""The grammar of behavioral cohorts: what people did or did not do, as JSON.

`parse(value)` gives a `Definition` or raises `DefinitionError` with every problem and its place;
`json_schema()` is the grammar for editors. docs: "Behavioral cohorts: definitions".
"""

from cohorts.definitions.definition import Definition, DefinitionError
from cohorts.definitions.parse import parse
from cohorts.definitions.schema import json_schema

__all__ = ["Definition", "DefinitionError", "json_schema", "parse"]
