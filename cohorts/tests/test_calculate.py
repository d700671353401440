"""Cohorts that are calculated: checked when saved, refreshed in order, and what is kept when it fails."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from cohorts import calculate, members, refresh
from cohorts.choices import ScheduleKind, SourceKind, VersionState
from cohorts.models import Cohort
from events import spool
from events.compact import compact
from events.engine import MissingTable

pytestmark = pytest.mark.django_db(transaction=True)

AS_OF = datetime(2024, 5, 10, tzinfo=UTC)
CARTED = {"performed": {"event": "cart", "window": {"last": "7d"}}}


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


@pytest.fixture
def shop(settings: Any, tmp_path: Path) -> Path:
    """A folder of files that may be queried as the database "shop"."""
    folder = tmp_path / "shop"
    folder.mkdir()
    settings.QUERY_DATABASES = {"shop": f"duckdb://{folder}"}
    (folder / "orders.csv").write_text("user_id,total\nu3,60\nu1,70\nu2,10\nu1,90\n")
    return folder


def did(user_id: str, event: str, days_ago: float = 1, workspace: str = "default") -> None:
    time = (AS_OF - timedelta(days=days_ago)).isoformat()
    spool.append(workspace, [{"user_id": user_id, "event": event, "time": time, "properties": {}}])
    compact(workspace)


def behavioral(key: str, where: dict[str, Any], **values: Any) -> Cohort:
    fields = {"name": key, "definition": {"version": 1, "where": where}, "hold_if_emptied": False, **values}
    made = Cohort(key=key, source_kind=SourceKind.BEHAVIORAL, **fields)
    made.full_clean()
    made.save()
    return made


def queried(sql: str, **values: Any) -> Cohort:
    fields = {"key": "big", "name": "Big", "query_database": "shop", "query_sql": sql, **values}
    made = Cohort(source_kind=SourceKind.QUERY, **fields)
    made.full_clean()
    made.save()
    return made


def now_in(key: str) -> list[str]:
    cohort = Cohort.objects.get(key=key)
    return list(members.in_version(cohort.pk, cohort.version))


def refreshed(*keys: str, **options: Any) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("refresh_cohorts", *keys, "--json", "--as-of", "2024-05-10T00:00:00Z", stdout=out, **options)
    rows: list[dict[str, Any]] = json.loads(out.getvalue())
    return rows


# --- what is calculated -------------------------------------------------------------------------


def test_a_version_says_which_definition_made_it_and_as_of_when() -> None:
    did("u1", "cart")
    cohort = behavioral("carts", CARTED)
    version = calculate.calculate(cohort, as_of=AS_OF)
    assert now_in("carts") == ["u1"]
    version.refresh_from_db()
    assert (version.state, version.size, version.entered) == (VersionState.PUBLISHED, 1, 1)
    assert (version.definition, version.as_of) == (cohort.definition, AS_OF)
    assert version.source == 'Users who performed "cart" in the last 7 days.'


def test_a_later_instant_moves_people_in_and_out() -> None:
    did("old", "cart", 5)
    did("new", "cart", -2)
    cohort = behavioral("carts", CARTED)
    calculate.calculate(cohort, as_of=AS_OF)
    assert now_in("carts") == ["old"]
    version = calculate.calculate(cohort, as_of=AS_OF + timedelta(days=3))
    assert now_in("carts") == ["new"]
    assert (version.entered, version.left) == (1, 1)


def test_only_the_events_of_the_cohorts_workspace_count() -> None:
    did("here", "cart")
    did("there", "cart", workspace="acme")
    behavioral("carts", CARTED, events_workspace="acme")
    refreshed("carts")
    assert now_in("carts") == ["there"]


def test_a_query_gives_the_members_and_is_kept_with_the_version(shop: Path) -> None:
    sql = "SELECT user_id FROM orders WHERE total > 50"
    version = calculate.calculate(queried(sql), as_of=AS_OF)
    assert now_in("big") == ["u1", "u3"]
    version.refresh_from_db()
    assert (version.source, version.definition) == ("Query of shop", {"sql": sql})


# --- what is refused at save --------------------------------------------------------------------


def problems(**values: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as error:
        Cohort(**{"key": "wrong", "name": "Wrong", **values}).full_clean()
    return error.value.message_dict


def test_a_wrong_definition_is_refused_with_its_path() -> None:
    definition = {"version": 1, "where": {"preformed": {"event": "cart"}}}
    said = problems(source_kind=SourceKind.BEHAVIORAL, definition=definition)["definition"]
    assert said == ['/where/preformed: unknown condition "preformed"; did you mean "performed"?']


def test_a_missing_definition_is_refused() -> None:
    assert "is an object, not null" in problems(source_kind=SourceKind.BEHAVIORAL)["definition"][0]


def test_a_cohort_that_is_not_there_cannot_be_referred_to() -> None:
    said = problems(
        source_kind=SourceKind.BEHAVIORAL, definition={"version": 1, "where": {"cohort": "nobody"}}
    )
    assert said["definition"] == ["There is no cohort 'nobody'."]


def test_a_circle_is_refused_when_it_would_close() -> None:
    first = behavioral("first", CARTED)
    behavioral("second", {"cohort": "first"})
    behavioral("third", {"any": [{"cohort": "second"}, CARTED]})
    first.definition = {"version": 1, "where": {"not": {"cohort": "third"}}}
    with pytest.raises(ValidationError, match="refer to each other in a circle"):
        first.full_clean()
    with pytest.raises(ValidationError, match="circle: own → own"):
        behavioral("own", {"cohort": "own"})


def test_a_query_that_writes_or_names_no_database_is_refused(shop: Path) -> None:
    kind = SourceKind.QUERY
    sql = "DELETE FROM orders"
    assert (
        "A query is a SELECT"
        in problems(source_kind=kind, query_database="shop", query_sql=sql)["query_sql"][0]
    )
    sql = "SELECT user_id FROM orders"
    assert (
        "no database 'else'"
        in problems(source_kind=kind, query_database="else", query_sql=sql)["query_sql"][0]
    )


def test_a_cohort_that_is_given_its_members_cannot_be_refreshed_before_a_sync() -> None:
    assert "Only a cohort that is calculated" in problems(refresh_before_sync=True)["refresh_before_sync"][0]


# --- order, errors, guards ----------------------------------------------------------------------


def test_cohorts_of_cohorts_are_calculated_after_those_they_name() -> None:
    for user in ("u1", "u2", "u3"):
        did(user, "cart")
    did("u2", "buy")
    bought = {"performed": {"event": "buy"}}
    behavioral("z-carts", CARTED)
    behavioral("m-buyers", bought)
    behavioral("a-left", {"all": [{"cohort": "z-carts"}, {"not": {"cohort": "m-buyers"}}]})
    order = [row["cohort"] for row in refreshed()]
    assert order[-1] == "a-left" and sorted(order) == ["a-left", "m-buyers", "z-carts"]
    assert now_in("a-left") == ["u1", "u3"]


def test_an_error_is_kept_with_the_cohort_and_cleared_by_the_next_success() -> None:
    cohort = behavioral("carts", CARTED)
    with pytest.raises(MissingTable):
        calculate.calculate(cohort, as_of=AS_OF)
    cohort.refresh_from_db()
    assert "No events have come in yet" in cohort.calculation_error
    assert cohort.calculation_failed_at is not None
    assert (cohort.version, cohort.claim_until) == (0, None)
    did("u1", "cart")
    calculate.calculate(cohort, as_of=AS_OF)
    cohort.refresh_from_db()
    assert [cohort.calculation_error, cohort.calculation_failed_at, cohort.version] == ["", None, 1]


def test_one_cohorts_error_does_not_stop_the_others() -> None:
    did("u1", "cart")
    behavioral("a-fails", {"not": CARTED})  # needs a table of users, and there is none
    behavioral("b-works", CARTED)
    with pytest.raises(CommandError, match="1 of 2 refreshes came to nothing"):
        refreshed()
    assert now_in("b-works") == ["u1"]
    assert "needs a table of users" in Cohort.objects.get(key="a-fails").calculation_error


def test_a_cohort_that_names_an_uncalculated_or_deleted_one_says_so() -> None:
    Cohort.objects.create(key="upload", name="Uploaded")
    cohort = behavioral("both", {"cohort": "upload"})
    assert calculate.try_calculate(cohort, as_of=AS_OF) is None
    cohort.refresh_from_db()
    assert "Uploaded, which is not calculated yet" in cohort.calculation_error
    Cohort.objects.filter(key="upload").delete()
    assert calculate.try_calculate(cohort, as_of=AS_OF) is None
    cohort.refresh_from_db()
    assert "no cohort 'upload' any more" in cohort.calculation_error


def test_an_error_that_nobody_foresaw_is_kept_with_the_cohort_too(settings: Any) -> None:
    did("u1", "cart")
    cohort = behavioral("carts", CARTED)
    for file in (settings.EVENTS_DIR / "default" / "files").iterdir():
        file.write_bytes(b"no Parquet")
    assert calculate.try_calculate(cohort, as_of=AS_OF) is None
    cohort.refresh_from_db()
    assert cohort.calculation_error and cohort.claim_until is None


def test_an_emptied_version_is_held_and_blocks_until_it_is_decided_on() -> None:
    did("u1", "cart")
    cohort = behavioral("carts", CARTED, hold_if_emptied=True)
    refreshed("carts")
    later = AS_OF + timedelta(days=30)
    held = calculate.calculate(cohort, as_of=later)
    assert (held.state, held.left) == (VersionState.HELD, 1)
    assert now_in("carts") == ["u1"]
    with pytest.raises(refresh.VersionHeld):
        calculate.calculate(cohort, as_of=later)
    again = calculate.calculate(cohort, as_of=AS_OF, replace_held=True)
    assert again.state == VersionState.PUBLISHED and now_in("carts") == ["u1"]
    assert held.cohort.versions.get(number=held.number).state == VersionState.REPLACED


def test_a_collapsed_version_is_held_by_its_share() -> None:
    for n in range(10):
        did(f"u{n}", "cart", 1 if n < 4 else 6)
    cohort = behavioral("carts", CARTED, guard_percent=50)
    calculate.calculate(cohort, as_of=AS_OF)
    assert calculate.calculate(cohort, as_of=AS_OF + timedelta(days=3)).state == VersionState.HELD
    assert len(now_in("carts")) == 10


# --- when ---------------------------------------------------------------------------------------


def test_due_cohorts_are_calculated_once_as_of_one_instant_and_in_order() -> None:
    did("u1", "cart")
    hourly = {"schedule_kind": ScheduleKind.HOURLY, "next_due_at": AS_OF}
    base = behavioral("z-base", CARTED, **hourly)
    above = behavioral("a-above", {"cohort": "z-base"}, **hourly)
    behavioral("not-yet", CARTED, **{**hourly, "next_due_at": AS_OF + timedelta(minutes=1)})
    assert {cohort.key for cohort in calculate.calculate_due(AS_OF)} == {"z-base", "a-above"}
    assert now_in("a-above") == ["u1"]
    assert [c.versions.get().as_of for c in (base, above)] == [AS_OF, AS_OF]
    base.refresh_from_db()
    assert base.next_due_at == AS_OF + timedelta(hours=1)
    assert calculate.calculate_due(AS_OF) == []


def test_due_cohorts_that_share_nothing_may_be_calculated_by_several_workers() -> None:
    due = {"next_due_at": AS_OF}
    query = {"source_kind": SourceKind.QUERY, "query_database": "w", "query_sql": "SELECT 1"}
    for key in ("alone", "also-alone"):
        Cohort.objects.create(key=key, name=key, **query, **due)
    behavioral("carts", CARTED, **due)
    behavioral("carts-too", CARTED, **due)
    # Names one of another workspace, so that all three groups become one.
    behavioral("elsewhere", {"cohort": "carts"}, events_workspace="other", **due)
    behavioral("of-a-query", {"cohort": "also-alone"}, events_workspace="third", **due)
    behavioral("not-yet", CARTED, next_due_at=AS_OF + timedelta(minutes=1))
    groups = calculate.due_together(AS_OF)
    assert sorted(groups) == [["alone"], ["also-alone", "of-a-query"], ["carts", "carts-too", "elsewhere"]]
    assert {cohort.key for cohort in calculate.calculate_due(AS_OF, among=["carts"])} == {"carts"}
    # What tied these two together is done.
    assert sorted(calculate.due_together(AS_OF))[2:] == [["carts-too"], ["elsewhere"]]


def test_a_worker_that_dies_while_it_calculates_what_was_due_once__leaves_it_due(monkeypatch) -> None:
    did("u1", "cart")
    once = behavioral(
        "once", CARTED, schedule_kind=ScheduleKind.ONCE, schedule_once_at=AS_OF, next_due_at=AS_OF
    )

    def killed(*args: object, **kwargs: object) -> None:
        raise SystemExit

    monkeypatch.setattr(calculate, "try_calculate", killed)
    with pytest.raises(SystemExit):
        calculate.calculate_due(AS_OF)
    monkeypatch.undo()
    assert calculate.calculate_due(AS_OF) == [], "it may still be at it"
    assert calculate.calculate_due(AS_OF + calculate.TAKEN_AGAIN) == [once]
    assert now_in("once") == ["u1"]
    once.refresh_from_db()
    assert once.next_due_at is None


def test_a_due_cohort_whose_zone_is_no_longer_known__says_so_and_keeps_no_other_from_its_time() -> None:
    did("u1", "cart")
    due = {"schedule_kind": ScheduleKind.HOURLY, "next_due_at": AS_OF}
    lost = behavioral("a-lost", CARTED, **due)
    Cohort.objects.filter(pk=lost.pk).update(timezone="Mars/Olympus")
    well = behavioral("well", CARTED, **due)
    assert calculate.calculate_due(AS_OF) == [well]
    lost.refresh_from_db()
    assert "Mars/Olympus" in lost.calculation_error


def test_the_command_takes_an_instant_and_refuses_what_is_none() -> None:
    did("u1", "cart")
    behavioral("carts", CARTED)
    [row] = refreshed("carts")
    assert (row["cohort"], row["version"], row["size"], row["entered"]) == ("carts", 1, 1, 1)
    assert Cohort.objects.get(key="carts").versions.get().as_of == AS_OF
    with pytest.raises(CommandError, match="is no time"):
        call_command("refresh_cohorts", "--as-of", "last tuesday")
    with pytest.raises(CommandError, match="There is no cohort 'nobody'"):
        call_command("refresh_cohorts", "nobody")
