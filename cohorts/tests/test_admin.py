"""The admin's pages about cohorts, as a browser asks for them."""

import gzip
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db.models import ProtectedError
from django.db.models.functions import Now
from django.urls import reverse

from cohorts import members, refresh
from cohorts.admin import state_of
from cohorts.models import CLAIM_TIME, Cohort, CohortVersion, Upload
from cohorts.tests.ids import WEIRD, make_cohort

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def files(tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    # Names with a hash are given by collectstatic, which a test does without.
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("ann"))
    return client


@pytest.fixture
def cohort():
    return make_cohort()


@pytest.fixture
def viewer(client):
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_cohort"]))
    client.force_login(user)
    return client


def at(name, cohort, *args):
    return reverse(f"admin:cohorts_{name}", args=[cohort.pk, *args])


def text_of(reply):
    assert reply.status_code == 200, reply.content
    text = re.sub(r"<(script|style).*?</\1>", "", reply.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def give(client, cohort, content, **fields):
    file = SimpleUploadedFile(fields.pop("name", "users.csv"), content)
    return client.post(at("upload", cohort), {"file": file, "mode": "replace", **fields})


def follow(client, reply):
    assert reply.status_code == 302, text_of(reply)
    return text_of(client.get(reply.url))


# --- the list and the form ----------------------------------------------------------------------


def test_the_list_says_how_each_cohort_stands(admin, cohort):
    refresh.replace(cohort.pk, [f"u{n:05}" for n in range(12_345)], source="test")
    make_cohort("carts")
    text = text_of(admin.get(reverse("admin:cohorts_cohort_changelist")))
    assert "12,345" in text and "Ready" in text and "Not calculated yet" in text


def test_the_state_of_a_cohort_is_the_most_urgent_that_is_true(cohort, rf):
    from django.contrib.admin import site

    def state():
        return state_of(site.get_model_admin(Cohort).get_queryset(rf.get("/")).get(pk=cohort.pk))

    assert state() == ("new", "Not calculated yet")
    refresh.replace(cohort.pk, ["a"], source="test")
    assert state() == ("ready", "Ready")
    upload = Upload.objects.create(cohort=cohort, original_name="x", state="failed")
    assert state() == ("failed", "Last upload failed")
    Upload.objects.create(cohort=cohort, original_name="x", state="done")
    assert state() == ("ready", "Ready")
    Upload.objects.filter(pk__gt=upload.pk).delete()
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME)
    assert state() == ("refreshing", "Refreshing now")
    Cohort.objects.update(claim_until=Now() - CLAIM_TIME)
    assert state() == ("failed", "Last upload failed")
    refresh.replace(cohort.pk, [], source="test")
    assert state() == ("held", "Version 2 is held")


def test_a_cohort_is_made_and_changed_but_keeps_its_key(admin):
    fields = {"name": "Buyers", "key": "buyers", "source_kind": "upload", "hold_if_emptied": "on"}
    fields |= {"events_workspace": "default", "schedule_kind": "manual", "timezone": "UTC"}
    assert admin.post(reverse("admin:cohorts_cohort_add"), fields).status_code == 302
    cohort = Cohort.objects.get()
    reply = admin.post(at("cohort_change", cohort), fields | {"name": "New name", "key": "other"})
    assert reply.status_code == 302
    cohort.refresh_from_db()
    assert (cohort.key, cohort.name) == ("buyers", "New name")
    text = text_of(admin.get(at("cohort_overview", cohort)))
    assert "It has no members yet, and syncs skip it." in text
    assert "Upload a file of user ids to make the first version." in text


def test_the_page_of_a_cohort_lists_its_versions(admin, cohort):
    refresh.replace(cohort.pk, ["a", "b"], source="Replace: <b>evil</b>.csv")
    refresh.amend(cohort.pk, remove=["a"], source="second")
    reply = admin.get(at("cohort_overview", cohort))
    assert b"<b>evil</b>" not in reply.content
    text = text_of(reply)
    assert "Version 2, 1 user, published" in text
    assert re.search(r"2 Published \S.* 1 0 1 second", text)
    assert re.search(r"1 Published \S.* 2 2 0 Replace: &lt;b&gt;evil&lt;/b&gt;.csv", text)


