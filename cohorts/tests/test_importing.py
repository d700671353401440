"""Uploads, one after another, by one worker or two; deleting a cohort; the commands."""

import json
import os
from io import StringIO

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import Model, ProtectedError
from django.db.models.functions import Now

from cohorts import importing, members, refresh, remove
from cohorts.choices import UploadState
from cohorts.models import CLAIM_TIME, Cohort, CohortVersion, Member, Upload
from cohorts.sorting import sorted_distinct
from cohorts.tests.ids import WEIRD, make_cohort

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def files(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def cohort():
    return make_cohort()


def stored(cohort, content, **values):
    file = ContentFile(content, name="users.csv")
    return Upload.objects.create(cohort=cohort, file=file, original_name="users.csv", **values)


def latest(cohort):
    cohort.refresh_from_db()
    return list(members.in_version(cohort.pk, cohort.version))


# --- two workers --------------------------------------------------------------------------------


def test_a_worker_that_slept_does_not_publish_an_old_file_over_a_newer_one(cohort, monkeypatch):
    """While the first worker has read its file, another takes the upload over, and imports a newer one."""
    old, new = stored(cohort, b"old\n"), stored(cohort, b"new\n")
    real_sort = sorted_distinct

    def sort(ids):
        in_order = list(real_sort(ids))
        if old_attempt() == 1:
            Upload.objects.filter(pk=old.pk).update(claim_until=Now() - CLAIM_TIME)
            assert [upload.pk for upload in importing.import_waiting()] == [old.pk, new.pk]
        yield from in_order

    def old_attempt():
        return Upload.objects.get(pk=old.pk).attempts

    monkeypatch.setattr(importing, "sorted_distinct", sort)
    assert importing.import_upload(old) is False
    assert latest(cohort) == ["new"]
    states = list(Upload.objects.order_by("pk").values_list("state", "attempts", "version"))
    assert [(state, attempts) for state, attempts, _ in states] == [("done", 2), ("done", 1)]


def test_the_files_of_a_cohort_wait_for_each_other(cohort):
    """Another worker has the first file; the second is not imported before it."""
    other = make_cohort("other")
    first, second, third = stored(cohort, b"a\n"), stored(cohort, b"b\n"), stored(other, b"c\n")
    assert Upload.objects.start(first.pk)
    Upload.objects.filter(pk=first.pk).update(claim_owner="elsewhere/boot/1/2/3")
    assert [upload.pk for upload in importing.import_waiting()] == [first.pk, third.pk]
    assert list(Upload.objects.order_by("pk").values_list("state", flat=True)) == [
        "importing",
        "waiting",
        "done",
    ]
    Upload.objects.filter(pk=first.pk).update(claim_until=Now() - CLAIM_TIME)
    assert [upload.pk for upload in importing.import_waiting()] == [first.pk, second.pk]
    assert latest(cohort) == ["b"]


def test_an_upload_whose_cohort_is_being_refreshed_goes_on_waiting(cohort, monkeypatch):
    upload = stored(cohort, b"a\n")
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME)
    monkeypatch.setattr(importing, "WAIT", 0)
    assert importing.import_upload(upload) is False
    upload.refresh_from_db()
    assert (upload.state, upload.error) == (UploadState.WAITING, "")
    Cohort.objects.update(claim_until=None)
    assert importing.import_upload(upload) is True


def test_a_bug_in_one_import_does_not_stop_the_others(cohort, monkeypatch, caplog):
    other = make_cohort("other")
    upload, fine = stored(cohort, b"a\n"), stored(other, b"b\n")
    real = importing.import_file

    def broken(to, *args, **kwargs):
        if to == cohort:
            raise ZeroDivisionError("a bug")
        return real(to, *args, **kwargs)

    monkeypatch.setattr(importing, "import_file", broken)
    done = list(importing.import_waiting())
    assert [(u.pk, u.state) for u in done] == [(upload.pk, "failed"), (fine.pk, "done")]
    assert done[0].error == "Unexpected: ZeroDivisionError. The server's log says more."
    assert "a bug" in caplog.text


def test_an_upload_whose_file_is_gone_says_so(cohort):
    upload = stored(cohort, b"a\n")
    upload.file.storage.delete(str(upload.file.name))
    importing.import_upload(upload)
    upload.refresh_from_db()
    assert (upload.state, upload.error) == ("failed", "The stored file is gone. Upload it again.")


