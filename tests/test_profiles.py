"""What is known of people: from files, by REST; what is typed, hashed and refused; the latest word counts."""

import json
from io import BytesIO, StringIO

import pytest
from django.core.management import CommandError, call_command

from events.tables import Hints, InvalidTable
from people import profiles, tombstones
from people.models import ProfileImport, Tombstone
from people.profile_files import Reading, import_file, look, mapped_of
from people.profiles import InvalidValue, Refused, read_text, read_value
from receiving.models import RequestLog, UserTrait, Workspace

pytestmark = pytest.mark.django_db
HASH = "b4c9a289323b21a01c3e940f150eb9b8c542587f1abfd8f0e1cc1ffc5e475514"
CSV = "user_id;E-Mail;Tel;Plan\nu1; Ada@Example.com;+49 30 901820;pro\nu2;;;free\n"


@pytest.fixture(autouse=True)
def events_dir(settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"


@pytest.fixture
def shop():
    return Workspace.objects.create(slug="shop")


def reading(*maps: str, **more) -> Reading:
    return Reading([mapped_of(one) for one in maps], Hints(heading=True), **more)


def known(user_id: str) -> dict[str, object]:
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def bring(text: str, *maps: str, **more):
    return import_file("shop", BytesIO(text.encode()), reading(*maps, **more), name="people.csv", by="ada")


def test_a_file_says_what_people_are_known_by(shop):
    kept, found = bring(CSV, "email=E-Mail", "phone=Tel", "plan=Plan")
    assert known("u1") == {"email": "ada@example.com", "phone": "+4930901820", "plan": "pro"}
    assert known("u2") == {"plan": "free"}
    assert (found.users, kept.changed, kept.hashed, kept.created_by) == (2, 4, 0, "ada")
    assert ProfileImport.objects.get().columns[1:] == [["phone", "phone", "Tel"], ["plan", "text", "Plan"]]
    # The same again changes nothing, and an empty cell unsets nothing.
    assert bring("user_id,E-Mail\nu1,\nu2,bob@example.com\n", "email=E-Mail")[0].changed == 1
    assert known("u1")["email"] == "ada@example.com"


def test_who_follows_a_trait_learns_of_a_file(shop):
    bring(CSV, "plan=Plan")
    assert list(RequestLog.objects.values_list("workspace", "path", "changed")) == [(shop.pk, "profiles", 2)]


def test_the_event_store_has_what_a_file_says(shop, settings):
    bring(CSV, "email=E-Mail")
    lines = [path.read_text() for path in settings.EVENTS_DIR.rglob("traits-*.jsonl")]
    assert "ada@example.com" in "".join(lines)


def test_the_last_row_of_a_person_counts_and_two_columns_are_two_values(shop):
    bring("user_id,plan,a,b\nu1,pro,d1,d2\nu2,pro,d3,\nu1,free,,\n", "plan=plan", "device=a", "device=b")
    assert known("u1") == {"plan": "free", "device": ["d1", "d2"]}
    assert known("u2") == {"plan": "pro", "device": "d3"}


def test_each_kind_of_file_is_read(shop, tmp_path):
    lines = b'{"user_id": "u1", "mail": "a@b.example"}\n{"user_id": 7, "mail": null}\n'
    assert look(BytesIO(lines), reading("email=mail"), name="x.jsonl").values["email"] == 1
    import duckdb

    path = tmp_path / "people.parquet"
    duckdb.sql("SELECT 'u1' AS user_id, 'a@b.example' AS mail UNION ALL SELECT 'u2', NULL").write_parquet(
        str(path)
    )
    assert look(BytesIO(path.read_bytes()), reading("email=mail")).values["email"] == 1
    from openpyxl import Workbook

    book, file = Workbook(), BytesIO()
    for row in (("user_id", "mail"), ("u1", "a@b.example"), ("u2", None)):
        book.active.append(row)
    book.save(file)
    file.seek(0)
    assert look(file, reading("email=mail"), name="x.xlsx").values["email"] == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("u1,no address", "Line 2: email 'no address' has no @. Nothing was kept."),
        ("u1," + "a" * 5_000 + "@example.com", "is longer than 4,096 characters"),
        ("u1," + "a" * 300 + "@example.com", "is longer than 254 characters"),
        (" ,a@b.example", "Line 2: the user id is blank."),
    ],
)
def test_a_value_that_is_none_is_refused_and_nothing_is_kept(shop, row, said):
    with pytest.raises(InvalidTable) as error:
        bring(f"user_id,email\n{row}\nu2,bob@example.com\n", "email=email")
    assert said in str(error.value)
    assert not UserTrait.objects.exists()


def test_such_values_can_be_passed_over(shop):
    kept, found = bring("user_id,tel\nu1,12\nu2,0049 30 901820\n", "phone=tel", skip_invalid=True)
    assert kept.skipped == 1 and "Line 2: phone '12'" in found.sentences[0]
    assert known("u2") == {"phone": "+4930901820"}
    assert known("u1") == {}


def test_two_spellings_of_an_address_are_one_and_a_hash_is_taken_as_a_hash_and_said(shop):
    composed, decomposed = "j\u00f6rg@example.com", "jo\u0308rg@example.com"
    assert read_text(composed, "email") == read_text(decomposed.upper(), "email") == composed
    _, found = bring(f"user_id,email\nu1,{HASH.upper()}\n", "email=email")
    assert known("u1") == {"email": HASH}
    assert found.hashed == {"email": 1}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("7", "number", 7), ("-1.5", "number", -1.5), ("Yes", "boolean", True), ("0", "boolean", False),
        (" x ", "text", "x"),
    ],
)  # fmt: skip
def test_values_have_types(text, kind, value):
    found = read_text(text, kind)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("nan", "number"), ("1e999", "number"), ("x", "number"), ("maybe", "boolean"), ("a\0", "text"),
     ("030 901820", "phone"), ("\ud800", "text")],
)  # fmt: skip
def test_what_is_no_value_of_its_type_is_refused(text, kind):
    with pytest.raises(InvalidValue):
        read_text(text, kind)


