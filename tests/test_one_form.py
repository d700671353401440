"""What is kept of a person, what is suppressed and what a partner is sent of them have one form."""

import hashlib

import pytest

from destinations import mapping
from people.identifiers import Kind, digests_of
from people.profiles import InvalidValue, read_text

pytestmark = pytest.mark.once

# printf %s test@example.com | sha256sum
TEST = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"


@pytest.mark.parametrize(
    ("kind", "text", "form"),
    [
        ("email", " Test@Example.com\t", "test@example.com"),
        ("email", "Jose\u0301@Example.com", "jos\u00e9@example.com"),
        ("email", "\u00c4da@B\u00fccher.example", "\u00e4da@b\u00fccher.example"),
        ("email", "ada@localhost", "ada@localhost"),
        ("phone", "+49 (30) 90-1820", "+4930901820"),
        ("phone", "0049\u00a030 901820", "+4930901820"),
        ("phone", "+1 657-777-0000", "+16577770000"),
    ],
)
def test_one_form_is_kept_suppressed_and_sent(kind: str, text: str, form: str) -> None:
    assert read_text(text, kind) == form
    assert mapping.apply([kind], text) == form
    digest = hashlib.sha256(form.encode()).hexdigest()
    assert digests_of(Kind(kind), text)[0] == digest
    assert mapping.apply([kind, "sha256"], text) == digest
    # What is a hash already is one at each door.
    assert read_text(digest.upper(), kind) == mapping.apply([kind, "sha256"], digest.upper()) == digest


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("email", text) for text in ("ada", "a@b@c", "@x.example", "ada@", "a b@x.example", "ada@x..org")),
        *(("email", text) for text in ("ada\0@x.example", "a" * 5_000 + "@x.example")),
        *(
            ("phone", text)
            for text in ("030 901820", "+49", "+49 1", "call me", "+999 12345678", "1" * 5_000)
        ),
    ],
)
def test_what_is_none_is_refused_with_the_same_words(kind: str, text: str) -> None:
    with pytest.raises(InvalidValue) as kept:
        read_text(text, kind)
    with pytest.raises(mapping.Unsuitable) as sent:
        mapping.apply([kind, "sha256"], text)
    if "\0" not in text and len(text) < 4_096:  # of these, profiles say so of every text
        assert str(kept.value) == str(sent.value)


def test_the_hash_is_that_of_other_tools() -> None:
    assert mapping.apply(["email", "sha256"], " TEST@example.com ") == TEST
