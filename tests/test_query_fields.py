"""Further columns of a query cohort are kept as fields of these people's profiles."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from rest_framework.test import APIClient

from cohorts import calculate, erase, members, query, refresh
from cohorts.choices import SourceKind, VersionState
from cohorts.databases import InvalidIds, open_database
from cohorts.models import Cohort
from cohortsite import config
from cohortsite.apply import apply
from events.engine import Limits
from people import profiles
from people.models import Tombstone
from people.scrubbing import FORGOTTEN
from people.tombstones import digest_of
from receiving.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

SQL = "SELECT user_id, mail, phone, plan, may_write FROM people"
FIELDS = ["email=mail", "phone=phone", "plan=plan", "consent:boolean=may_write"]
HEADING = "user_id,mail,phone,plan,may_write\n"
AS_OF = datetime(2026, 5, 10, 12, tzinfo=UTC)


@pytest.fixture
def shop(settings: Any, tmp_path: Path) -> Path:
    settings.EVENTS_DIR = tmp_path / "events"
    (tmp_path / "shop").mkdir()
    settings.QUERY_DATABASES = {"shop": f"duckdb://{tmp_path / 'shop'}"}
    Workspace.objects.create(slug="shop")
    return tmp_path / "shop" / "people.csv"


def people(path: Path, *rows: str) -> None:
    path.write_text(HEADING + "\n".join(rows) + "\n")


def cohort(sql: str = SQL, fields: Any = FIELDS, **values: Any) -> Cohort:
    given = {"query_database": "shop", "query_sql": sql, "query_fields": fields, "events_workspace": "shop"}
    made = Cohort(key="buyers", name="Buyers", source_kind=SourceKind.QUERY, **given | values)
    made.full_clean()
    made.save()
    return made


def known(user_id: str) -> dict[str, Any]:
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def now_in(one: Cohort) -> list[str]:
    one.refresh_from_db()
    return list(members.in_version(one.pk, one.version))


def test_columns_are_fields_as_of_the_refresh(shop: Path) -> None:
    people(shop, "u1, Ada@Example.com ,+49 30 901820,pro,yes", "u2,,,free,false", "u3,,,,")
    made = cohort()
    version = calculate.calculate(made, as_of=AS_OF)
    assert now_in(made) == ["u1", "u2", "u3"]
    assert known("u1") == {"email": "ada@example.com", "phone": "+4930901820", "plan": "pro", "consent": True}
    assert known("u2") == {"plan": "free", "consent": False}
    assert {one.time for one in profiles.store().of("shop", "u1").values()} == {AS_OF}
    assert version.source == (
        "Query of shop. Profiles: values 1 of email, 1 of phone, 2 of plan, 2 of consent; "
        "6 other than before."
    )
    version.refresh_from_db()
    assert version.definition == {"sql": SQL, "fields": FIELDS}


def test_rows_of_one_user_are_values_of_one_field_in_whichever_order_they_come(shop: Path) -> None:
    rows = ["u1,b@example.com,,pro,", "u1,a@example.com,,pro,", "u1,,,,", "u2,c@example.com,,,"]
    people(shop, *rows)
    made = cohort()
    calculate.calculate(made, as_of=AS_OF)
    assert known("u1") == {"email": ["a@example.com", "b@example.com"], "plan": "pro"}
    people(shop, *reversed(rows))
    version = calculate.calculate(made, as_of=AS_OF + timedelta(days=1))
    assert "; 0 other than before" in version.source
    assert now_in(made) == ["u1", "u2"]
    people(shop, *(f"u1,a{number}@example.com,,," for number in range(101)))
    with pytest.raises(query.NotKept, match="User u1 has more than 100 values of one column"):
        calculate.calculate(made)


def test_null_unsets_an_empty_text_says_nothing_and_a_later_word_stays(shop: Path) -> None:
    people(shop, "u1,a@example.com,,pro,", "u2,b@example.com,,pro,")
    made = cohort(
        "SELECT user_id, mail, nullif(plan, 'none') AS plan FROM people", ["email=mail", "plan=plan"]
    )
    calculate.calculate(made, as_of=AS_OF)
    profiles.write("shop", [profiles.Said("u2", {"plan": "team"}, AS_OF + timedelta(days=3))])
    emptied = "SELECT user_id, '' AS mail, nullif(plan, 'none') AS plan FROM people"
    Cohort.objects.update(query_sql=emptied)
    made.refresh_from_db()
    people(shop, "u1,,,none,", "u2,,,none,")
    calculate.calculate(made, as_of=AS_OF + timedelta(days=2))
    assert known("u1") == {"email": "a@example.com"}
    assert known("u2") == {"email": "b@example.com", "plan": "team"}


def test_what_is_known_already_is_not_written_again(shop: Path) -> None:
    people(shop, "u1,a@example.com,,pro,yes", "u2,b@example.com,,pro,yes")
    made = cohort()
    calculate.calculate(made, as_of=AS_OF)
    people(shop, "u1,a@example.com,,pro,yes", "u2,new@example.com,,pro,yes")
    version = calculate.calculate(made, as_of=AS_OF + timedelta(days=1))
    assert "; 1 other than before" in version.source
    times = {name: one.time for name, one in profiles.store().of("shop", "u2").items()}
    assert times == {"email": AS_OF + timedelta(days=1), "plan": AS_OF, "consent": AS_OF}


def test_a_value_that_is_none_keeps_everything_as_it_was_unless_it_is_passed_over(shop: Path) -> None:
    people(shop, "u1,a@example.com,,pro,yes", "u2,no address,,free,yes", "u3,c@example.com,030 901820,,maybe")
    made = cohort()
    with pytest.raises(query.NotKept, match="User u2: email 'no address' has no @"):
        calculate.calculate(made)
    assert (now_in(made), known("u1")) == ([], {})
    assert "User u2" in made.calculation_error
    Cohort.objects.update(query_skip_invalid=True)
    made.refresh_from_db()
    assert "; 3 passed over" in calculate.calculate(made).source
    assert now_in(made) == ["u1", "u2", "u3"]
    assert (known("u2"), known("u3")) == ({"plan": "free", "consent": True}, {"email": "c@example.com"})


def test_a_value_of_megabytes_is_refused(shop: Path) -> None:
    people(shop, "u1,,,pro,")
    made = cohort("SELECT user_id, repeat('é', 3000000) AS plan FROM people", ["plan=plan"])
    with pytest.raises(query.NotKept, match=r"longer than 4,096 characters"):
        calculate.calculate(made)


def test_a_wrong_user_id_anywhere_keeps_nothing(shop: Path) -> None:
    people(shop, "u1,a@example.com,,,", f"{'x' * 2000},b@example.com,,,")
    made = cohort()
    with pytest.raises(InvalidIds):
        calculate.calculate(made)
    assert known("u1") == {}


def test_nothing_is_kept_while_a_version_waits_for_a_person(shop: Path) -> None:
    people(shop, "u1,a@example.com,,,")
    made = cohort()
    calculate.calculate(made)
    people(shop, "")
    assert calculate.calculate(made).state == VersionState.HELD
    people(shop, "u1,new@example.com,,,")
    made.refresh_from_db()
    with pytest.raises(refresh.VersionHeld):
        calculate.calculate(made)
    assert known("u1") == {"email": "a@example.com"}
    calculate.calculate(made, replace_held=True)
    assert known("u1") == {"email": "new@example.com"}


def test_who_was_erased_is_not_kept_and_errors_that_quote_values_go(shop: Path) -> None:
    Tombstone.objects.create(digest=digest_of("u1"))
    people(shop, "u1,a@example.com,,,", "u2,b@example.com,,,")
    made = cohort()
    calculate.calculate(made)
    assert (known("u1"), known("u2")) == ({}, {"email": "b@example.com"})
    people(shop, "u2,Ada without an address,,,")
    assert calculate.try_calculate(made) is None
    erase.erase("u1")
    made.refresh_from_db()
    assert made.calculation_error == FORGOTTEN


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"query_fields": ["email=E-Mail"]}, "query_sql", "returns no column 'E-Mail'"),
        ({"query_fields": ["email=mail"]}, "query_sql", "a column 'phone' that becomes no field"),
        ({"query_fields": []}, "query_sql", "one column, called user_id"),
        ({"query_fields": ["email"]}, "query_fields", "'email' says no column"),
        ({"query_fields": ["=mail"]}, "query_fields", "is no name"),
        ({"query_fields": "email=mail"}, "query_fields", "no list of texts"),
        ({"query_fields": [1]}, "query_fields", "no list of texts"),
        ({"query_fields": {"a": 1}}, "query_fields", "no list of texts"),
        ({"events_workspace": "none"}, "events_workspace", "There is no workspace 'none'"),
        ({"sql": "SELECT * FROM people"}, "query_sql", "one column, called user_id"),
        ({"sql": f"{SQL[:7]} plan, {SQL[7:]}"}, "query_sql", "two columns of one name"),
        ({"sql": f"{SQL}, getenv('HOME')"}, "query_sql", "reads elsewhere"),
        ({"sql": SQL.replace("plan", "getenv('HOME') AS plan")}, "query_sql", "not known to be harmless"),
    ],
)
def test_what_is_refused_says_what_is_wrong(shop: Path, changed: Any, field: str, said: str) -> None:
    people(shop, "u1,,,,")
    with pytest.raises(ValidationError) as error:
        cohort(changed.pop("sql", SQL), fields=changed.pop("query_fields", FIELDS), **changed)
    assert said in str(error.value.message_dict[field])


def test_the_id_can_be_a_field_itself(shop: Path) -> None:
    people(shop, "ada@example.com,,,,")
    calculate.calculate(cohort("SELECT user_id FROM people", ["email=user_id"]))
    assert known("ada@example.com") == {"email": "ada@example.com"}


def test_a_cast_is_called_as_its_column(shop: Path) -> None:
    people(shop, "1,,,pro,yes")
    sql = "SELECT user_id::text, CAST(may_write AS text), 'x' AS plan FROM people"
    calculate.calculate(cohort(sql, ["consent:boolean=may_write", "plan=plan"]))
    assert known("1") == {"consent": True, "plan": "x"}


@pytest.fixture
def table() -> Iterator[tuple[str, str]]:
    """A server's address, and the name of a table there that no other process of the tests has."""
    url = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    name = f"query_fields_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE TABLE {name} (id int, "E-Mail" text, Plan text, n numeric)'.encode())
        connection.execute(
            f"INSERT INTO {name} VALUES (7, 'a@example.com', 'pro', 1.50), (8, NULL, NULL, NULL)".encode()
        )
        try:
            yield url, name
        finally:
            connection.execute(f"DROP TABLE {name}".encode())


