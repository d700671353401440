"""Configuration as code: applying, refusing, exporting."""

import io
import json
import re
from datetime import UTC, datetime, time
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from cohorts.models import Cohort
from cohortsite import apply as applying
from cohortsite.apply import apply
from cohortsite.config import export
from cohortsite.config_file import InvalidConfig, dump, load
from destinations.models import Destination
from events.models import Correction, NameKind, NameRule
from events.naming import decide
from syncs import lifecycle
from syncs.alert_models import AlertChannel
from syncs.choices import RunState, Trigger
from syncs.models import Rejection, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db

FILE = """
destinations:
  - name: acme
    preset: amplitude-list
    base_url: https://partner.example/api
    auth: {mode: key, credential_env: ACME_KEY}
    batch_size: 500
  - name: props
    title: Properties
    preset: segment
    auth: {mode: basic, username: someone, credential_env: ACME_KEY}
    rate: 2.5
    extra_headers: {X-Source: crm}
    item_template: {type: identify, userId: $user_id, traits: {$external_name: $value}}
cohorts:
  - {key: buyers, name: Recent buyers, source: {kind: upload}}
  - key: "007"
    name: Agents
    description: |
      Two lines.
      10:30
    guard_percent: 20
    hold_if_emptied: false
    source: {kind: api}
  - key: carts
    name: Left a cart
    source:
      kind: behavioral
      definition:
        version: 1
        where:
          all:
            - performed: {event: add_to_cart, window: {last: 7d}, count: {">=": 2}}
            - not: {cohort: former}
    schedule: {kind: hourly}
    refresh_before_sync: true
    events_workspace: shop
  - key: former
    name: Former customers
    source:
      kind: behavioral
      definition: {version: 1, where: {performed: {event: cancel, window: {from: 2026-01-01}}}}
  - key: vips
    name: VIPs
    source: {kind: query, database: files, sql: SELECT user_id FROM customers WHERE vip}
syncs:
  - {cohort: buyers, destination: acme, schedule: {kind: daily, at: 09:05, timezone: Europe/Berlin}}
  - {cohort: buyers, destination: props, schedule: {kind: cron, cron: 15 */4 * * 1-5}, enabled: false}
  - {cohort: "007", destination: acme, schedule: {kind: once, once_at: 2099-07-01T09:00, timezone: Japan}}
"""


@pytest.fixture(autouse=True)
def acme_key(monkeypatch):
    monkeypatch.setenv("ACME_KEY", "s3cret")


@pytest.fixture(autouse=True)
def warehouse(settings, tmp_path):
    folder = tmp_path / "warehouse"
    folder.mkdir()
    (folder / "customers.csv").write_text("user_id,vip\nada,true\n")
    settings.QUERY_DATABASES = {"files": f"duckdb://{folder}"}


@pytest.fixture
def applied():
    return apply(load(FILE.encode()))


def changed(path: str, value: object) -> Any:
    """Return the file's document with one place changed: `destinations.0.base_url`."""
    document: Any = load(FILE.encode())
    *outer, last = path.split(".")
    at = document
    for key in outer:
        at = at[int(key)] if key.isdigit() else at[key]
    at[int(last) if last.isdigit() else last] = value
    return document


def errors(document: object, **options: bool) -> list[str]:
    with pytest.raises(InvalidConfig) as refused:
        apply(document, **options)
    return refused.value.errors


def test_a_file_of_before_switches_no_guard_on_that_it_does_not_know():
    """The migration left the guard off where people had none; a file applied each night says nothing."""
    apply(load(FILE))
    assert Cohort.objects.filter(hold_if_halved=False).count() == 0  # new ones have it
    Cohort.objects.update(hold_if_halved=False)
    Sync.objects.update(hold_if_halved=False)

    assert {change.action for change in apply(load(FILE))} == {"none"}

    assert not Cohort.objects.filter(hold_if_halved=True).exists()
    assert not Sync.objects.filter(hold_if_halved=True).exists()
    said = FILE.replace("name: Recent buyers,", "name: Recent buyers, hold_if_halved: true,")
    apply(load(said))
    assert Cohort.objects.get(hold_if_halved=True).key == "buyers"


