"""The code, the pages and the documents use plain words: none that only we would understand."""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.test_docs import ROOT, files

pytestmark = pytest.mark.once

# A word that was used for several things or meant nothing to others, and what is written now.
PRIVATE = {
    "beside": "alongside",
    "deed": "action",
    "door": "what it is: API, form, command, middleware",
    "dressed": "styled",
    "flying": "in flight",
    "patient": "what it is",
    "place": "fingerprint, path, field, pointer, position",
    "room": "app, quota, headroom",
    "stage": "fixtures, setup",
    "story": "demo run, history",
    "told": "notified, sent, reported, distinguished",
}
PLURALS = {"stories": "story"} | {f"{word}s": word for word in PRIVATE}
# Prose may say what in a name would be unclear: "in place of", "room for".
IN_NAMES_ALONE = {"patient", "place", "room", "stage"}
# Keys of configuration files, checks that migrations name, a setting of a long test; and below,
# staging files as databases mean it.
KEPT = {"list_id_place", "find_places", "read_places", "STORIES"} | {
    "check_place", "check_find_places", "check_read_places"
}  # fmt: skip
STAGING = {f"events/{name}.py" for name in ("dry_run", "importing", "staging", "tests/test_staging")}


def words_of(name: str) -> set[str]:
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return {PLURALS.get(part, part) for part in parts} & set(PRIVATE)


def names_in(path: Path) -> set[str]:
    with io.StringIO(path.read_text()) as source:
        return {t.string for t in tokenize.generate_tokens(source.readline) if t.type == tokenize.NAME}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_name_in_the_code_is_a_private_word() -> None:
    found = [
        f"{relative(path)}: {name}"
        for path in files()
        if path.suffix == ".py" and "migrations" not in str(path) and path != Path(__file__)
        for name in names_in(path) - KEPT
        if words_of(name) - ({"stage"} if relative(path) in STAGING else set())
    ]
    assert found == [], PRIVATE


def test_no_page_and_no_document_uses_a_private_word() -> None:
    shown = [path for path in files() if path.suffix in (".md", ".html") and path.name != "CHANGELOG.md"]
    assert len(shown) > 60
    found = [
        f"{relative(path)}: {word}"
        for path in shown
        for word in re.findall(r"[A-Za-z]+", path.read_text())
        if words_of(word) - IN_NAMES_ALONE and word not in KEPT
    ]
    assert found == [], PRIVATE


def test_the_check_sees_a_word_in_any_spelling() -> None:
    assert [words_of(name) for name in ("placeProblem", "TOLD", "_doors", "stories_of", "replaced")] == [
        {"place"},
        {"told"},
        {"door"},
        {"story"},
        set(),
    ]