@pytest.mark.parametrize("versions", [1, 5])
def test_the_pages_ask_the_database_a_fixed_number_of_questions(
    admin, cohort, versions, django_assert_max_num_queries
):
    for number in range(versions):
        refresh.replace(cohort.pk, [f"u{n}" for n in range(versions)] + [f"v{number}"], source="test")
        make_cohort(f"other{number}")
    for address, most in [
        (reverse("admin:cohorts_cohort_changelist"), 11),
        (at("cohort_overview", cohort), 11),
        (at("cohort_settings", cohort), 6),
        (at("versions", cohort), 7),
        (at("cohort_change", cohort), 10),
        (at("members", cohort), 10),
        (at("difference", cohort), 20),
    ]:
        with django_assert_max_num_queries(most):
            assert admin.get(address).status_code == 200


# --- uploads ------------------------------------------------------------------------------------


def test_an_upload_is_stored_and_imported_by_the_worker(admin, cohort):
    content = gzip.compress("\n".join(["name,id", *(f'"x",u{n}' for n in range(2_000))]).encode())
    reply = give(admin, cohort, content, name="who <i>.csv.gz", column="id")
    assert "Waiting for the worker, 0 %" in follow(admin, reply)
    assert not CohortVersion.objects.exists()

    upload = Upload.objects.get()
    call_command("refresh_cohorts")
    state = admin.get(at("upload_json", cohort, upload.pk)).json()
    assert state == {"open": False, "words": "Imported, 100 %", "percent": 100}
    assert "Imported: 2,000 user ids, version 1." in follow(admin, reply)
    version = CohortVersion.objects.get()
    assert (version.size, version.source) == (2_000, "Replace: who <i>.csv.gz by ann")
    assert not upload.file.storage.exists(str(upload.file.name))


def test_a_file_is_added_and_taken_away(admin, cohort):
    for content, mode in [(b"a\nb\n", "replace"), (b"c\n", "add"), (b"a\n", "remove")]:
        give(admin, cohort, content, mode=mode)
    call_command("refresh_cohorts")
    assert list(members.in_version(cohort.pk, 3)) == ["b", "c"]


@pytest.mark.parametrize(
    ("content", "fields", "field", "message"),
    [
        (b"a\xff\n", {}, "encoding", "Line 1: the file is not UTF-8, and 'aÿ' is right only if"),
        (b"a\xff\n", {"encoding": "utf-8"}, "file", "Line 1: the file is not valid UTF-8 (invalid start"),
        (b"", {}, "file", "The submitted file is empty."),
        (b"user_id\n", {}, "file", "The file holds no user ids."),
        (b"PK\x03\x04", {}, "file", "The archive cannot be unpacked: File is not a zip file."),
        (b"distinct\nu1\nu2\n", {}, "heading", "Is the first line, 'distinct', a heading or a user id?"),
        (b"u1;Ann\nu2;Bob\n", {}, "column", "The file has 2 columns, of which none is known to hold"),
        (b"u1;Ann\nu2;Bob\n", {"column": "1"}, "heading", "Is the first line (u1, Ann) a heading, or"),
        (b"\x1f\x8bnonsense", {}, "file", "The file cannot be unpacked: "),
        (b"a\0\n", {}, "file", "Line 1 contains a NUL character: this is not a text file."),
        (
            b"a,b\n1,x\n",
            {},
            "column",
            "The file has 2 columns, of which none is known to hold user ids: a, b.",
        ),
        (
            b"id,name\n1,x\n",
            {"column": "uid"},
            "column",
            "The file has no column named 'uid'; its first line says: id, name.",
        ),
        (b"a\n" * 600, {}, "file", "The file is larger than 1000\xa0bytes. "),
        (b"a\n", {"mode": "explode"}, "mode", "Select a valid choice. "),
        (b"a\n", {"column": "a\0"}, "column", "Null characters are not allowed."),
    ],
)
def test_what_the_head_of_a_file_shows_is_said_at_once(
    admin, cohort, settings, content, fields, field, message
):
    settings.MAX_UPLOAD_BYTES = 1000
    reply = give(admin, cohort, content, **fields)
    assert reply.status_code == 200
    [error] = reply.context["form"].errors[field]
    assert error.startswith(message)
    assert not Upload.objects.exists()


def look(client, cohort, content, **fields):
    file = SimpleUploadedFile("beginning", content)
    return client.post(at("upload_look", cohort), {"file": file, "name": "users.csv", **fields})