def test_a_file_becomes_destinations_cohorts_and_syncs(applied):
    acme = Destination.objects.get(name="acme")
    assert (acme.kind, acme.auth_mode, acme.batch_size, acme.threads) == ("list", "key", 500, 4)
    assert acme.credential.reveal() == "s3cret"
    props = Destination.objects.get(name="props")
    assert (props.batch_path, props.base_url) == ("/v1/batch", "https://api.segment.io")
    agents = Cohort.objects.get(key="007")
    assert (agents.description, agents.source_kind) == ("Two lines.\n10:30\n", "api")
    daily, once = Sync.objects.get(schedule_kind="daily"), Sync.objects.get(schedule_kind="once")
    assert daily.schedule().describe() == "Every day at 09:05 (Europe/Berlin)"
    assert once.schedule_once_at == datetime(2099, 7, 1, 0, 0, tzinfo=UTC)
    assert [change.action for change in applied] == ["create"] * 10


def test_tags_an_owner_and_an_active_window_are_read_and_written():
    document = changed("cohorts.0.tags", ["spring", "paid"])
    document["cohorts"][0]["owner"] = "ada"
    document["cohorts"][0]["active"] = {"from": "2026-03-01T00:00", "to": "tomorrow", "then": "leave"}
    assert "must be a date and a time" in errors(document)[0]
    document["cohorts"][0]["active"]["to"] = "2026-04-01T00:00+02:00"
    apply(document)
    buyers = Cohort.objects.get(key=document["cohorts"][0]["key"])
    assert (buyers.tags, buyers.owner, buyers.when_over) == (["spring", "paid"], "ada", "leave")
    assert buyers.active_from == datetime(2026, 3, 1, tzinfo=UTC)
    assert buyers.active_to == datetime(2026, 3, 31, 22, tzinfo=UTC)
    again = export()
    written = next(one for one in again["cohorts"] if one["key"] == buyers.key)
    assert written["active"] == {
        "from": "2026-03-01T00:00:00+00:00",
        "to": "2026-03-31T22:00:00+00:00",
        "then": "leave",
    }
    assert {change.action for change in apply(again)} == {"none"}
    document["cohorts"][0]["tags"] = ["No tag"]
    assert "is no tag" in errors(document)[0]


def test_a_sync_is_due_from_then_on(applied):
    due = Sync.objects.get(schedule_kind="daily").next_due_at
    assert due is not None
    assert due.minute == 5
    Sync.objects.filter(schedule_kind="daily").update(next_due_at=datetime(2020, 1, 1, tzinfo=UTC))
    apply(load(FILE.encode()))
    due = Sync.objects.get(schedule_kind="daily").next_due_at
    assert due == datetime(2020, 1, 1, tzinfo=UTC), "a due time was skipped"


def test_a_calculated_cohort_is_due_from_then_on_and_may_name_one_that_comes_later(applied):
    carts = Cohort.objects.get(key="carts")
    assert carts.next_due_at is not None
    assert (carts.events_workspace, carts.refresh_before_sync) == ("shop", True)
    assert carts.definition["where"]["all"][1] == {"not": {"cohort": "former"}}
    assert [change.what for change in applied][4:7] == ["cohort former", "cohort carts", "cohort vips"]


def test_a_definition_that_its_source_no_longer_has_is_not_exported(applied):
    Cohort.objects.filter(key="former").update(source_kind="upload")
    former = [cohort for cohort in export()["cohorts"] if cohort["key"] == "former"]
    assert former == [{"key": "former", "name": "Former customers", "source": {"kind": "upload"}}]


def test_applying_again_changes_nothing(applied):
    assert {change.action for change in apply(load(FILE.encode()))} == {"none"}


def test_an_export_applied_to_an_empty_database_exports_the_same(applied):
    before = export()
    text = dump(before)
    Sync.objects.all().delete()
    Cohort.objects.all().delete()
    Destination.objects.all().delete()
    apply(load(text.encode()))
    assert export() == before
    assert "s3cret" not in text
    assert "credential_env: ACME_KEY" in text  # a name, which is no secret