def test_on_postgresql_names_are_as_the_query_writes_them(shop: Path, table: tuple[str, str]) -> None:
    url, name = table
    database = open_database(url)
    sql = query.compile_query(
        f'SELECT id AS user_id, "E-Mail"::varchar, Plan::text, n FROM {name}',
        database,
        ["E-Mail", "Plan", "n"],
    )
    with database.answer(sql, Limits.configured(), query._temp()) as read:
        assert list(read()) == [("7", "a@example.com", "pro", "1.50"), ("8", None, None, None)]
        assert len(list(read())) == 2


def test_by_rest_it_takes_the_right_to_bring_profiles(shop: Path) -> None:
    people(shop, "u1,a@example.com,,,")
    made = cohort("SELECT user_id FROM people", [])
    user = User.objects.create_user("ops", is_staff=True)
    rights = ["view_cohort", "change_cohort", "use_query_source"]
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = APIClient()
    client.force_authenticate(User.objects.get(pk=user.pk))
    url = "/api/v1/cohorts/buyers"
    change = {"query_sql": "SELECT user_id, mail FROM people", "query_fields": ["email=mail"]}
    assert client.patch(url, change, format="json").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="add_profileimport"))
    client.force_authenticate(User.objects.get(pk=user.pk))
    reply = client.patch(url, change, format="json")
    assert (reply.status_code, reply.json()["query_fields"]) == (200, ["email=mail"])
    wrong = client.patch(url, {"query_fields": ["email=post"]}, format="json")
    assert (wrong.status_code, "'post'" in str(wrong.json())) == (400, True)
    made.refresh_from_db()
    calculate.calculate(made)
    assert known("u1") == {"email": "a@example.com"}


