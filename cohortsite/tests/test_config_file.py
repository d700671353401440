"""Reading the text of a configuration file."""

import pytest

from cohortsite.config_file import InvalidConfig, dump, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10:30", "10:30"),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("1000", 1000),
        ("-2.5", -2.5),
        ("true", True),
        ("", None),
        ("null", None),
        (".nan", ".nan"),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    read = load(f"key: {text}".encode())["key"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: 1\na: 2", "line 2, column 1: 'a' stands there twice"),
        (b"a: [1", "line 1"),
        (b"1: x", "a key that is no text"),
        (b'a: "x\\0y"', "line 1, column 4: a NUL"),
        (b'a: "\\uD800"', "half of a surrogate"),
        (b'a: "\\udd25\\ud83d"', "half of a surrogate"),
        (b"a: \xff", "not YAML in UTF-8"),
        (b"a: x\x00y", "not YAML in UTF-8"),
        (b"a: !!python/name:os.system ''", "could not determine a constructor"),
        (b"a: &x [*x]", "recursive"),
        (b"[" * 5000, "nested too deep"),
        (b"{a: 1}\n---\n{b: 2}", "another document"),
    ],
)
def test_what_is_no_plain_document_is_refused_with_its_path(text, said):
    with pytest.raises(InvalidConfig) as refused:
        load(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["no", "1", "1.5", "1.5e5", "089", "~", "", "a: b", "# x", "- x", "10:30", "2026-01-01", "é", "a\nb"],
)
def test_text_that_looks_like_something_else_comes_back_as_text(text):
    assert load(dump({"key": text}).encode()) == {"key": text}


def test_what_json_writes_in_two_halves_is_one_character():
    assert load(b'{"name": "VIP \\ud83d\\udd25", "\\ud83d\\udd25": 1}') == {
        "name": "VIP \U0001f525",
        "\U0001f525": 1,
    }