@pytest.mark.parametrize("value", [{"a": 1}, [[{}]], ["x"] * 101, "a\0b"])
def test_a_field_is_no_object(value):
    with pytest.raises(InvalidValue):
        read_value("plan", value)


@pytest.mark.parametrize("text", ["email", "=x", "email="])
def test_what_is_mapped_names_a_field_and_a_column(text):
    with pytest.raises(InvalidValue):
        mapped_of(text)
    assert mapped_of("work:email=E-Mail=2") == ("work", "email", "E-Mail=2")


def test_no_old_file_brings_an_erased_person_back(shop):
    Tombstone.objects.create(digest=tombstones.digest_of("u1"))
    assert bring(CSV, "plan=Plan")[0].changed == 1
    assert (known("u1"), known("u2")) == ({}, {"plan": "free"})


def test_without_a_workspace_nothing_is_kept():
    with pytest.raises(Refused, match="There is no workspace 'shop'"):
        bring(CSV, "plan=Plan")


# --- command and REST ----------------------------------------------------------------------------


def command(file, *arguments) -> str:
    out = StringIO()
    call_command("import_profiles", "shop", str(file), *arguments, stdout=out)
    return out.getvalue()


def test_the_command_looks_first_and_then_keeps(shop, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text(CSV)
    said = json.loads(command(file, "--map", "email=E-Mail", "--dry-run", "--json"))
    assert (said["users"], said["values"], said["changed"]) == (1, {"email": 1}, None)
    assert known("u1") == {}
    assert "1 values are other than before." in command(file, "--map", "email=E-Mail")
    assert known("u1") == {"email": "ada@example.com"}
    file.write_text("user_id,tel\nu1,none\n")
    with pytest.raises(SystemExit) as left:
        command(file, "--map", "phone=tel", "--skip-invalid")
    assert left.value.code == 3
    with pytest.raises(CommandError, match="no column named 'mail'"):
        command(file, "--map", "email=mail")


def post(client, *people, workspace="shop"):
    body = {"workspace": workspace, "profiles": list(people)}
    return client.post("/api/v1/profiles", body, content_type="application/json")


def test_profiles_are_said_and_read_by_rest(shop, admin_client):
    reply = post(
        admin_client,
        {"user_id": "u1", "values": {"email": "Ada@Example.com", "devices": ["a", "b"], "consent": True}},
        {"user_id": 2, "values": {"email": HASH}},
    )
    assert (reply.status_code, reply.json()) == (201, {"changed": 4, "hashed": 1})
    read = admin_client.get("/api/v1/profiles/u1?workspace=shop").json()
    assert {name: one["value"] for name, one in read["values"].items()} == {
        "email": "ada@example.com", "devices": ["a", "b"], "consent": True,
    }  # fmt: skip
    assert admin_client.get("/api/v1/profiles/u9?workspace=shop").status_code == 404


def test_the_later_time_counts_whichever_came_first(shop, admin_client):
    for plan, day in (("new", "02"), ("old", "01")):
        post(admin_client, {"user_id": "u1", "values": {"plan": plan}, "time": f"2026-01-{day}T00:00:00Z"})
    assert known("u1") == {"plan": "new"}
    # A time that is still to come would keep later words out.
    post(admin_client, {"user_id": "u1", "values": {"plan": "future"}, "time": "2999-01-01T00:00:00Z"})
    post(admin_client, {"user_id": "u1", "values": {"plan": None}})
    assert known("u1") == {}


@pytest.mark.parametrize(
    ("person", "said"),
    [
        ({"user_id": "u2", "values": {"email": "none"}}, "Item 1: 'email' has no @."),
        ({"user_id": "u2", "values": {"phone": "123"}}, "Item 1: 'phone' does not begin with +"),
        ({"user_id": "u2", "values": {"email": "a" * 5_000 + "@b.example"}}, "is longer than 4,096"),
        ({"user_id": "u2", "values": {"a\0": 1}}, "contains a NUL"),
        ({"user_id": "\0", "values": {"a": 1}}, "the user id contains a NUL"),
        ({"user_id": True, "values": {"a": 1}}, "the user id is neither a string"),
        ({"user_id": "u2"}, "values: This field is required"),
        ({"user_id": "u2", "values": {"a": 1}, "x": 1}, "'x' is no field of a profile"),
        ({"user_id": "u2", "values": {"a": {"b": 1}}}, "'a' is neither a text"),
    ],
)
def test_bad_input_is_a_400_that_names_the_item_and_nothing_is_kept(shop, admin_client, person, said):
    reply = post(admin_client, {"user_id": "u1", "values": {"plan": "pro"}}, person)
    assert reply.status_code == 400
    assert said in reply.content.decode()
    assert not UserTrait.objects.exists()


def test_who_may_not_is_refused(shop, client, groups, django_user_model):
    from django.contrib.auth.models import Group

    viewer = django_user_model.objects.create_user("vera", password="x", is_staff=True)
    viewer.groups.add(Group.objects.get(name="viewer"))
    client.force_login(viewer)
    ada = {"user_id": "u1", "values": {"plan": "pro"}}
    assert client.get("/api/v1/profiles/u1?workspace=shop").status_code == 403
    assert post(client, ada).status_code == 403
    viewer.groups.add(Group.objects.get(name="operator"))
    assert client.get("/api/v1/profiles/u1?workspace=shop").status_code == 403
    assert post(client, ada).status_code == 201