def test_an_export_is_as_short_as_a_person_would_write_it(applied):
    destination = export()["destinations"][0]
    assert destination == {
        "name": "acme",
        "preset": "amplitude-list",
        "base_url": "https://partner.example/api",
        "batch_size": 500,
        "auth": {"mode": "key", "credential_env": "ACME_KEY"},
    }
    daily = {"kind": "daily", "at": "09:05", "timezone": "Europe/Berlin"}
    assert {"cohort": "buyers", "destination": "acme", "schedule": daily} in export()["syncs"]


def test_a_field_that_the_file_no_longer_names_has_its_default_again(applied):
    document = load(FILE.encode())
    del document["destinations"][0]["batch_size"]
    change = apply(document)[0]
    assert (change.action, change.fields) == ("update", {"batch_size": (500, 1000)})
    assert Destination.objects.get(name="acme").batch_size == 1000


def test_a_dry_run_tells_the_difference_and_changes_nothing(applied):
    change = apply(changed("cohorts.0.name", "Buyers"), dry_run=True)[2]
    assert change.fields == {"name": ("Recent buyers", "Buyers")}
    assert list(change.lines()) == ["~ cohort buyers", "    name: Recent buyers → Buyers"]
    assert Cohort.objects.get(key="buyers").name == "Recent buyers"


