"""The REST API of events."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from events import arrivals
from events.catalogue import event_names
from events.importing import import_file
from events.models import Correction, EventUpload, ImportedFile

pytestmark = pytest.mark.django_db


def client_of(*permissions: str, name: str = "ann") -> APIClient:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "a.jsonl"
    lines = [{"user_id": user, "event": "play", "time": "2024-05-01"} for user in ("u1", "u2")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return import_file("default", path).key


def test_an_import_is_listed_and_undone(key: str) -> None:
    client = client_of("view_importedfile", "delete_importedfile")
    [listed] = client.get("/api/v1/event-imports?workspace=default").json()["results"]
    assert (listed["key"], listed["rows"], listed["undone_at"]) == (key, 2, None)
    assert client.delete(f"/api/v1/event-imports/{key}").status_code == 204
    assert client.get(f"/api/v1/event-imports/{key}").json()["undone_at"]
    assert client.delete(f"/api/v1/event-imports/{key}").status_code == 404
    assert event_names("default") == [] and Correction.objects.get().by == "ann"


def test_events_are_deleted_and_people_erased(key: str) -> None:
    client = client_of("view_correction", "add_correction")
    url = "/api/v1/event-corrections"
    deleted = client.post(url, {"event": "play", "user_id": "u1"}, format="json")
    assert (deleted.status_code, deleted.json()["events"]) == (201, 1)
    assert client.post(url, {"erase": ["u2"]}, format="json").json()["events"] == 1
    assert len(client.get(url).json()["results"]) == 2
    assert client.post(url, {"erase": ["u2"]}, format="json").status_code == 404
    mistakes: list[dict[str, object]] = [{}, {"erase": []}, {"erase": ["u"], "event": "a"}, {"since": "soon"}]
    for wrong in mistakes:
        assert client.post(url, wrong, format="json").status_code == 400
    assert client.post(url, {"workspace": "none", "erase": ["u"]}, format="json").status_code == 404


def test_a_device_is_made_a_users_and_taken_back(key: str) -> None:
    client, url = client_of("view_correction", "add_correction"), "/api/v1/event-devices"
    made = client.post(url, {"device": "d", "user_id": "u1"}, format="json")
    assert (made.status_code, made.json()["user_id"], made.json()["decided"]) == (201, "u1", True)
    assert [one["device"] for one in client.get(f"{url}?user_id=u1").json()] == ["d"]
    assert client.post(url, {"device": "d", "user_id": None}, format="json").status_code == 201
    assert client.get(f"{url}?user_id=u1").json() == []
    assert client.post(url, {"device": "d", "user_id": None}, format="json").status_code == 404
    assert client.post(url, {"device": "d", "user_id": " \t"}, format="json").status_code == 400
    assert client.get(f"{url}?workspace=none").status_code == 404


def test_who_may_only_look_corrects_nothing(key: str) -> None:
    client = client_of("view_importedfile", "view_correction")
    assert client.delete(f"/api/v1/event-imports/{key}").status_code == 403
    assert client.post("/api/v1/event-corrections", {"erase": ["u1"]}, format="json").status_code == 403
    merge = {"device": "d", "user_id": "u1"}
    assert client.post("/api/v1/event-devices", merge, format="json").status_code == 403
    assert event_names("default")[0].count == 2


def send(client: APIClient, **more: Any) -> Any:
    file = SimpleUploadedFile(
        "new.csv", b"who,event,time\nu3,play,2024-05-02\nu4,play,2024-05-02\nu5,stop,\n"
    )
    return client.post("/api/v1/event-uploads", {"file": file, "user_id": "who"} | more, format="multipart")


@pytest.mark.django_db(transaction=True)
def test_a_file_is_sent_looked_at_and_replaces_an_import(key: str) -> None:
    client = client_of("view_eventupload", "add_eventupload", "delete_importedfile")
    sent = send(client, source="shop", replaces_import=key[:12])
    assert (sent.status_code, sent.json()["state"], sent.json()["look"]["rows"]) == (201, "looked", 2)
    assert sent.json()["replaces_import"] == key and event_names("default")[0].count == 2
    url = f"/api/v1/event-uploads/{sent.json()['id']}"
    confirmed = client.post(f"{url}/import")
    assert (confirmed.status_code, confirmed.json()["state"]) == (202, "importing")
    assert client.post(f"{url}/import").status_code == client.delete(url).status_code == 409
    assert arrivals.take_in_all()
    done = client.get(url).json()
    assert (done["state"], done["by"]) == ("done", "ann")
    new = ImportedFile.objects.standing("default").get()
    assert (new.key, new.rows, new.source) == (done["import_key"], 2, "shop")
    assert event_names("default")[0].count == 2 and ImportedFile.objects.get(key=key).undone_at
    assert Correction.objects.get().events == 2


@pytest.mark.django_db(transaction=True)
def test_an_import_that_was_undone_meanwhile_is_not_replaced(key: str) -> None:
    client = client_of("view_eventupload", "add_eventupload", "delete_importedfile")
    url = f"/api/v1/event-uploads/{send(client, replaces_import=key).json()['id']}"
    assert client.delete(f"/api/v1/event-imports/{key}").status_code == 204
    client.post(f"{url}/import")
    arrivals.take_in_all()
    failed = client.get(url).json()
    assert failed["state"] == "failed" and "There is no import" in failed["said"]
    assert event_names("default") == []


def test_a_sent_file_is_discarded_and_mistakes_are_named(key: str) -> None:
    client = client_of("view_eventupload", "add_eventupload")
    url = f"/api/v1/event-uploads/{send(client).json()['id']}"
    assert client.delete(url).status_code == 204
    assert not EventUpload.objects.exists()
    assert send(client, workspace="a b").status_code == 400
    assert client.post("/api/v1/event-uploads", {}, format="multipart").json()["error"]
    assert client.post("/api/v1/event-uploads", {}, format="json").status_code == 415
    # Who may not undo an import replaces none, here and in the browser.
    assert send(client, replaces_import=key).status_code == 403
    replacing = client_of("add_eventupload", "delete_importedfile", name="bob")
    assert "replaces_import" in str(send(replacing, replaces_import="abcdef123").json())
    assert not EventUpload.objects.exists()