def test_a_file_is_shown_as_it_is_understood_before_it_is_sent(admin, cohort):
    def html(*args, **fields):
        return " ".join(look(admin, cohort, *args, **fields).content.decode().split())

    text = html(b"name;user_id\nAnn;<b>\nBob;nu", column="")
    assert "Text in utf-8, separated by semicolons, with the heading name, user_id." in text
    assert "&lt;b&gt;" in text and "Bob" not in text
    assert 'data-column="name" aria-pressed="false"' in text
    assert 'data-column="user_id" aria-pressed="true"' in text
    text = html(b"u1;Ann\nnull;Bob\n", column="1", heading="no", whole="on")
    assert "1 with a word for nothing" in text and "<code" in text
    text = html(b"u1;Ann\nu2;Bob\n")
    assert "none is known to hold user ids: u1, Ann" in text and 'data-asks="column"' in text
    assert 'data-column="2"' in text and "Bob" in text
    assert not Upload.objects.exists()


def test_a_look_without_a_file_is_refused(admin, cohort):
    assert admin.post(at("upload_look", cohort), {}).status_code == 400


def test_who_may_not_upload_gets_no_look(viewer, cohort):
    assert look(viewer, cohort, b"a\n").status_code == 403


def test_what_was_said_in_the_form_is_kept_for_the_worker(admin, cohort):
    give(admin, cohort, b"kunde;x\n1;\n2;\n", column="1", heading="yes", refuse_suspicious="on")
    upload = Upload.objects.get()
    assert (upload.said, upload.refuse_suspicious) == ({"heading": True}, True)
    call_command("refresh_cohorts")
    assert list(members.in_version(cohort.pk, 1)) == ["1", "2"]


def test_what_is_wrong_further_down_is_said_by_the_worker(admin, cohort):
    reply = give(admin, cohort, b"a\n" * 200_000 + b" \n")
    call_command_failing("refresh_cohorts")
    text = follow(admin, reply)
    assert "Line 200,001: the user id is blank." in text and "upload it again" in text
    assert not CohortVersion.objects.exists()
    assert "Last upload failed" in text_of(admin.get(reverse("admin:cohorts_cohort_changelist")))

    upload = Upload.objects.get()
    assert admin.post(at("upload_again", cohort, upload.pk)).status_code == 302
    upload.refresh_from_db()
    assert (upload.state, upload.error) == ("waiting", "")


def call_command_failing(*args):
    from django.core.management.base import CommandError

    with pytest.raises(CommandError):
        call_command(*args)


def test_no_upload_for_a_cohort_from_elsewhere_or_with_a_held_version(admin, cohort):
    refresh.replace(cohort.pk, ["a"], source="test")
    refresh.replace(cohort.pk, [], source="test")
    reply = give(admin, cohort, b"a\n")
    assert reply.context["form"].non_field_errors() == ["Version 2 is held. Approve or refuse it first."]
    Cohort.objects.update(source_kind="api")
    assert "change the cohort's source to Uploaded file" in follow(
        admin, give(admin, cohort, b"a\n")
    ).replace("&#x27;", "'")
    assert not Upload.objects.exists()


# --- members and versions -----------------------------------------------------------------------


def test_members_are_searched_by_id_and_by_prefix_and_turned_by_page(admin, cohort):
    refresh.replace(cohort.pk, sorted([*WEIRD, *(f"u{n:03}" for n in range(250))]), source="test")
    refresh.amend(cohort.pk, add=["u100x"], source="test")
    page = admin.get(at("members", cohort), {"q": "u"})
    found = []
    while True:
        found += [user_id for user_id, _, _ in page.context["rows"]]
        if not page.context["more"]:
            break
        page = admin.get(at("members", cohort) + "?" + page.context["more"])
    assert found == [user for user in members.in_version(cohort.pk, 2) if user.startswith("u")]
    rows = admin.get(at("members", cohort), {"q": "u100"}).context["rows"]
    assert [(user_id, since) for user_id, since, _ in rows] == [("u100", 1), ("u100x", 2)]
    for user_id in WEIRD:
        rows = admin.get(at("members", cohort), {"q": user_id}).context["rows"]
        assert rows[0][0] == user_id
    assert "No member of this version" in text_of(admin.get(at("members", cohort), {"q": "nobody"}))
    assert admin.get(at("members", cohort), {"q": "u100x", "version": 1}).context["rows"] == []