def test_what_the_file_does_not_name_stays(applied):
    assert apply({"cohorts": [{"key": "other", "name": "Other"}]})[0].action == "create"
    assert (Destination.objects.count(), Cohort.objects.count(), Sync.objects.count()) == (2, 6, 3)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "destinations.0.bach_size",
            1,
            "destinations[0]: there is no key 'bach_size'; did you mean 'batch_size'?",
        ),
        ("destinations.0.batch_size", 0, "destinations[0].batch_size: Ensure this value is greater than"),
        ("destinations.0.batch_size", "1000", "destinations[0].batch_size: must be a whole number."),
        ("destinations.0.batch_size", True, "destinations[0].batch_size: must be a whole number."),
        ("destinations.0.batch_size", 1.5, "destinations[0].batch_size: must be a whole number."),
        ("destinations.0.batch_size", None, "destinations[0].batch_size: must not be empty."),
        ("destinations.0.base_url", "file:///etc/passwd", "destinations[0].base_url: The address must begin"),
        ("destinations.0.base_url", "https://u:p@x.example", "destinations[0].base_url: Leave user name"),
        ("destinations.0.base_url", ["x"], "destinations[0].base_url: must be text"),
        (
            "destinations.0.preset",
            "amplitude",
            "destinations[0].preset: there is no 'amplitude'; did you mean",
        ),
        (
            "destinations.0.auth.mode",
            "keys",
            "destinations[0].auth.mode: there is no 'keys'; did you mean 'key'?",
        ),
        ("destinations.0.auth", "key", "destinations[0].auth: must be a mapping of mode"),
        ("destinations.0.auth.credential", "x", "destinations[0].auth.credential: a secret does not belong"),
        ("destinations.0.credential", "x", "destinations[0].credential: a secret does not belong"),
        (
            "destinations.0.auth.credential_env",
            "NOT_SET",
            "destinations[0].auth.credential_env: the environment",
        ),
        ("destinations.0.auth.credential_env", 5, "destinations[0].auth.credential_env: the environment"),
        ("destinations.1.item_template", {"u": "$user"}, "destinations[1].item_template: "),
        ("destinations.1.name", "acme", "destinations[1]: acme stands there twice, see destinations[0]."),
        ("destinations.1.name", "a b", "destinations[1].name: Enter a valid"),
        ("destinations.1.name", None, "destinations[1].name: "),
        ("cohorts.0.name", 5, "cohorts[0].name: must be text: put it in quotes."),
        ("cohorts.0.hold_if_emptied", "yes", "cohorts[0].hold_if_emptied: must be true or false."),
        (
            "cohorts.0.source.kind",
            "uplaod",
            "cohorts[0].source.kind: there is no 'uplaod'; did you mean 'upload'?",
        ),
        (
            "cohorts.0.source.definition",
            {},
            "cohorts[0].source.definition: is for a source of kind behavioral",
        ),
        ("cohorts.2.source.definition.wher", {}, "cohorts[2].source.definition: /wher: unknown key"),
        ("cohorts.2.source.definition", None, "cohorts[2].source.definition: "),
        (
            "cohorts.2.source.definition.where",
            {"cohort": "none"},
            "cohorts[2].source.definition: There is no",
        ),
        (
            "cohorts.3.source.definition.where",
            {"cohort": "carts"},
            "cohorts[2].source.definition: There is no",
        ),
        ("cohorts.4.source.sql", "DROP TABLE users", "cohorts[4].source.sql: "),
        ("cohorts.4.source.database", "nowhere", "cohorts[4].source.sql: "),
        ("cohorts.2.schedule.kind", "daily", "cohorts[2].schedule.at: Say at what time"),
        ("cohorts.0.guard_percent", 101, "cohorts[0].guard_percent: Ensure"),
        ("syncs.0.schedule.at", "25:00", "syncs[0].schedule.at: must be a time of the day"),
        ("syncs.0.schedule.at", None, "syncs[0].schedule.at: Say at what time"),
        ("syncs.0.schedule.timezone", "Mars", "syncs[0].schedule.timezone: There is no time zone 'Mars'"),
        (
            "syncs.0.schedule.kind",
            "daly",
            "syncs[0].schedule.kind: there is no 'daly'; did you mean 'daily'?",
        ),
        ("syncs.1.schedule.cron", "* *", "syncs[1].schedule.cron: A cron expression has five fields."),
        ("syncs.2.schedule.once_at", "tomorrow", "syncs[2].schedule.once_at: must be a date and a time"),
        (
            "syncs.2.schedule.once_at",
            "2026-02-30T00:00",
            "syncs[2].schedule.once_at: must be a date and a time",
        ),
        ("syncs.0.cohort", "byers", "syncs[0].cohort: there is no cohort 'byers'."),
        ("syncs.0", "x", "syncs[0]: must be a mapping"),
        ("syncs", {}, "syncs: must be a list."),
        ("sync", [], "The file: there is no key 'sync'; did you mean 'syncs'?"),
    ],
)
def test_a_mistake_is_reported_with_its_path_and_nothing_is_changed(path, value, said):
    found = errors(changed(path, value))
    assert [line for line in found if line.startswith(said)], found
    assert not Destination.objects.exists()
    assert not Cohort.objects.exists()


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_a_file_that_is_no_mapping_is_refused(document):
    assert errors(document) == [
        "The file: must be a mapping of destinations, cohorts, syncs, alert_channels, event_names."
    ]


def test_all_mistakes_are_reported_at_once_and_no_sync_is_blamed_for_its_cohort():
    document = changed("cohorts.0.name", "")
    document["destinations"][0]["threads"] = 99
    found = errors(document)
    assert [line.split(":")[0] for line in found] == ["destinations[0].threads", "cohorts[0].name"]


def test_a_changed_secret_is_reported_without_itself(applied, monkeypatch):
    monkeypatch.setenv("ACME_KEY", "another")
    change = apply(load(FILE.encode()))[0]
    assert (change.action, change.notes) == ("update", ["credential: changed"])
    assert Destination.objects.get(name="acme").credential.reveal() == "another"


def test_without_a_variable_the_stored_secret_stays(applied):
    document = load(FILE.encode())
    del document["destinations"][0]["auth"]["credential_env"]
    assert apply(document)[0].action == "none"
    assert Destination.objects.get(name="acme").credential.reveal() == "s3cret"


def test_a_destination_that_came_without_its_secret_is_paused_until_it_is_given():
    document = load(FILE.encode())
    del document["destinations"][0]["auth"]["credential_env"]
    assert apply(document)[0].notes == ["paused: it has no credential yet (auth.credential_env)"]
    assert Destination.objects.get(name="acme").pause_reason == applying.NO_CREDENTIAL
    assert apply(load(FILE.encode()))[0].notes == ["credential: set", "resumed: it has a credential now"]
    assert not Destination.objects.get(name="acme").is_paused


