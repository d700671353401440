"""The list of suppressed people: putting on, taking off, times, and the numbers of its changes."""

from datetime import timedelta
from io import BytesIO

import pytest
from django.utils import timezone

from people import suppression
from people.files import use_file
from people.identifiers import Kind
from people.models import Suppression
from people.suppression import InvalidEntry, Said, entry_of

pytestmark = pytest.mark.django_db


def put(*people: str, kind: str = Kind.USER_ID, **said) -> int:
    return suppression.add([entry_of(kind, one) for one in people], Said(**said))


def lift(*people: str, kind: str = Kind.USER_ID) -> int:
    return suppression.lift([entry_of(kind, one) for one in people])


def test_who_is_on_the_list_is_found_by_id_and_by_an_identifier_that_is_the_id():
    put("u1", "it's", "u1")
    put("Ada@Example.com", kind=Kind.EMAIL)
    put("+49 30 901820", kind=Kind.PHONE)
    ids = ["ada@example.com", " ADA@example.com", "+4930901820", "u1", "u2", "it's", "bob@example.com"]
    assert suppression.among(ids) == {"ada@example.com", " ADA@example.com", "+4930901820", "u1", "it's"}
    hashed = entry_of(Kind.EMAIL, "ada@example.com").value
    assert suppression.among([hashed, hashed.upper()]) == {hashed, hashed.upper()}
    assert suppression.among([]) == set()


def test_the_list_keeps_no_address():
    put("ada.lovelace@example.com", kind=Kind.EMAIL)
    kept = Suppression.objects.values().get()
    assert "lovelace" not in str(kept)


def test_putting_on_again_replaces_what_was_said_and_counts_nobody_twice():
    assert put("u1", "u2", reason="first") == 2
    assert put("u2", "u3", reason="again") == 1
    assert dict(Suppression.objects.values_list("value", "reason")) == {
        "u1": "first", "u2": "again", "u3": "again",
    }  # fmt: skip
    assert lift("u1", "u2", "nobody") == 2
    assert lift("u1") == 0
    assert suppression.among(["u1", "u2", "u3"]) == {"u3"}
    assert put("u1") == 1
    assert suppression.among(["u1"]) == {"u1"}


def test_times_begin_and_end_and_each_is_a_change():
    now = timezone.now()
    put("later", since=now + timedelta(hours=1))
    put("ends", until=now + timedelta(hours=1))
    first = suppression.number()
    assert suppression.among(["later", "ends"]) == {"ends"}
    assert suppression.number() == first
    Suppression.objects.update(since=now - timedelta(hours=2), until=None)
    Suppression.objects.filter(value="ends").update(until=now - timedelta(hours=1))
    second = suppression.number()
    assert second > first
    assert [list(page) for page in suppression.changed_since(first)] == [["ends", "later"]]
    assert suppression.among(["later", "ends"]) == {"later"}
    assert suppression.number() == second


def test_what_would_end_before_it_begins_is_refused():
    with pytest.raises(InvalidEntry, match="end before it begins"):
        put("u1", until=timezone.now() - timedelta(seconds=1))
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Kind.USER_ID, "", "User id '' is blank."),
        (Kind.USER_ID, "a\0b", "contains a NUL"),
        (Kind.EMAIL, "ada", "E-mail address 'ada' has no @."),
        (Kind.EMAIL, 7, "is no text"),
        (Kind.PHONE, "030 1", "Telephone number '030 1' does not begin with"),
        (Kind.EMAIL, "x" * 5_000, "…' has no @|is longer"),
    ],
)
def test_what_names_nobody_is_refused_by_name(kind, text, said):
    with pytest.raises(InvalidEntry, match=said):
        entry_of(kind, text)


def test_a_file_is_put_on_the_list_whole_or_not_at_all():
    file = BytesIO(b"user_id,name\nada@example.com,Ada\nbob,Bob\n")
    with pytest.raises(InvalidEntry, match=r"'bob' has no @. Nothing was changed"):
        use_file(file, lambda entries: suppression.add(entries, Said()), kind=Kind.EMAIL, name="out.csv")
    assert not Suppression.objects.exists()
    file.seek(0)
    new, invalid = use_file(
        file,
        lambda entries: suppression.add(entries, Said()),
        kind=Kind.EMAIL,
        name="out.csv",
        skip_invalid=True,
    )
    assert (new, invalid.count) == (1, 1)
    assert suppression.among(["ada@example.com"])