def test_user_ids_are_text_never_markup(admin, cohort):
    refresh.replace(cohort.pk, ["<script>alert(1)</script>"], source="test")
    for name in ("members", "difference"):
        reply = admin.get(at(name, cohort))
        assert b"<script>alert" not in reply.content
        assert b"&lt;script&gt;alert(1)" in reply.content


def test_an_export_reads_back_the_same(admin, cohort):
    refresh.replace(cohort.pk, sorted(WEIRD), source="test")
    reply = admin.get(at("export", cohort))
    assert reply.streaming
    assert reply.headers["Content-Disposition"] == 'attachment; filename="buyers-v1.csv"'
    other = make_cohort("other")
    give(admin, other, b"".join(reply.streaming_content))
    call_command("refresh_cohorts")
    assert list(members.in_version(other.pk, 1)) == sorted(WEIRD)


def test_an_export_for_a_spreadsheet_holds_no_formula(admin, cohort):
    refresh.replace(cohort.pk, ["+1", "-1", "=1+1", "@x", "a"], source="test")
    reply = admin.get(at("export", cohort), {"spreadsheet": 1})
    assert b"".join(reply.streaming_content) == b"user_id\n'+1\n'-1\n'=1+1\n'@x\na\n"


def test_the_difference_of_two_versions_is_counted_sampled_and_downloaded(admin, cohort):
    refresh.replace(cohort.pk, [f"a{n:03}" for n in range(200)], source="test")
    refresh.amend(cohort.pk, add=["both", "c,1"], remove=["a000"], source="test")
    refresh.amend(cohort.pk, remove=["a001", "both"], source="test")
    context = admin.get(at("difference", cohort), {"from": 1, "to": 3}).context
    assert (context["entered"], context["left"]) == (1, 2)
    assert (context["first_entered"], context["first_left"]) == (["c,1"], ["a000", "a001"])
    assert admin.get(at("difference", cohort), {"from": 3, "to": 1}).context["left"] == 2
    text = text_of(admin.get(at("difference", cohort), {"from": 0, "to": 1}))
    assert "Entered: the first 100 of 200" in text
    reply = admin.get(at("difference_export", cohort), {"from": 1, "to": 3})
    assert b"".join(reply.streaming_content) == b'user_id,change\na000,left\na001,left\n"c,1",entered\n'


@pytest.mark.parametrize("value", ["-1", "x", "9", "9" * 30, "١", "1.5"])
@pytest.mark.parametrize("name", ["members", "export", "difference", "difference_export"])
def test_a_version_that_cannot_be_read_is_a_404(admin, cohort, name, value):
    refresh.replace(cohort.pk, ["a"], source="test")
    assert admin.get(at(name, cohort), {"version": value, "to": value}).status_code == 404


@pytest.mark.parametrize("name", ["members", "export", "difference", "difference_export"])
def test_pages_of_a_cohort_without_a_version_open(admin, cohort, name):
    assert admin.get(at(name, cohort)).status_code == 200


def test_a_held_version_shows_what_it_would_do_and_is_decided_by_name(admin, cohort):
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    for decision in ["refuse", "approve"]:
        number = refresh.replace(cohort.pk, [], source="nightly").number
        upload = Upload.objects.create(cohort=cohort, original_name="x", state="done", version=number)
        text = text_of(admin.get(at("upload_state", cohort, upload.pk)))
        assert "Held" in text and "Imported:" not in text and "Send it" not in text
        text = text_of(admin.get(at("difference", cohort)))
        assert "It would empty the cohort: all 2 users would leave. 0 would enter, 2 would leave" in text
        url = at("cohort_do", cohort, decision)
        assert "instead of 2: 0 enter, 2 leave" in text_of(admin.get(at("cohort_do", cohort, "approve")))
        assert "not possible any more" in follow(admin, admin.post(url, {"seen": number - 1}))
        assert f"Version {number} {decision}" in follow(admin, admin.post(url, {"seen": number}))
        assert cohort.versions.get(number=number).decided_by == "ann"
    cohort.refresh_from_db()
    assert (cohort.version, cohort.size, cohort.held_number) == (number, 0, None)
    text = follow(admin, admin.post(at("cohort_do", cohort, "refuse"), {"seen": number}))
    assert "not possible any more" in text


# --- deleting -----------------------------------------------------------------------------------