# --- deleting -----------------------------------------------------------------------------------


def test_deleting_drains_only_the_members_of_the_cohort_that_is_gone(cohort, monkeypatch):
    monkeypatch.setattr(remove, "ROWS", 3)
    other = make_cohort("other")
    refresh.replace(other.pk, sorted(WEIRD), source="test")
    refresh.replace(cohort.pk, sorted(WEIRD), source="test")
    refresh.amend(cohort.pk, remove=sorted(WEIRD)[:10], source="test")
    refresh.amend(cohort.pk, add=sorted(WEIRD)[:10], source="test")
    gone = cohort.pk
    remove.remove(gone)
    assert not Cohort.objects.filter(pk=gone).exists()
    assert Member.objects.filter(cohort_id=gone).count() == len(WEIRD) + 10
    assert remove.drain(0) == 0
    assert remove.drain() == 1
    assert not Member.objects.filter(cohort_id=gone).exists()
    assert list(members.in_version(other.pk, 1)) == sorted(WEIRD)


def test_a_refresh_of_a_cohort_that_is_deleted_meanwhile_ends(cohort, monkeypatch):
    monkeypatch.setattr(refresh, "WRITES", 2)

    def deleted_meanwhile():
        yield from ["a", "b", "c"]
        Cohort.objects.filter(pk=cohort.pk).update(claim_until=None)
        remove.remove(cohort.pk)
        yield "d"

    with pytest.raises(refresh.ClaimLost):
        refresh.replace(cohort.pk, deleted_meanwhile(), source="test")
    assert remove.drain() == 1
    assert not Member.objects.exists() and not CohortVersion.objects.exists()


def test_a_cohort_being_refreshed_is_not_deleted(cohort):
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME)
    with pytest.raises(refresh.CohortBusy):
        remove.remove(cohort.pk)
    assert Cohort.objects.exists()


def test_a_cohort_that_others_need_is_not_deleted_and_can_still_be_refreshed(cohort, monkeypatch):
    others: set[Model] = {make_cohort(f"other{n}") for n in range(7)}

    def protected(self):
        raise ProtectedError("in use", others)

    refresh.replace(cohort.pk, ["a"], source="test")
    with monkeypatch.context() as patched, pytest.raises(remove.CohortInUse) as error:
        patched.setattr(Cohort, "delete", protected)
        remove.remove(cohort.pk)
    assert str(error.value) == (
        "Buyers is used by cohort Other0, cohort Other1, cohort Other2, cohort Other3, cohort Other4 "
        "and 2 more. Delete them first."
    )
    refresh.replace(cohort.pk, ["b"], source="test")


# --- commands -----------------------------------------------------------------------------------


def run(*args, **options):
    out = StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def file(tmp_path):
    def write(content, name="users.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def test_members_are_imported_and_exported(cohort, file):
    said = run("import_members", "buyers", file(b"b\na\nb\n"))
    assert said == "Buyers: 2 ids read; version 1 published, 2 users, 2 entered, 0 left.\n"
    said = json.loads(
        run("import_members", "buyers", file(b"id,n\nb,1\n"), "--column=id", "--mode=remove", "--json")
    )
    expected = {"cohort": "buyers", "version": 2, "state": "published", "ids": 1}
    known = said.pop("understood")
    assert (known["kind"], known["separator"], known["columns"]) == ("csv", ",", ["id", "n"])
    assert said == expected | {"size": 1, "entered": 0, "left": 1, "suspicious": []}
    assert run("export_members", "buyers") == "user_id\na\n"
    assert run("export_members", "buyers", "--version=1") == "user_id\na\nb\n"


def test_an_export_of_weird_ids_reads_back(cohort, file):
    refresh.replace(cohort.pk, sorted(WEIRD), source="test")
    lines = run("export_members", "buyers", "--json").removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == sorted(WEIRD)
    make_cohort("other")
    run("import_members", "other", file(run("export_members", "buyers").encode()))
    assert run("export_members", "other") == run("export_members", "buyers")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["import_members", "nobody", os.devnull], "There is no cohort 'nobody'."),
        (["import_members", "buyers", "/no/such.csv"], "[Errno 2] No such file or directory: '/no/such.csv'"),
        (["import_members", "buyers", os.devnull], "The file holds no user ids."),
        (
            ["import_members", "api", os.devnull],
            "The members of api come from its source, REST API. "
            "To use this way, change the cohort's source to Uploaded file.",
        ),
        (["export_members", "nobody"], "There is no cohort 'nobody'."),
        (["export_members", "buyers"], "Buyers is not calculated yet: it has no version."),
        (["refresh_cohorts", "buyers", "nobody"], "There is no cohort 'nobody'."),
    ],
)
def test_a_command_that_fails_says_why(cohort, args, message):
    make_cohort("api", source_kind="api")
    with pytest.raises(CommandError) as error:
        run(*args)
    # A name that means nobody is wrong usage; all else is a failure.
    code = 2 if "nobody" in message else 1
    assert (str(error.value), error.value.returncode) == (message, code)
    assert not CohortVersion.objects.exists()