def hold_users(sync: Sync) -> None:
    """Make the sync one whose partner holds users."""
    Sync.objects.filter(pk=sync.pk).update(
        settled_version=3, list_id="7", fingerprint=sync.destination.fingerprint, external_name="x"
    )


def test_moving_a_destination_asks_first(applied):
    sync = Sync.objects.get(schedule_kind="daily")
    hold_users(sync)
    found = errors(changed("destinations.0.base_url", "https://elsewhere.example"))
    assert found[0].startswith("destinations[0]: the address, the kind, a path or the account changes, and")
    assert "buyers:acme" in found[0]
    assert Destination.objects.get(name="acme").base_url == "https://partner.example/api"


def test_a_destination_that_moves_lets_its_syncs_begin_anew(applied):
    sync = Sync.objects.get(schedule_kind="daily")
    hold_users(sync)
    Cohort.objects.filter(key="buyers").update(version=3, last_number=3)
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    Rejection.objects.create(
        sync=sync,
        user_id="u",
        kind="rejected",
        wanted=True,
        code="c",
        message="m",
        run=run,
        last_at=run.created_at,
    )
    change = apply(changed("destinations.0.base_url", "https://elsewhere.example"), reset_moved=True)[0]
    assert change.notes == ["buyers:acme begins anew, with a full run"]
    sync.refresh_from_db()
    assert (sync.settled_version, sync.list_id, sync.fingerprint) == (0, None, "")
    assert not Rejection.objects.exists()
    assert Run.objects.get().state == RunState.CANCELLED


def test_a_run_under_way_forbids_the_move(applied):
    sync = Sync.objects.get(schedule_kind="daily")
    hold_users(sync)
    Cohort.objects.filter(key="buyers").update(version=3, last_number=3)
    Run.objects.start(lifecycle.start(sync, trigger=Trigger.COMMAND).pk)
    found = errors(changed("destinations.0.base_url", "https://elsewhere.example"), reset_moved=True)
    assert "under way" in found[0]


def test_a_change_that_moves_nothing_needs_no_reset(applied):
    hold_users(Sync.objects.get(schedule_kind="daily"))
    assert apply(changed("destinations.0.threads", 2))[0].fields == {"threads": (4, 2)}


def test_an_archived_sync_that_the_file_names_is_taken_up_again(applied):
    sync = Sync.objects.get(schedule_kind="daily")
    hold_users(sync)
    lifecycle.archive(sync, by="somebody", empty_first=False)
    assert len(export()["syncs"]) == 2
    change = apply(load(FILE.encode()))[7]
    sync.refresh_from_db()
    assert "taken up again: it was archived" in change.notes
    assert (sync.archived_at, sync.enabled, sync.settled_version) == (None, True, 3)
    assert sync.next_due_at is not None


def test_a_refresh_under_way_is_not_undone(applied):
    """Applying saves the fields of the file alone: a claim or a new version written meanwhile stays."""
    stale = Cohort.objects.get(key="buyers")
    Cohort.objects.filter(pk=stale.pk).update(version=5, last_number=5)
    apply(changed("cohorts.0.name", "Buyers"))
    assert Cohort.objects.get(key="buyers").version == 5


