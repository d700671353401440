"""Putting people on the list in the browser: in clear or hashed, from a file, and what is refused."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from people.models import Suppression

pytestmark = pytest.mark.django_db
URL = "/admin/people/suppression/add/"


def sent(client, **fields):
    return client.post(URL, {"kind": "email", "people": "", "reason": "asked", **fields}, follow=True)


def test_people_are_named_and_only_their_hash_is_kept(admin_client):
    page = sent(admin_client, people="Ann@Example.com\n\nbob@example.com")
    assert "2 people are new on the list" in page.content.decode()
    values = list(Suppression.objects.values_list("value", flat=True))
    assert [len(value) for value in values] == [64, 64]
    assert "0 people are new" in sent(admin_client, people="ann@example.com").content.decode()


def test_people_come_by_a_file(admin_client):
    file = SimpleUploadedFile("out.csv", b"email,why\nann@example.com,left\nbob@example.com,left\n")
    page = sent(admin_client, file=file, column="email")
    assert "2 people are new on the list" in page.content.decode()
    assert set(Suppression.objects.values_list("reason", flat=True)) == {"asked"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Name people, or choose a file; not both."),
        ({"people": "no address"}, "Nothing was changed."),
        ({"people": "a@b.example", "until_0": "2000-01-01", "until_1": "00:00"}, "This time is over."),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(admin_client, fields, said):
    assert said in sent(admin_client, **fields).content.decode()
    assert not Suppression.objects.exists()