@pytest.mark.parametrize("number", [2, 3, 99])
def test_a_version_that_was_not_published_or_was_pruned_is_an_error(cohort, number):
    for users in (["a", "b"], [], ["c"]):
        refresh.replace(cohort.pk, users, source="test", replace_held=True)
    Cohort.objects.update(readable_from=3)
    assert run("export_members", "buyers", "--version=3") == "user_id\nc\n"
    if number == 3:
        with pytest.raises(
            CommandError, match="^Version 1 of buyers was pruned; the oldest that can be read is 3"
        ):
            run("export_members", "buyers", "--version=1")
    else:
        with pytest.raises(CommandError, match=f"^buyers has no version {number}; the latest is 3"):
            run("export_members", "buyers", f"--version={number}")


def test_a_held_import_fails_and_says_so(cohort, file):
    Cohort.objects.update(guard_users=0)
    run("import_members", "buyers", file(b"a\nb\n"))
    with pytest.raises(CommandError, match="^Held for approval: 1 users would leave; the limit is 0"):
        run("import_members", "buyers", file(b"a\n"))
    with pytest.raises(CommandError, match="^Version 2 of buyers is held and waits for a person"):
        run("import_members", "buyers", file(b"a\nb\nc\n"))
    run("import_members", "buyers", file(b"a\nb\nc\n"), "--replace-held")
    assert latest(cohort) == ["a", "b", "c"]


def test_refreshing_imports_what_waits_of_the_cohorts_that_are_named(cohort):
    other = make_cohort("other")
    stored(cohort, b"a\n")
    stored(other, b"b\n")
    assert run("refresh_cohorts", "buyers") == "buyers: users.csv: version 1, 1 ids\n"
    [said] = json.loads(run("refresh_cohorts", "--json"))
    expected = {"cohort": "other", "original_name": "users.csv", "state": "done", "version": 1, "ids": 1}
    assert said == expected | {"error": ""}
    assert run("refresh_cohorts") == ("Nothing to do: no cohort is calculated, and no uploaded file waits.\n")


def test_refreshing_goes_on_deleting(cohort):
    refresh.replace(cohort.pk, ["a"], source="test")
    remove.remove(cohort.pk)
    run("refresh_cohorts")
    assert members.ownerless() is None


# --- files that are not what they seem ----------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"distinct\nu1\nu2\n", [], "Is the first line, 'distinct', a heading or a user id? Say which. "),
        (
            b"u1;Ann\nu2;Bob\n",
            [],
            "The file has 2 columns, of which none is known to hold user ids: u1, Ann.",
        ),
        (b"kunde\tname\n1\tAnn\n", ["--column=1"], "Is the first line (kunde, name) a heading, or does it"),
        (b"id|email\n1|a@b\n", [], "Several columns may hold the user ids: id, email. Name the one. "),
        ("José\n".encode("latin-1"), [], "Line 1: the file is not UTF-8, and 'José' is right only if it is"),
        (b"u1\nnull\n", ["--refuse-suspicious"], "The file holds suspicious ids: 1 with a word for nothing"),
    ],
)
def test_a_replace_by_a_file_that_is_not_certain_changes_nothing(cohort, file, content, options, message):
    run("import_members", "buyers", file(b"a\nb\n"))
    with pytest.raises(CommandError) as error:
        run("import_members", "buyers", file(content), *options)
    assert str(error.value).startswith(message)
    assert error.value.returncode == 1
    assert latest(cohort) == ["a", "b"]
    assert CohortVersion.objects.count() == 1


