"""Uploaded files in an object store: any machine takes one, any worker imports it, and then it is gone."""

import gzip
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from cohorts import importing, members
from cohorts.choices import UploadState
from cohorts.models import Upload
from cohortsite import files, s3
from events import arrivals, uploads
from events.models import EventUpload
from events.models import UploadState as FileState
from people.models import ImportState, ProfileImport
from people.profile_imports import import_waiting as import_profiles
from receiving.models import Workspace
from tests import world
from tests.object_store import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.once, pytest.mark.django_db(transaction=True)]
IDS = "".join(f"user-{n:07}\n" for n in range(50_000)).encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    store = ObjectStore(tmp_path_factory.mktemp("store") / "data")
    yield store
    store.kill()


@pytest.fixture
def store(running, settings, tmp_path):
    """A site that keeps its files in a store, and a disk of its own where they must not stay."""
    use(settings, running.url)
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.EVENTS_DIR = tmp_path / "one machine"
    yield running
    assert not settings.MEDIA_ROOT.exists()


def use(settings, url):
    settings.FILES_URL = url
    settings.STORAGES = settings.STORAGES | {"default": files.storage_of(url)}


def give(client, cohort, content, name="ids.csv"):
    file = SimpleUploadedFile(name, content)
    return client.post(reverse("admin:cohorts_upload", args=[cohort.pk]), {"file": file, "mode": "replace"})


def local_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize(
    ("name", "content"), [("ids.csv", IDS), ("ids.csv.gz", gzip.compress(IDS, 1, mtime=0))]
)
def test_a_file_of_members_is_taken_by_one_machine_and_imported_by_another(
    store, admin_client, name, content
):
    cohort = world.cohort()
    assert give(admin_client, cohort, content, name).status_code == 302
    [stored] = store.names()
    assert stored.startswith(f"site/{cohort.key}/")
    [upload] = importing.import_waiting()
    assert (upload.state, upload.ids, upload.error) == (UploadState.DONE, 50_000, "")
    assert members.size_of(cohort.pk, 1) == 50_000
    assert store.names() == []
    assert not upload.file


def test_a_large_file_is_read_from_this_machines_disk_and_not_from_memory(store):
    content = IDS * (s3.IN_MEMORY // len(IDS) + 1)
    storage = s3.S3(**files.storage_of(store.url)["OPTIONS"])
    name = storage.save("large", BytesIO(content))
    with storage.open(name) as file:
        assert importing.size_of(file) == len(content) > s3.IN_MEMORY
        assert Path(f"/proc/self/fd/{file.fileno()}").exists()
        assert file.read() == content
    storage.delete(name)


def test_a_file_of_events_is_taken_by_one_machine_and_imported_by_another(
    store, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(uploads, "AT_ONCE", 0)
    line = b'{"user_id": "u1", "event": "cart", "time": "2026-01-01T00:00:00Z"}\n'
    kept = uploads.keep("default", "events.jsonl", [line * 3], by="ann")
    assert store.names() == [f"site/events/{kept.key}"]
    assert local_files(settings.EVENTS_DIR) == []
    settings.EVENTS_DIR = tmp_path / "another machine"
    assert arrivals.take_in_all()
    kept.refresh_from_db()
    assert (kept.state, kept.said) == (FileState.LOOKED, "")
    EventUpload.objects.filter(pk=kept.pk).update(state=FileState.IMPORTING)
    assert arrivals.take_in_all()
    kept.refresh_from_db()
    assert kept.state == FileState.DONE, kept.said
    assert store.names() == []
    assert not list(settings.EVENTS_DIR.rglob("events.jsonl"))


def test_a_file_of_events_that_is_discarded_goes_from_the_store(store):
    kept = uploads.keep("default", "e.jsonl", [b'{"user_id": "u", "event": "e"}\n'], by="ann")
    assert len(store.names()) == 1
    assert uploads.discard(EventUpload.objects.get(pk=kept.pk))
    assert store.names() == []


def test_a_file_of_profiles_is_imported_from_the_store(store):
    Workspace.objects.create(slug="default")
    file = SimpleUploadedFile("people.csv", b"user_id,email\nu1,ann@example.com\n")
    ProfileImport.objects.create(
        workspace="default", source="people.csv", columns=[["email", "email", "email"]], file=file
    )
    [imported] = import_profiles()
    assert (imported.state, imported.error) == (ImportState.DONE, "")
    assert store.names() == []


def test_a_file_that_is_gone_says_so(store, admin_client):
    give(admin_client, world.cohort(), b"a\nb\n")
    store.client.delete_object(Bucket="uploads", Key=store.names()[0])
    [upload] = importing.import_waiting()
    assert (upload.state, upload.error) == (UploadState.FAILED, "The stored file is gone. Upload it again.")


def test_a_store_that_is_away_is_said_and_what_it_kept_is_imported_and_deleted_later(
    store, settings, admin_client, monkeypatch
):
    away = store.url.replace(str(store.port), "1")
    monkeypatch.setattr(s3, "CONFIG", s3.CONFIG.merge(s3.Config(retries={"total_max_attempts": 1})))
    cohort = world.cohort()
    use(settings, away)
    page = give(admin_client, cohort, b"a\nb\n")
    assert "The file could not be stored: The object store did not do it" in page.content.decode()
    assert not Upload.objects.exists()
    use(settings, store.url)
    give(admin_client, cohort, b"a\nb\n")
    use(settings, away)
    [failed] = importing.import_waiting()
    assert failed.state == UploadState.FAILED and "The object store" in failed.error
    use(settings, store.url)
    Upload.objects.try_again(failed.pk)

    def refuse(self, name):
        raise OSError("away")

    with monkeypatch.context() as patch:
        patch.setattr(s3.S3, "delete", refuse)
        [done] = importing.import_waiting()
    assert done.state == UploadState.DONE
    assert len(store.names()) == 1
    give(admin_client, cohort, b"a\nb\nc\n")
    list(importing.import_waiting())
    assert store.names() == []


def test_a_wrong_secret_is_said(store, settings, admin_client):
    use(settings, store.url.replace(":secret@", ":wrong@"))
    page = give(admin_client, world.cohort(), b"a\n").content.decode()
    assert "The file could not be stored" in page
    assert "wrong" not in page


def test_what_is_stored_is_read_as_a_file(store):
    storage = s3.S3(**files.storage_of(store.url)["OPTIONS"])
    name = storage.save("folder/one", BytesIO(b"content"))
    with storage.open(name) as file:
        assert file.read() == b"content"
    storage.delete(name)
    with pytest.raises(FileNotFoundError):
        storage.open(name)
