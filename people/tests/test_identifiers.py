"""Addresses and numbers as partners hash them, and what is refused."""

import hashlib

import pytest

from pagekit.identifiers import InvalidIdentifier, clean_email, clean_phone
from people.identifiers import Kind, digests_of, hint_of

pytestmark = pytest.mark.once


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (" Ada@Example.COM\n", "ada@example.com"),
        ("ada+list@mail.example.org", "ada+list@mail.example.org"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("ada@localhost", "ada@localhost"),
        # As they are: a domain in letters or as xn--, and letters of full width.
        ("Ada@B\u00dcCHER.example", "ada@b\u00fccher.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("\uff21da@example.com", "\uff41da@example.com"),
    ],
)
def test_an_address_has_one_form(text, clean):
    assert clean_email(text) == clean
    assert digests_of(Kind.EMAIL, text) == [sha256(clean)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ada", "has no @"),
        ("a@b@c", "is not an e-mail address"),
        ("@example.com", "is not an e-mail address"),
        ("ada@", "is not an e-mail address"),
        ("a b@example.com", "is not an e-mail address"),
        ("ada\0@example.com", "contains a NUL character"),
        ("a" * 5_000 + "@example.com", "is longer than 254 characters"),
        ("ad\x07a@example.com", "contains a control character"),
        ("\ud800@example.com", "contains a lone surrogate"),
        ("mailto:ada@example.com", "is not an e-mail address"),
        ("Ada<ada@example.com>", "is not an e-mail address"),
        ("ada@example.com,bob@example.com", "is not an e-mail address"),
        ("ada\uff20example.com", "has no @"),
    ],
)
def test_what_is_no_address_is_refused(text, problem):
    with pytest.raises(InvalidIdentifier, match=problem):
        clean_email(text)


@pytest.mark.parametrize(
    "mark", ["\u200e", "\u200f", "\u202a", "\u202c", "\u2069", "\u200b", "\u2060", "\ufeff"]
)
@pytest.mark.parametrize("marked", ["{}ada@example.com", "ada@example.com{} ", "ada{}@example.com"])
def test_marks_that_nobody_sees_make_no_other_person(mark, marked):
    text = marked.format(mark)
    assert clean_email(text) == "ada@example.com"
    # Who was put on the list with the mark is still found.
    assert digests_of(Kind.EMAIL, text) == [sha256("ada@example.com"), sha256(text.strip())]
    assert clean_phone(f"{mark}+49 30{mark} 901820{mark}") == "+4930901820"


@pytest.mark.parametrize(
    "text",
    [
        *("+49 30 901820", "0049 30 901820", " +49 (30) 90-1820 ", "+49\u00a030\u00a0901820"),
        "\uff0b\uff14\uff19 \uff13\uff10 901820",
    ],
)
def test_a_number_has_one_form_and_two_hashes(text):
    assert clean_phone(text) == "+4930901820"
    assert digests_of(Kind.PHONE, text) == [sha256("+4930901820"), sha256("4930901820")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("030 901820", "does not begin with"),
        ("+49", "is not a telephone number|too few"),
        ("+49 1", "is not a telephone number|too few"),
        ("+" + "1" * 5_000, "is not a telephone number|too many"),
        ("+4930\x00901820x", "telephone|digits"),
        ("nobody", "does not begin with"),
    ],
)
def test_what_is_no_number_is_refused(text, problem):
    with pytest.raises(InvalidIdentifier, match=problem):
        clean_phone(text)


def test_a_hash_is_taken_as_it_is_and_shown_as_one():
    digest = sha256("ada@example.com")
    assert digests_of(Kind.EMAIL, f" {digest.upper()} ") == [digest]
    assert hint_of(Kind.EMAIL, digest) == f"{digest[:8]}…"


def test_what_is_shown_of_an_identifier_does_not_give_it_away():
    assert hint_of(Kind.EMAIL, "Ada.Lovelace@example.com") == "a…@example.com"
    assert hint_of(Kind.PHONE, "+49 30 901820") == "…820"