def test_deleting_a_cohort_takes_its_members_and_files_along(
    admin, cohort, django_capture_on_commit_callbacks
):
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    give(admin, cohort, b"a\n")
    upload = Upload.objects.get()
    page = text_of(admin.get(at("cohort_delete", cohort)))
    assert "Buyers: 2 users, 1 versions" in page
    with django_capture_on_commit_callbacks(execute=True):
        assert admin.post(at("cohort_delete", cohort), {"post": "yes"}).status_code == 302
    assert not Cohort.objects.exists()
    assert members.ownerless() is None
    assert not upload.file.storage.exists(str(upload.file.name))


def test_a_cohort_that_is_in_use_or_busy_is_not_deleted(admin, cohort, monkeypatch):
    refresh.replace(cohort.pk, ["a"], source="test")
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME)
    reply = admin.post(at("cohort_delete", cohort), {"post": "yes"})
    assert "Another refresh of buyers is running." in follow(admin, reply)
    Cohort.objects.update(claim_until=None)

    def protected(self):
        raise ProtectedError("in use", {make_cohort("other")})

    monkeypatch.setattr(Cohort, "delete", protected)
    reply = admin.post(at("cohort_delete", cohort), {"post": "yes"})
    assert "Buyers is used by cohort Other. Delete them first." in follow(admin, reply)
    assert list(members.in_version(cohort.pk, 1)) == ["a"]


# --- who may ------------------------------------------------------------------------------------

READ = ["members", "export", "difference", "difference_export"]


def test_a_viewer_reads_and_changes_nothing(viewer, cohort):
    refresh.replace(cohort.pk, ["a"], source="test")
    refresh.replace(cohort.pk, [], source="test")
    upload = Upload.objects.create(cohort=cohort, original_name="x", state="failed")
    for name in READ:
        assert viewer.get(at(name, cohort)).status_code == 200
    assert "You may not decide about versions." in text_of(viewer.get(at("difference", cohort)))
    assert "Upload users" not in text_of(viewer.get(at("cohort_overview", cohort)))
    assert viewer.get(at("upload_state", cohort, upload.pk)).status_code == 200
    assert viewer.get(at("upload", cohort)).status_code == 403
    assert give(viewer, cohort, b"a\n").status_code == 403
    assert viewer.post(at("upload_again", cohort, upload.pk)).status_code == 403
    assert viewer.post(at("cohort_do", cohort, "approve"), {"seen": 2}).status_code == 403
    assert viewer.post(at("cohort_delete", cohort), {"post": "yes"}).status_code == 403
    cohort.refresh_from_db()
    assert (cohort.version, cohort.held_number) == (1, 2)


def test_a_stranger_is_asked_who_they_are(client, cohort):
    for name in [*READ, "upload"]:
        reply = client.get(at(name, cohort))
        assert reply.status_code == 302 and reply.url.startswith(reverse("admin:login"))


def test_pages_that_change_something_take_no_get(admin, cohort):
    upload = Upload.objects.create(cohort=cohort, original_name="x", state="failed")
    assert admin.get(at("upload_again", cohort, upload.pk)).status_code == 405


def test_a_new_cohort_leads_to_what_gives_it_members(admin):
    fields = {"name": "Buyers", "key": "buyers", "source_kind": "upload", "events_workspace": "default"}
    fields |= {"schedule_kind": "manual", "timezone": "UTC"}
    reply = admin.post(reverse("admin:cohorts_cohort_add"), fields)
    assert reply.url == at("upload", Cohort.objects.get(key="buyers"))
    reply = admin.post(reverse("admin:cohorts_cohort_add"), fields | {"key": "sent", "source_kind": "api"})
    assert reply.url == at("cohort_overview", Cohort.objects.get(key="sent"))


def test_a_calculated_cohort_can_be_calculated_now_by_who_may_change_it(admin):
    made = make_cohort(source_kind="query", query_database="shop", query_sql="SELECT 1")
    assert at("cohort_do", made, "calculate") in admin.get(at("cohort_overview", made)).content.decode()


def test_who_may_not_upload_is_not_offered_to_try_again(viewer, cohort):
    file = SimpleUploadedFile("a.csv", b"a")
    upload = Upload.objects.create(cohort=cohort, original_name="a.csv", state="failed", file=file)
    text = text_of(viewer.get(at("upload_state", cohort, upload.pk)))
    assert "Nothing was changed." in text
    assert "Try again" not in text and "upload it again" not in text