def test_the_commands_print_files_differences_and_errors(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(FILE)
    out = io.StringIO()
    call_command("apply_config", str(file), stdout=out)
    assert "+ destination acme" in out.getvalue()
    assert "credential: set" in out.getvalue()
    assert out.getvalue().endswith("10 created, 0 changed, 0 left as they were.\n")
    exported = io.StringIO()
    call_command("export_config", stdout=exported)
    file.write_text(exported.getvalue())
    out = io.StringIO()
    call_command("apply_config", str(file), "--dry-run", stdout=out)
    assert out.getvalue().endswith("0 would be created, 0 would be changed, 10 left as they were.\n")


def test_the_commands_speak_json_which_is_a_file_too(tmp_path):
    apply(load(FILE.encode()))
    out = io.StringIO()
    call_command("export_config", "--json", stdout=out)
    file = tmp_path / "config.json"
    file.write_text(out.getvalue())
    out = io.StringIO()
    call_command("apply_config", str(file), "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert {change["action"] for change in said["changes"]} == {"none"}


def test_a_bad_file_exits_1_and_an_unreadable_one_2(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("cohorts: [{key: a}]")
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"Nothing was changed.\ncohorts\[0\].name") as refused:
        call_command("apply_config", str(file), "--json", stdout=out)
    assert refused.value.returncode == 1
    assert json.loads(out.getvalue())["errors"] == ["cohorts[0].name: This field cannot be blank."]
    with pytest.raises(CommandError, match="cannot be read") as refused:
        call_command("apply_config", str(tmp_path / "none.yaml"))
    assert refused.value.returncode == 2


def test_named_secrets_come_from_the_environment_and_their_names_are_exported(applied, monkeypatch):
    monkeypatch.setenv("SIGNING_KEY", "s1gning-key")
    document = changed("destinations.0.secrets", {"signing": "SIGNING_KEY"})
    assert apply(document)[0].notes == ["secrets: signing set"]
    row = Destination.objects.get(name="acme")
    assert row.endpoint().secrets == {"signing": "s1gning-key"}
    assert export()["destinations"][0]["secrets"] == {"signing": "SIGNING_KEY"}
    assert [change.action for change in apply(document)][0] == "none"
    assert "s1gning" not in dump(export())
    assert errors(changed("destinations.0.secrets", {"signing": "NOT_THERE"})) == [
        "destinations[0].secrets: the environment variable NOT_THERE is not set."
    ]


def test_a_file_does_not_send_a_stored_secret_to_another_host(applied):
    document = changed("destinations.0.base_url", "https://elsewhere.example")
    document["destinations"][0]["auth"].pop("credential_env")
    found = errors(document, reset_moved=True)
    assert any("name the secret's environment variable again" in error for error in found)
    assert Destination.objects.get(name="acme").base_url == "https://partner.example/api"


def test_a_corrected_destination_that_is_still_paused_says_how_to_resume_it(applied):
    Destination.objects.pause(Destination.objects.get(name="acme").pk, "Something is set up wrong.")
    change = apply(changed("destinations.0.batch_size", 7))[0]
    assert change.notes == [
        "still paused: Something is set up wrong. To let it send: manage.py resume_destination acme"
    ]
    assert apply(changed("destinations.0.batch_size", 7))[0].action == "none"


def test_basic_needs_no_user_name_in_the_file(monkeypatch):
    monkeypatch.setenv("ACME_KEY", "user:password-1")
    auth = {"mode": "basic", "credential_env": "ACME_KEY"}
    apply(
        {
            "destinations": [
                {"name": "acme", "preset": "amplitude-list", "base_url": "https://a.example", "auth": auth}
            ]
        }
    )
    made = Destination.objects.get(name="acme")
    assert made.endpoint().auth() == ("Authorization", "Basic dXNlcjpwYXNzd29yZC0x") and not made.is_paused


# --- alert channels -----------------------------------------------------------------------------


def test_a_file_names_the_variable_that_holds_the_secret(monkeypatch):
    world.destination("https://partner.example", name="acme")
    item = {
        "name": "team", "kind": "slack", "least": "error", "destinations": ["acme"],
        "quiet_from": "22:00", "quiet_to": "07:00", "timezone": "Europe/Berlin", "remind_hours": 4,
        "auth": {"credential_env": "TEAM_SLACK"},
    }  # fmt: skip
    with pytest.raises(InvalidConfig, match="TEAM_SLACK is not set"):
        apply({"alert_channels": [item]})
    monkeypatch.setenv("TEAM_SLACK", "https://hooks.slack.com/services/T0/s3cret")
    assert [change.action for change in apply({"alert_channels": [item]})] == ["create"]
    made = AlertChannel.objects.get()
    assert (made.quiet_from, made.credential.reveal()[-6:]) == (time(22), "s3cret")
    assert export()["alert_channels"] == [item]
    assert [change.action for change in apply({"alert_channels": [item]})] == ["none"]
    monkeypatch.setenv("TEAM_SLACK", "https://hooks.slack.com/services/T0/another")
    [change] = apply({"alert_channels": [item]})
    assert change.notes == ["credential: changed"]
    with pytest.raises(InvalidConfig, match="give it again"):
        apply({"alert_channels": [{"name": "team", "kind": "webhook", "address": "https://evil.example"}]})


def test_a_file_without_the_secret_makes_one_that_is_switched_off():
    [change] = apply({"alert_channels": [{"name": "pager", "kind": "pagerduty"}]})
    assert change.notes == ["switched off: it has no credential yet (auth.credential_env)"]
    assert not AlertChannel.objects.get().enabled


def names_file(*rules: str) -> Any:
    return load(
        ("event_names:\n" + "".join(f"  - {{workspace: default, {rule}}}\n" for rule in rules)).encode()
    )


def test_what_names_mean_goes_from_site_to_site_in_any_order():
    decide("default", NameKind.EVENT, "song_play", "anna", renamed_to="play")
    decide("shop", NameKind.USER_PROPERTY, "plan", "anna", hidden=True, forbidden="Wrong since May.")
    document = export()["event_names"]
    assert document == [
        {"workspace": "default", "kind": "event", "name": "song_play", "renamed_to": "play"},
        {
            "workspace": "shop",
            "kind": "user_property",
            "name": "plan",
            "hidden": True,
            "forbidden": "Wrong since May.",
        },
    ]
    NameRule.objects.all().delete()
    assert [change.action for change in apply({"event_names": document})] == ["create", "create"]
    assert export()["event_names"] == document
    assert [change.action for change in apply({"event_names": document})] == ["none", "none"]
    assert "configuration file" in Correction.objects.order_by("pk").last().by
    # Another name, and an older one led to it: each of the two alone would be refused.
    moved = [
        "kind: event, name: play, renamed_to: listen",
        "kind: event, name: song_play, renamed_to: listen",
    ]
    for rules in (moved, ["kind: event, name: play", "kind: event, name: song_play, renamed_to: play"]):
        apply(names_file(*rules))
        apply(names_file(*reversed(rules)))
    assert dict(NameRule.objects.filter(kind="event").values_list("name", "renamed_to")) == {
        "song_play": "play"
    }


def test_a_file_takes_back_what_was_decided_and_says_nothing_of_what_is_not():
    decide("default", NameKind.EVENT, "song_play", "anna", renamed_to="play")
    [taken, never] = apply(names_file("kind: event, name: song_play", "kind: event, name: other"))
    assert list(taken.lines()) == ["~ rule of a name default:event:song_play", '    renamed_to: play → ""']
    assert never.action == "none" and not NameRule.objects.exists()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["kind: event, name: a, renamed_to: b", "kind: event, name: b, renamed_to: c"], "called “c” now"),
        (["kind: event, name: '*', hidden: true"], "stands for any event"),
        (["kind: event, name: a, renamed_to: a"], "is its name already"),
        (["kind: page, name: a"], "there is no 'page'"),
        (["name: a"], "kind: is missing"),
        (["kind: event, name: a"] * 2, "stands there twice"),
    ],
)
def test_names_that_do_not_go_together_are_refused_whole(rules, said):
    with pytest.raises(InvalidConfig, match=re.escape(said)):
        apply(names_file("kind: event, name: ok, hidden: true", *rules))
    assert not NameRule.objects.exists() and not Correction.objects.exists()


def test_a_cohort_that_names_what_is_not_to_be_used_goes_on_in_another_site():
    where = {"performed": {"event": "play"}}
    Cohort.objects.create(
        key="c", name="C", source_kind="behavioral", definition={"version": 1, "where": where}
    )
    decide("default", NameKind.EVENT, "play", "anna", forbidden="Sent twice.")
    document = export()
    Cohort.objects.all().delete()
    NameRule.objects.all().delete()
    apply(document)
    apply(document)
    assert export() == document
