"""Files of profiles by REST: sent, imported by the worker, asked for."""

import gzip
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from people import profiles
from people.models import ProfileImport
from people.profile_imports import forget_files, import_waiting
from receiving.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/profile-uploads"


@pytest.fixture
def client(settings: Any, tmp_path: Any) -> APIClient:
    settings.VAR_DIR = settings.MEDIA_ROOT = tmp_path
    settings.EVENTS_DIR = tmp_path / "events"
    Workspace.objects.create(slug="shop")
    user = User.objects.create_user("ann", is_staff=True)
    rights = ["view_profileimport", "add_profileimport"]
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = APIClient()
    client.force_authenticate(User.objects.get(pk=user.pk))
    return client


def send(client: APIClient, body: bytes, name: str = "people.csv", **more: Any) -> Any:
    said = {"file": SimpleUploadedFile(name, body), "workspace": "shop", "map": ["email=mail"]}
    return client.post(URL, said | more, format="multipart")


def known(user_id: str) -> dict[str, Any]:
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def test_a_packed_file_is_sent_and_imported(client: APIClient) -> None:
    body = gzip.compress(b"who;mail;May we write?\nu1;Ada@Example.com;yes\nu2;;no\n")
    said = {"map": ["email=mail", "consent:boolean=May we write?"], "column": "who", "separator": "semicolon"}
    sent = send(client, body, "people.csv.gz", **said)
    assert (sent.status_code, sent.json()["state"], sent.json()["percent"]) == (202, "waiting", 0)
    assert [one.state for one in import_waiting()] == ["done"]
    done = client.get(f"{URL}/{sent.json()['id']}").json()
    assert (done["state"], done["users"], done["changed"], done["created_by"]) == ("done", 2, 3, "ann")
    assert (known("u1"), known("u2")) == ({"email": "ada@example.com", "consent": True}, {"consent": False})
    assert [one["id"] for one in client.get(f"{URL}?workspace=shop").json()["results"]] == [done["id"]]
    assert client.post(f"{URL}/{done['id']}/again").status_code == 409


def test_each_wrong_line_is_named_and_nothing_kept_or_they_are_passed_over(client: APIClient) -> None:
    body = b"user_id,mail\nu1,a@example.com\nu2,none\nu3," + b"x" * 5_000 + b"@example.com\nu4,a@b@c\n"
    url = f"{URL}/{send(client, body).json()['id']}"
    list(import_waiting())
    failed = client.get(url).json()
    assert failed["state"] == "failed" and known("u1") == {}
    assert "Line 3: email 'none' has no @. Line 4: email 'xxx" in failed["error"]
    assert "Line 5: email 'a@b@c' is not an e-mail address. Nothing was kept." in failed["error"]
    assert client.post(f"{url}/again").json()["state"] == "waiting"
    assert [one.state for one in import_waiting()] == ["failed"]

    url = f"{URL}/{send(client, body, skip_invalid='true').json()['id']}"
    list(import_waiting())
    done = client.get(url).json()
    assert (done["state"], done["skipped"], known("u1")) == ("done", 3, {"email": "a@example.com"})
    assert done["skipped_first"][0] == "Line 3: email 'none' has no @."
    # They quote people: an erasure, which does not know in which of them somebody is, takes all of them.
    forget_files()
    assert client.get(url).json()["skipped_first"] == []


def test_of_a_thousand_wrong_lines_the_first_are_named(client: APIClient) -> None:
    send(client, b"user_id,mail\n" + b"".join(b"u%d,none\n" % number for number in range(1_000)))
    [failed] = import_waiting()
    assert "Line 21: email" in failed.error and "Line 22" not in failed.error
    assert failed.error.endswith("And 980 more. Nothing was kept.")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"workspace": "none"}, "workspace"),
        ({"map": ["email=E-Mail"]}, "map"),
        ({"map": ["email"]}, "map"),
        ({"map": []}, "map"),
        ({"column": "id"}, "column"),
        ({"separator": "?"}, "separator"),
        ({"encoding": "ebcdic"}, "encoding"),
        ({"format": "xml"}, "format"),
        ({"heading": "perhaps"}, "heading"),
        ({"file": "text"}, "file"),
    ],
)
def test_mistakes_are_named_and_nothing_is_stored(client: APIClient, more: Any, field: str) -> None:
    reply = send(client, b"user_id,mail\nu1,a@example.com\n", **more)
    assert (reply.status_code, field in str(reply.json())) == (400, True), reply.json()
    assert not ProfileImport.objects.exists()


def test_a_file_that_is_too_large_is_refused(client: APIClient, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 10
    assert "larger than" in str(send(client, b"user_id,mail\nu1,a@example.com\n").json())
