"""The REST API of events."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from events.catalogue import event_names
from events.importing import import_file
from events.models import Correction

pytestmark = pytest.mark.django_db


def client_of(*permissions: str) -> APIClient:
    user = User.objects.create_user("ann")
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
