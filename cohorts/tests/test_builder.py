"""The builder's views, previews by the worker, the page that says why, charts, the right to a query."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from cohorts import calculate, previewing, refresh
from cohorts.charts import charts_of
from cohorts.choices import PreviewState, ScheduleKind, SourceKind
from cohorts.models import Cohort, Preview
from events import spool
from events.catalogue import last_event_at
from events.compact import compact

pytestmark = pytest.mark.django_db(transaction=True)

CARTED = {"performed": {"event": "cart", "window": {"last": "7d"}}}
BOUGHT = {"performed": {"event": "buy", "window": {"last": "7d"}}}
LEFT = {"version": 1, "where": {"all": [CARTED, {"not": BOUGHT}]}}


@pytest.fixture(autouse=True)
def _settings(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.HTTPS = settings.SECURE_SSL_REDIRECT = False
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.csv").write_text("user_id\nu1\nu2\n")
    settings.QUERY_DATABASES = {"shop": f"duckdb://{tmp_path}/shop"}


def did(user_id: str, event: str, hours_ago: float = 1, **properties: Any) -> None:
    time = (timezone.now() - timedelta(hours=hours_ago)).isoformat()
    spool.append("default", [{"user_id": user_id, "event": event, "time": time, "properties": properties}])
    compact("default")


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def editor() -> Client:
    return client_of("view_cohort", "add_cohort", "change_cohort", "change_cohortversion")


def post(client: Client, name: str, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(reverse(f"admin:cohorts_{name}"), text, content_type="application/json")


# --- checking and completing --------------------------------------------------------------------


def test_a_definition_is_read_back_as_a_sentence(editor: Client) -> None:
    said = post(editor, "check", LEFT).json()
    assert said["problems"] == []
    assert said["sentence"] == (
        'Users who performed "cart" in the last 7 days and did not perform "buy" in the last 7 days.'
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"version": 1, "where": {"preformed": {}}}, ["/where/preformed", "unknown condition"]),
        ({"version": 1, "where": {"cohort": "nobody"}}, ["/where", 'There is no cohort "nobody".']),
        ("{", ["", "This is not JSON"]),
        ("[" * 100_000, ["", ""]),
    ],
)
def test_problems_come_with_their_paths(editor: Client, body: Any, problem: list[str]) -> None:
    said = post(editor, "check", body).json()
    assert said["problems"][0][0] == problem[0]
    assert problem[1] in said["problems"][0][1]


def test_names_come_from_the_catalogue_and_the_cohorts(editor: Client) -> None:
    did("u1", "cart", price=5)
    Cohort.objects.create(key="vip", name="VIPs")
    said = editor.get(reverse("admin:cohorts_names")).json()
    assert (said["events"], said["cohorts"]) == ([["cart", "1 times"]], [["vip", "VIPs"]])
    said = editor.get(reverse("admin:cohorts_names"), {"event": "cart"}).json()
    assert said["properties"] == [["price", "number"]]
    assert editor.get(reverse("admin:cohorts_names"), {"workspace": "other"}).json()["events"] == []


def test_who_may_only_look_cannot_use_the_builder() -> None:
    viewer = client_of("view_cohort")
    assert post(viewer, "check", LEFT).status_code == 403
    for name in ("values", "definition", "names"):
        assert viewer.get(reverse(f"admin:cohorts_{name}")).status_code == 403
    assert post(viewer, "preview", {"source_kind": "behavioral", "definition": LEFT}).status_code == 403


# --- previews -----------------------------------------------------------------------------------


def test_a_worker_calculates_a_preview_and_its_page_shows_it(editor: Client) -> None:
    did("u1", "cart")
    did("u2", "cart")
    did("u2", "buy")
    url = post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT}).json()["url"]
    assert b"Waiting for the worker" in editor.get(url).content
    assert b"data-open" in editor.get(url).content
    [preview] = previewing.run_waiting()
    page = editor.get(url).content.decode()
    assert "data-open" not in page and "1 user<" in page and "<bdi>u1</bdi>" in page
    assert "Users who performed" in page and "READ_PARQUET" in page
    assert "u1" in editor.get(reverse("admin:cohorts_preview_page", args=[preview.pk])).content.decode()
    assert previewing.run_waiting() == []


def previewed(client: Client, definition: Any, as_of: str = "") -> str:
    body = {"source_kind": "behavioral", "definition": definition, "as_of": as_of}
    reply = post(client, "preview", body)
    assert reply.status_code == 201, reply.content
    assert len(previewing.run_waiting()) == 1
    return words_of(client.get(reply.json()["url"]))


def words_of(reply: Any) -> str:
    """What a page says, however its lines are broken."""
    return " ".join(reply.content.decode().split())


def test_a_preview_is_as_of_the_instant_that_is_asked_for(editor: Client, settings: Any) -> None:
    did("u1", "cart", hours_ago=24 * 30)
    at = (timezone.now() - timedelta(days=29)).strftime("%Y-%m-%dT%H:%M:%S")
    page = previewed(editor, LEFT, at)
    assert "1 user<" in page and "<bdi>u1</bdi>" in page and " as of then (" in page
    assert Preview.objects.get().as_of == datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert "All events lie before" not in page


def test_of_old_events_the_last_ones_time_is_offered(editor: Client) -> None:
    did("u1", "cart", hours_ago=24 * 30)
    last = did_last()
    page = previewed(editor, LEFT)
    assert "0 users<" in page and "All events lie before the longest window" in page
    [offered] = re.findall('data-as-of="([^"]+)"', page)
    assert last < datetime.fromisoformat(offered).replace(tzinfo=UTC) <= last + timedelta(seconds=1)
    assert "<bdi>u1</bdi>" in previewed(editor, LEFT, offered)


def did_last() -> datetime:
    found = last_event_at("default")
    assert found is not None
    return found


@pytest.mark.parametrize("window", [{"last": "31d"}, "all_time", {"from": "2020-01-01", "to": "2020-02-01"}])
def test_it_is_not_offered_where_it_would_not_help(editor: Client, window: Any) -> None:
    did("u1", "cart", hours_ago=24 * 30)
    other = {"performed": {"event": "x", "window": window}}
    page = previewed(editor, {"version": 1, "where": {"all": [CARTED, other]}})
    assert "0 users<" in page and "data-as-of" not in page


@pytest.mark.parametrize(
    "as_of", ["yesterday", "2024-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59", 7]
)
def test_an_instant_that_is_none_is_reported(editor: Client, as_of: Any) -> None:
    body = {"source_kind": "behavioral", "definition": LEFT, "as_of": as_of}
    reply = post(editor, "preview", body)
    assert (reply.status_code, "not a date and time" in reply.json()["error"]) == (400, True)


def test_a_preview_that_cannot_be_had_says_why(editor: Client) -> None:
    url = post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT}).json()["url"]
    previewing.run_waiting()
    assert b"No events have come in yet" in editor.get(url).content
    reply = post(editor, "preview", {"source_kind": "behavioral", "definition": {"version": 1}})
    assert (reply.status_code, "/where" in reply.json()["error"]) == (400, True)
    assert post(editor, "preview", {"source_kind": "upload"}).status_code == 400


def test_a_preview_has_a_time_limit(editor: Client, settings: Any) -> None:
    time = timezone.now() - timedelta(hours=1)
    rows = [
        {
            "user_id": f"u{n % 2}",
            "event": "t",
            "time": (time - timedelta(seconds=17 * n)).isoformat(),
            "properties": {},
        }
        for n in range(30_000)
    ]
    spool.append("default", rows)
    compact("default")
    settings.PREVIEW_SECONDS = 0.2
    steps = [{"event": "*"}, {"event": "*"}, {"event": "bye", "absent": True}]
    endless = {"version": 1, "where": {"sequence": {"steps": steps, "within": "2d"}}}
    post(editor, "preview", {"source_kind": "behavioral", "definition": endless})
    [preview] = previewing.run_waiting()
    preview.refresh_from_db()
    assert (preview.state, "longer than 0.2 seconds" in preview.error) == (PreviewState.FAILED, True)


def test_a_preview_whose_worker_died_is_taken_over_and_given_up_in_the_end(editor: Client) -> None:
    did("u1", "cart")
    post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT})
    preview = Preview.objects.get()
    assert Preview.objects.start(preview.pk) and not Preview.objects.start(preview.pk)
    assert previewing.run_waiting() == []
    Preview.objects.update(claim_until=datetime(2020, 1, 1, tzinfo=UTC))
    previewing.run_waiting()
    preview.refresh_from_db()
    assert (preview.state, preview.size, preview.attempts) == (PreviewState.DONE, 1, 2)
    Preview.objects.update(state=PreviewState.RUNNING, claim_until=datetime(2020, 1, 1, tzinfo=UTC))
    previewing.run_waiting()
    preview.refresh_from_db()
    assert (preview.state, "ended twice" in preview.error) == (PreviewState.FAILED, True)


def test_only_who_asked_sees_a_preview(editor: Client) -> None:
    url = post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT}).json()["url"]
    Preview.objects.update(created_by=User.objects.create_user("bob"))
    assert editor.get(url).status_code == 404


def counted(client: Client, definition: Any) -> Any:
    body = {"source_kind": "behavioral", "definition": definition, "live": True}
    reply = post(client, "preview", body)
    assert reply.status_code == 201, reply.content
    return client.get(reply.json()["url"])


def test_numbers_follow_while_one_types_and_only_the_last_is_counted(editor: Client) -> None:
    did("u1", "cart")
    did("u2", "cart")
    did("u2", "buy")
    first = post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT, "live": True}).json()[
        "url"
    ]
    kept = post(editor, "preview", {"source_kind": "behavioral", "definition": LEFT}).json()["url"]
    waiting = counted(editor, LEFT)
    assert waiting.json() | {"error": ""} == {
        "open": True, "waiting": True, "error": "", "size": 0, "everyone": 0, "conditions": {},
    }  # fmt: skip
    # The first was never counted; what was asked for with the button stays.
    assert editor.get(first).status_code == 404 and editor.get(kept).status_code == 200
    assert len(previewing.run_waiting()) == 2
    found = editor.get(reverse("admin:cohorts_preview_counts", args=[Preview.objects.latest("pk").pk])).json()
    assert (found["open"], found["size"], found["everyone"]) == (False, 1, 2)
    assert found["conditions"] == {"/where/all/0": 2, "/where/all/1": 1}


def test_what_cannot_be_counted_says_why(editor: Client) -> None:
    assert counted(editor, LEFT).json()["open"]
    previewing.run_waiting()
    found = editor.get(reverse("admin:cohorts_preview_counts", args=[Preview.objects.get().pk])).json()
    assert (found["open"], "No events have come in yet" in found["error"]) == (False, True)
    Preview.objects.update(created_by=User.objects.create_user("bob"))
    url = reverse("admin:cohorts_preview_counts", args=[Preview.objects.get().pk])
    assert editor.get(url).status_code == 404


def test_values_and_definitions_to_begin_with(editor: Client) -> None:
    did("u1", "cart", plan="pro")
    did("u2", "cart", plan="pro")
    url = reverse("admin:cohorts_values")
    found = editor.get(url, {"event": "cart", "property": "plan"}).json()
    assert found == {"values": [["pro", "2 times"]]}
    assert editor.get(url, {"event": "cart\0", "property": "\0"}).json() == {"values": []}
    Cohort.objects.create(key="left", name="Left", source_kind="behavioral", definition=LEFT)
    Cohort.objects.create(key="file", name="File")
    assert editor.get(reverse("admin:cohorts_names")).json()["defined"] == [["left", "Left"]]
    url = reverse("admin:cohorts_definition")
    assert editor.get(url, {"cohort": "left"}).json() == {"definition": LEFT}
    assert editor.get(url, {"cohort": "file"}).status_code == 404


# --- the form -----------------------------------------------------------------------------------


def form(**values: Any) -> dict[str, Any]:
    return {
        "name": "Carts", "key": "carts", "description": "", "source_kind": "behavioral",
        "events_workspace": "default", "definition": json.dumps(LEFT), "query_database": "", "query_sql": "",
        "schedule_kind": "manual", "timezone": "UTC", "hold_if_emptied": "on", **values,
    }  # fmt: skip


ADD = "/admin/cohorts/cohort/add/"


def test_a_behavioral_cohort_is_made_and_scheduled(editor: Client) -> None:
    reply = editor.post(ADD, form(schedule_kind="hourly"))
    assert reply.status_code == 302, reply.content.decode()
    made = Cohort.objects.get()
    assert (made.definition, made.source_kind) == (LEFT, SourceKind.BEHAVIORAL)
    assert made.next_due_at is not None


def test_a_wrong_definition_is_reported_and_what_was_typed_stays(editor: Client) -> None:
    page = editor.post(ADD, form(definition='{"version": 1, "where": {"preformed": {}}}')).content.decode()
    assert "unknown condition &quot;preformed&quot;" in page
    page = editor.post(ADD, form(definition="{oops")).content.decode()
    assert "Enter a valid JSON" in page and "{oops" in page
    assert editor.post(ADD, form(definition="[" * 100_000)).status_code == 200
    assert not Cohort.objects.exists()


def test_a_query_takes_a_right_of_its_own(editor: Client) -> None:
    query = {"source_kind": "query", "query_database": "shop", "query_sql": "SELECT user_id FROM orders"}
    assert "You may not set or change a query" in editor.post(ADD, form(**query)).content.decode()
    body = {"source_kind": "query", **query}
    assert post(editor, "preview", body).status_code == 403
    User.objects.get().user_permissions.add(Permission.objects.get(codename="use_query_source"))
    assert post(editor, "preview", body).status_code == 201
    [preview] = previewing.run_waiting()
    preview.refresh_from_db()
    assert (preview.state, preview.size, preview.sample) == (PreviewState.DONE, 2, ["u1", "u2"])
    assert editor.post(ADD, form(**query)).status_code == 302
    made = Cohort.objects.get()
    assert (made.query_sql, made.definition) == (query["query_sql"], None)


def test_who_lacks_the_right_can_still_rename_a_query(editor: Client) -> None:
    query = {"source_kind": "query", "query_database": "shop", "query_sql": "SELECT user_id FROM orders"}
    made = Cohort.objects.create(key="orders", name="Orders", **query)
    url = reverse("admin:cohorts_cohort_change", args=[made.pk])
    assert editor.post(url, form(name="New", **query)).status_code == 302
    changed = form(**{**query, "query_sql": "SELECT user_id FROM orders LIMIT 1"})
    assert "You may not set or change a query" in editor.post(url, changed).content.decode()
    made.refresh_from_db()
    assert (made.name, made.query_sql) == ("New", query["query_sql"])


def test_saving_the_form_leaves_what_a_refresh_wrote(editor: Client) -> None:
    made = Cohort.objects.create(key="c", name="C", source_kind="behavioral", definition=LEFT)
    refresh.replace(made.pk, ["u1"], source="a test")
    due = timezone.now() + timedelta(hours=1)
    Cohort.objects.update(schedule_kind=ScheduleKind.HOURLY, next_due_at=due)
    url = reverse("admin:cohorts_cohort_change", args=[made.pk])
    assert editor.post(url, form(name="New", schedule_kind="hourly")).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.version, made.size, made.next_due_at) == ("New", 1, 1, due)


def test_a_button_lets_the_worker_calculate_at_once(editor: Client) -> None:
    did("u1", "cart")
    made = Cohort.objects.create(key="c", name="C", source_kind="behavioral", definition=LEFT)
    editor.post(reverse("admin:cohorts_cohort_do", args=[made.pk, "calculate"]))
    calculate.calculate_due(timezone.now())
    made.refresh_from_db()
    assert (made.version, made.size, made.next_due_at) == (1, 1, None)


# --- why, and charts ----------------------------------------------------------------------------


def test_why_shows_each_condition_with_its_truth(editor: Client) -> None:
    did("u1", "cart")
    did("u2", "cart")
    did("u2", "buy")
    made = Cohort.objects.create(key="c", name="C", source_kind="behavioral", definition=LEFT)
    calculate.calculate(made)
    url = reverse("admin:cohorts_why", args=[made.pk])
    page = words_of(editor.get(url, {"user": "u1"}))
    assert "belongs to the cohort" in page and page.count("✓ true") == 3 and page.count("✗ false") == 1
    page = words_of(editor.get(url, {"user": "u2", "when": "now"}))
    assert "does not belong to the cohort" in page and "1 time, last on" in page
    assert "<script>" not in editor.get(url, {"user": "<script>"}).content.decode()
    assert editor.get(url, {"user": "x\0"}).status_code == 200


def test_why_says_when_late_events_have_changed_a_version(editor: Client) -> None:
    did("u1", "cart")
    made = Cohort.objects.create(key="c", name="C", source_kind="behavioral", definition=LEFT)
    calculate.calculate(made)
    did("u1", "buy")
    page = words_of(editor.get(reverse("admin:cohorts_why", args=[made.pk]), {"user": "u1"}))
    assert "Events that came in late have changed this" in page


def test_charts_show_sizes_and_moves_and_their_page_the_table(editor: Client) -> None:
    made = Cohort.objects.create(key="c", name="C", hold_if_emptied=False)
    assert charts_of(list(made.versions.all())) is None
    for ids in (["a", "b", "c", "d"], ["a", "b"], ["a", "b", "e"]):
        refresh.replace(made.pk, ids, source="a test")
    charts = charts_of(list(made.versions.order_by("-number")))
    assert charts is not None
    assert [dot.y for dot in charts.dots] == ["0.0", "60.0", "30.0"]
    assert [(bar.up, bar.down) for bar in charts.bars] == [("0.0", "60.0"), ("30.0", "0.0")]
    assert (charts.largest, charts.most_moved) == (4, 2)
    page = editor.get(reverse("admin:cohorts_cohort_overview", args=[made.pk])).content.decode()
    assert "<polyline" in page and "Version 3: 1 entered, 0 left" in page


def test_a_calculation_that_would_empty_a_cohort_of_old_events_is_asked_about(editor: Client) -> None:
    did("u1", "cart", hours_ago=24 * 900)
    definition = {"version": 1, "where": CARTED}
    made = Cohort.objects.create(key="c", name="C", source_kind="behavioral", definition=definition)
    url = reverse("admin:cohorts_cohort_do", args=[made.pk, "calculate"])
    change = reverse("admin:cohorts_cohort_overview", args=[made.pk])
    assert f'href="{url}"' in editor.get(change).content.decode(), "a page that asks, and no button"
    old = f"{did_last():%Y-%m-%d}"
    assert f"is of {old}, before all that" in words_of(editor.get(url))
    did("u2", "cart")
    assert f'action="{url}"' in editor.get(change).content.decode()


def test_a_copy_begins_with_all_that_the_other_cohort_is_but_its_name(editor: Client) -> None:
    made = Cohort.objects.create(
        key="carts", name="Carts", source_kind="behavioral", definition=LEFT, description="Who left",
        schedule_kind="daily", schedule_at="09:30", guard_percent=7, hold_if_emptied=False,
    )  # fmt: skip
    add = reverse("admin:cohorts_cohort_add")
    link = f"{add}?copy={made.pk}"
    assert (
        f'href="{link}"'
        in editor.get(reverse("admin:cohorts_cohort_overview", args=[made.pk])).content.decode()
    )
    form = editor.get(link).context["adminform"].form
    shown = {bound.name: bound.value() for bound in form}
    assert (shown["name"], shown["key"], shown["description"]) == ("Copy of Carts", "carts-copy", "Who left")
    assert json.loads(shown["definition"]) == LEFT
    assert (shown["schedule_kind"], str(shown["schedule_at"]), shown["guard_percent"]) == (
        "daily",
        "09:30:00",
        7,
    )
    assert shown["hold_if_emptied"] is False
    for wrong in ("99", "x", ""):
        assert editor.get(f"{add}?copy={wrong}").context["adminform"].form["name"].value() in (None, "")


def test_the_events_are_chosen_from_the_workspaces_that_have_some(editor: Client) -> None:
    def begun() -> Any:
        return editor.get(reverse("admin:cohorts_cohort_add"))

    assert begun().context["adminform"].form["events_workspace"].value() == "default"
    spool.append(
        "shop", [{"user_id": "u", "event": "cart", "time": timezone.now().isoformat(), "properties": {}}]
    )
    assert begun().context["adminform"].form["events_workspace"].value() == "shop"
    assert '<option value="shop"></option>' in begun().content.decode()
    did("u1", "cart")
    assert begun().context["adminform"].form["events_workspace"].value() == "default"