def test_what_a_file_leaves_open_is_settled_by_the_options_that_its_refusal_names(cohort, file):
    headed = file(b"distinct\nu1\nu2\n")
    with pytest.raises(CommandError, match="Say --heading or --no-heading.$"):
        run("import_members", "buyers", headed)
    run("import_members", "buyers", headed, "--heading")
    assert latest(cohort) == ["u1", "u2"]
    run("import_members", "buyers", headed, "--no-heading")
    assert latest(cohort) == ["distinct", "u1", "u2"]
    piped = file(b"auth0|1\nauth0|2\n")
    with pytest.raises(CommandError, match="each line is one id as it stands, --separator none.$"):
        run("import_members", "buyers", piped)
    run("import_members", "buyers", piped, "--separator=none")
    assert latest(cohort) == ["auth0|1", "auth0|2"]
    run("import_members", "buyers", piped, "--no-heading", "--column=2")
    assert latest(cohort) == ["1", "2"]
    run("import_members", "buyers", file("José\n".encode("latin-1")), "--encoding=windows-1252")
    assert latest(cohort) == ["José"]


def test_a_dry_run_says_what_the_file_is_and_imports_nothing(cohort, file):
    content = file(b"name;user_id\nAnn;8.21581E+17\nBob; u2\nCem;undefined\n")
    assert run("import_members", "buyers", content, "--dry-run") == (
        "Text in utf-8, separated by semicolons, with the heading name, user_id.\n"
        "User ids: user_id, 3 of them.\n"
        "    Ann | 8.21581E+17\n    Bob |  u2\n    Cem | undefined\n"
        "Suspicious ids: 1 with a word for nothing ('undefined'); "
        "1 with a large number that a spreadsheet has rounded ('8.21581E+17'); "
        "1 with spaces around it (' u2').\n"
    )
    said = json.loads(run("import_members", "buyers", content, "--dry-run", "--json"))
    assert (said["separator"], said["heading"], said["column"], said["ids"]) == (";", True, "user_id", 3)
    assert said["columns"] == ["name", "user_id"] and said["rows"][0] == ["Ann", "8.21581E+17"]
    assert [item["kind"] for item in said["suspicious"]] == ["nothing", "scientific", "spaces"]
    assert not CohortVersion.objects.exists()


def test_suspicious_ids_are_taken_as_they_stand_counted_and_named(cohort, file):
    odd = ["8.21581E+17", "55520.0", "#N/A", "undefined", "null", "[object Object]", " a "]
    content = file("\n".join(["user_id", *odd, "u1"]).encode())
    said = json.loads(run("import_members", "buyers", content, "--json"))
    assert latest(cohort) == sorted([*odd, "u1"])
    assert {item["kind"]: (item["count"], item["samples"]) for item in said["suspicious"]} == {
        "nothing": (2, ["undefined", "null"]),
        "scientific": (1, ["8.21581E+17"]),
        "decimal": (1, ["55520.0"]),
        "spreadsheet_error": (1, ["#N/A"]),
        "object": (1, ["[object Object]"]),
        "spaces": (1, [" a "]),
    }
    assert "Suspicious ids: 2 with a word for nothing ('undefined', 'null'); " in run(
        "import_members", "buyers", content
    )


@pytest.mark.parametrize(
    "first", ["id", "user_id", "email", "!", "sep=;", '{"user_id":"a"}', "u;1", "1\t2", "a|b"]
)
def test_an_export_is_imported_as_it_was_whatever_its_first_id(cohort, file, first):
    users = sorted([first, "zz|1", "zz|2"])
    refresh.replace(cohort.pk, users, source="test")
    other = make_cohort("other")
    run("import_members", "other", file(run("export_members", "buyers").encode()))
    assert latest(other) == users
    run("import_members", "other", file(run("export_members", "buyers", "--json").encode(), "x.jsonl"))
    assert latest(other) == users


def test_an_upload_says_how_its_file_was_read_and_what_is_odd_in_it(cohort):
    upload = stored(cohort, b"kunde;name\nnull;Ann\n", column="1", said={"heading": True})
    assert importing.import_upload(upload)
    upload.refresh_from_db()
    assert upload.understood == "Text in utf-8, separated by semicolons, with the heading kunde, name"
    assert [item["samples"] for item in upload.suspicious] == [["null"]]
    refused = stored(cohort, b"null\n", refuse_suspicious=True)
    assert not importing.import_upload(refused)
    refused.refresh_from_db()
    assert refused.error == "The file holds suspicious ids: 1 with a word for nothing ('null')."
    assert latest(cohort) == ["null"]