def test_in_the_browser_it_is_a_line_a_field_and_emptied_with_the_source(shop: Path, client: Any) -> None:
    people(shop, "u1,a@example.com,,,")
    client.force_login(User.objects.create_superuser("root"))
    data = {
        "key": "b",
        "name": "B",
        "source_kind": "query",
        "query_database": "shop",
        "definition": "",
        "query_sql": "SELECT user_id, mail, plan FROM people",
        "query_fields": "email=mail\r\n\r\nplan=plan",
        "events_workspace": "shop",
        "schedule_kind": "manual",
        "timezone": "UTC",
        "received_equals": "true",
    }
    page = client.post("/admin/cohorts/cohort/add/", data | {"query_fields": "email=post"})
    assert "returns no column &#x27;post&#x27;" in page.content.decode()
    assert client.post("/admin/cohorts/cohort/add/", data).status_code == 302
    made = Cohort.objects.get()
    assert made.query_fields == ["email=mail", "plan=plan"]
    url = f"/admin/cohorts/cohort/{made.pk}/change/"
    assert "email=mail\nplan=plan</textarea>" in client.get(url).content.decode()
    assert client.post(url, data | {"source_kind": "upload"}).status_code == 302
    made.refresh_from_db()
    assert (made.query_fields, made.query_sql) == ([], "")


def test_in_a_file_it_is_said_under_the_source(shop: Path) -> None:
    people(shop, "u1,a@example.com,,,")
    source = {"kind": "query", "database": "shop", "sql": SQL, "fields": FIELDS, "skip_invalid": True}
    document = {"cohorts": [{"key": "b", "name": "B", "events_workspace": "shop", "source": source}]}
    apply(document)
    assert Cohort.objects.get().query_fields == FIELDS
    [exported] = config.export()["cohorts"]
    assert exported["source"] == source
