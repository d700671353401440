"""The text of a configuration file: strict YAML in, readable YAML out.

YAML 1.1 reads `10:30` as 630 and `no` as false; here only `true` and `false` are booleans, plain
numbers are numbers, and all else is text. A key that stands twice is an error: one of the two would be
lost without a word.
"""

import re
from typing import Any

import yaml


class InvalidConfig(ValueError):
    """What is wrong with a file, and where: `errors` are sentences such as `syncs[0].schedule.at: …`."""

    def __init__(self, *errors: str) -> None:
        super().__init__("\n".join(errors))
        self.errors = list(errors)


def _joined(text: str) -> str:
    """Make one character of the two halves that JSON's escapes write it as: "\\ud83d\\udd25" is a flame."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return text  # half of a pair, which is refused


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def text(self, node: yaml.ScalarNode) -> str:
        value = _joined(str(self.construct_scalar(node)))
        # Escapes can write what no database takes.
        if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _Problem("a NUL character or half of a surrogate pair", node)
        return value

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _Problem("a key that is no text: put it in quotes", key_node)
            if key in found:
                raise _Problem(f"{key!r} stands there twice", key_node)
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return [self.construct_object(one, deep=True) for one in node.value]


class _Problem(yaml.MarkedYAMLError):
    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


# The numbers are YAML 1.1's decimal ones, so that whatever the dumper leaves unquoted is read as text.
for _tag, _pattern, _first in (
    ("bool", r"true|True|false|False", [*"tTfF"]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", [*"-+0123456789"]),
    ("float", r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?", [*"-+0123456789"]),
    ("null", r"~|null|Null|", [*"~nN", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.text)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.sequence)


class _Dumper(yaml.SafeDumper):
    """Sequences are set in below their key, and nothing is an alias: as people write it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(text: bytes) -> Any:
    """Return what a YAML (or JSON) file says. Raises InvalidConfig, with line and column where known."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidConfig(f"{where}{error.problem or error.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise InvalidConfig(f"This is not YAML in UTF-8: {said}.") from None
    except RecursionError:
        raise InvalidConfig("The file is nested too deep.") from None


def dump(document: Any) -> str:
    """Return a document as YAML, keys in their order."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))
