"""Further columns of a file of members become fields of these people's profiles, at each door."""

import json
from io import BytesIO, StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from rest_framework.test import APIClient

from cohorts import erase, importing, members, refresh
from cohorts.models import Upload
from cohorts.tests.ids import make_cohort
from people import profile_files, profiles
from people.models import ProfileImport
from people.profile_files import Fields, Reading, mapped_of
from receiving.models import Workspace

pytestmark = pytest.mark.django_db
URL = "/api/v1/cohorts/buyers/members"


def stored(cohort, content, **values):
    file = ContentFile(content, name="users.csv")
    return Upload.objects.create(cohort=cohort, file=file, original_name="users.csv", **values)


def latest(cohort):
    cohort.refresh_from_db()
    return list(members.in_version(cohort.pk, cohort.version))


PEOPLE = b"user_id;E-Mail;Plan\nu1;Ada@Example.com;pro\nu2;;free\n"


@pytest.fixture(autouse=True)
def files(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def cohort():
    return make_cohort()


@pytest.fixture
def shop(settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"
    return Workspace.objects.create(slug="shop")


def known(user_id):
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def fields(*lines, **more):
    return Fields("shop", [mapped_of(line) for line in lines], **more)


def test_further_columns_of_an_upload_become_fields_before_there_is_a_version(cohort, shop, monkeypatch):
    seen = []
    real = refresh.replace
    monkeypatch.setattr(
        refresh, "replace", lambda *args, **kwargs: seen.append(known("u1")) or real(*args, **kwargs)
    )
    upload = stored(cohort, PEOPLE, fields=Upload.kept(fields("email=E-Mail", "plan=Plan")))
    assert importing.import_upload(upload)
    assert seen == [{"email": "ada@example.com", "plan": "pro"}]
    assert latest(cohort) == ["u1", "u2"]
    upload.refresh_from_db()
    assert upload.said_of_people == "Profiles: values 1 of email, 2 of plan; 3 other than before."
    assert ProfileImport.objects.get().source == "users.csv"


def test_keeping_fields_gives_signs_of_life_all_along(cohort, shop, monkeypatch):
    monkeypatch.setattr(profile_files, "PAGE", 1)
    shown = []
    importing.import_file(
        *(cohort, BytesIO(PEOPLE)),
        mode="replace",
        source="x",
        fields=fields("plan=Plan"),
        progress=shown.append,
    )
    assert shown == sorted(shown) and {0.375, 0.4375, 0.5} <= set(shown)


def test_a_file_that_says_nothing_of_most_people_gives_signs_of_life(shop):
    shown = []
    file = BytesIO(b"user_id;Plan\n" + b"".join(b"u%d;\n" % number for number in range(12_000)))
    reading = Reading([mapped_of("plan=Plan")])
    found, changed = profile_files.keep_file("shop", file, reading, progress=shown.append)
    assert (found.users, changed, shown[3:]) == (0, 0, [0.5, 0.5, 0.5])


def test_a_file_whose_fields_or_ids_are_wrong_changes_neither(cohort, shop):
    wrong = [
        (b"user_id;E-Mail\nu1;a@b.example\nu2;none\n", {}, "Line 3: email 'none' has no @"),
        (b"user_id;E-Mail\nu1;a@b.example\n ;c@d.example\n", {}, "the user id is blank"),
        (
            b"user_id;E-Mail\nu1;a@b.example\nnull;c@d.example\n",
            {"refuse_suspicious": True},
            "suspicious ids",
        ),
    ]
    for content, more, said in wrong:
        upload = stored(cohort, content, fields=Upload.kept(fields("email=E-Mail")), **more)
        assert not importing.import_upload(upload)
        upload.refresh_from_db()
        assert said in upload.error
    assert (known("u1"), latest(cohort)) == ({}, [])
    assert erase.erase("u9")["files of failed uploads"] == 3
    assert set(Upload.objects.values_list("error", flat=True)) == {
        "It failed. What it said of people was erased."
    }


def test_nothing_is_kept_of_a_file_that_a_held_version_refuses(cohort, shop):
    importing.import_file(cohort, BytesIO(b"u1\n"), mode="replace", source="x")
    refresh.replace(cohort.pk, [], source="x")
    cohort.refresh_from_db()
    with pytest.raises(refresh.VersionHeld):
        importing.import_file(
            cohort, BytesIO(PEOPLE), mode="replace", source="x", fields=fields("email=E-Mail")
        )
    assert known("u1") == {}


def test_the_command_maps_columns(cohort, shop, tmp_path):
    file, out = tmp_path / "users.csv", StringIO()
    file.write_bytes(PEOPLE)
    arguments = ["import_members", cohort.key, str(file), "--map", "email=E-Mail", "--json"]
    with pytest.raises(CommandError, match="no workspace 'default'. Say --workspace with one of shop"):
        call_command(*arguments)
    call_command(*arguments, "--workspace", "shop", "--dry-run", stdout=out)
    assert json.loads(out.getvalue())["profiles"]["values"] == {"email": 1}
    assert known("u1") == {}
    out = StringIO()
    call_command(*arguments, "--workspace", "shop", stdout=out)
    said = json.loads(out.getvalue())
    assert (said["size"], said["profiles"]["changed"]) == (2, 1)
    file.write_bytes(b"user_id,tel\nu1,12\n")
    with pytest.raises(SystemExit) as left:
        call_command(
            *("import_members", cohort.key, str(file), "--workspace", "shop", "--skip-invalid"),
            *("--map", "phone=tel"),
            stdout=StringIO(),
        )
    assert left.value.code == 3


# --- REST ---------------------------------------------------------------------------------------


def client_of(*permissions):
    user = User.objects.create_user("ann")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def given():
    return make_cohort(source_kind="api")


def put(client, query):
    return client.put(URL + query, PEOPLE, content_type="text/csv")


def test_further_columns_of_a_stream_become_fields_of_profiles(given, shop):
    client = client_of("add_upload", "change_cohort", "view_cohort", "add_profileimport")
    reply = put(client, "?map=email%3DE-Mail&workspace=shop")
    said = reply.json()["profiles"]
    assert (reply.status_code, said["users"], said["values"], said["changed"]) == (200, 1, {"email": 1}, 1)
    assert profiles.store().of("shop", "u1")["email"].value == "ada@example.com"
    assert latest(given) == ["u1", "u2"]
    for query, message in [
        ("?map=email%3DE-Mail", "There is no workspace 'default'."),
        ("?map=email&workspace=shop", "'email' says no column: write email=E-Mail."),
        ("?map=phone%3DE-Mail&workspace=shop", "Line 2: phone 'Ada@Example.com' "),
        ("?map=email%3DMail&workspace=shop", "The file has no column named 'Mail'"),
    ]:
        reply = put(client, query)
        assert (reply.status_code, given.version) == (400, 1)
        assert reply.json()["error"]["message"].startswith(message)


def test_who_may_not_bring_profiles_is_refused(given, shop):
    reply = put(client_of("add_upload", "change_cohort", "view_cohort"), "?map=email%3DE-Mail&workspace=shop")
    assert (reply.status_code, latest(given)) == (403, [])
