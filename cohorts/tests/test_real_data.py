"""Cohorts of every shape over the demo's data: all engines and the oracle have the same members."""

# ruff: noqa: E501  (a definition a line reads best)

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings

from cohorts.definitions import parse
from cohorts.tests import engines, oracle
from cohorts.tests.oracle import Event, World
from events.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.once]

DEMO = settings.BASE_DIR / "demo"


def performed(event: Any, recent: str | None = None, **more: Any) -> dict[str, Any]:
    window = {"window": {"last": recent}} if recent else {}
    return {"performed": {"event": event, **window, **more}}


def equals(name: str, value: Any) -> list[dict[str, Any]]:
    return [{"property": name, "=": value}]


# The ten cohorts of the mission, with the events that a shop has.
SHOP = {
    "often, with a property": performed("product_view", "30d", where=equals("platform", "mobile"), count={">=": 3}),
    "did and never did": {"all": [performed("promo_page", "90d"), {"not": performed("purchase")}]},
    "left a cart": {
        "all": [
            performed("add_to_cart", "7d", where=[{"property": "acquisition_channel", "in": ["email", "social"]}]),
            {"not": performed("purchase", "7d")},
        ]
    },
    "on different days": performed("product_view", "30d", days={">=": 5}),
    "for the first time": performed("wishlist_add", first={"last": "14d"}),
    "and then not": {
        "sequence": {
            "steps": [{"event": "add_to_cart"}, {"event": "purchase", "absent": True}],
            "within": "72h",
            "window": {"last": "90d"},
        }
    },
    "everything at once": {
        "all": [
            {"any": [performed("product_view", "30d", count={">=": 10}), performed("search", "30d", count={">=": 2})]},
            {"not": performed("support_chat", "90d")},
            performed("*", "90d", distinct={"property": "session_id", ">=": 3}),
            performed(["error_page", "payment_error"], "90d", count={"<=": 2}, or_never=True),
        ]
    },
    "any event": performed("*", "30d"),
    "lapsed": {
        "all": [
            {"performed": {"event": "*", "window": {"between_ago": ["90d", "30d"]}}},
            {"not": performed("*", "30d")},
        ]
    },
    "a funnel, and not in another cohort": {
        "all": [
            {"user": {"property": "lifecycle", "!=": "new"}},
            {
                "sequence": {
                    "steps": [
                        {"event": "add_to_cart"},
                        {"event": "shipping_details"},
                        {"event": "purchase", "where": equals("platform", "desktop")},
                    ],
                    "within": "7d",
                    "window": {"from": "2024-06-01", "to": "2024-06-30"},
                }
            },
            {"not": {"cohort": "staff"}},
        ]
    },
    "did not do anything": {"not": performed("*", "30d")},
    "then, without something between": {
        "sequence": {
            "steps": [{"event": "catalog"}, {"event": "search", "absent": True}, {"event": "purchase"}],
            "within": "12h",
        }
    },
}  # fmt: skip
CDNOW = {
    "bought in 90 days": performed("purchase", "90d"),
    "three times but not lately": {
        "all": [performed("purchase", count={">=": 3}), {"not": performed("purchase", "180d")}]
    },
    "spent": performed("purchase", sum={"property": "dollar_value", "between": [99.99, 200]}),
    "on average": performed("purchase", avg={"property": "dollar_value", ">": 30.5}),
    "largest": performed("purchase", max={"property": "number_of_cds", ">=": 10}),
    "exactly one day": performed("purchase", days={"=": 1}),
    "last time long ago": performed("purchase", last={"between_ago": ["52w", "30w"]}),
    "twice within a month": {
        "sequence": {"steps": [{"event": "purchase"}, {"event": "purchase"}], "within": "30d"}
    },
    "once and never again in a year": {
        "sequence": {"steps": [{"event": "purchase"}, {"event": "purchase", "absent": True}], "within": "52w"}
    },
    "came back, then left": {
        "sequence": {
            "steps": [{"event": "purchase"}, {"event": "purchase"}, {"event": "purchase", "absent": True}],
            "within": "26w",
        }
    },
    "cheap, more than once": performed(
        "purchase", where=[{"property": "dollar_value", "<": 12}], count={">": 1}, window={"from": "1998-01-01"}
    ),
}  # fmt: skip


class Data(NamedTuple):
    world: World
    as_of: datetime
    layout: Layout


def rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DEMO / name, "rt", newline="") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Data:
    events, users = [], {}
    for row in rows("ecom_events.csv.gz"):
        user, event = row.pop("user_id"), row.pop("event")
        time = datetime.fromisoformat(row.pop("timestamp")).replace(tzinfo=UTC)
        events.append(Event(user, event, time, dict(row)))
        users[user] = {"lifecycle": row["user_lifecycle"]}
    staff = {user for user in users if user.endswith("7")}
    world = World(events, users, {"vip": set(), "staff": staff})
    return Data(world, datetime(2024, 6, 30, tzinfo=UTC), layout_of(world, tmp_path_factory.mktemp("shop")))


@pytest.fixture(scope="module")
def cdnow(tmp_path_factory: pytest.TempPathFactory) -> Data:
    events = []
    for row in rows("cdnow_transactions.csv.gz"):
        time = datetime.fromisoformat(row["date"]).replace(tzinfo=UTC)
        bought = {"number_of_cds": int(row["number_of_cds"]), "dollar_value": float(row["dollar_value"])}
        events.append(Event(row["customer_id"], "purchase", time, bought))
    world = World(events, None, {"vip": set(), "staff": set()})
    return Data(world, datetime(1998, 7, 1, tzinfo=UTC), layout_of(world, tmp_path_factory.mktemp("cdnow")))


def layout_of(world: World, folder: Path) -> Layout:
    names = {name for event in world.events for name in event.properties}
    return engines.duckdb_layout(world, folder, {name: i for i, name in enumerate(sorted(names))})


def agree(
    data: Data,
    cohorts: dict[str, dict[str, Any]],
    timezone: str,
    servers: list[engines.PostgreSQLEngine | engines.ClickHouseEngine],
) -> dict[str, int]:
    for server in servers:
        server.fill(data.world)
    sizes = {}
    for name, where in cohorts.items():
        definition = {"version": 1, "timezone": timezone, "where": where}
        expected = sorted(oracle.members(definition, data.as_of, data.world))
        parsed = parse(definition)
        assert engines.duckdb_members(parsed, data.world, data.layout, data.as_of) == expected, name
        for server in servers:
            found = server.members(parsed, data.as_of, engines.tables(data.world))
            assert found == expected, (name, type(server).__name__)
        sizes[name] = len(expected)
    return sizes


def test_the_shops_cohorts_agree(
    shop: Data, postgresql: engines.PostgreSQLEngine, clickhouse: engines.ClickHouseEngine
) -> None:
    sizes = agree(shop, SHOP, "America/New_York", [postgresql, clickhouse])
    assert all(0 < size < 600 for size in sizes.values()), sizes


def test_the_music_buyers_cohorts_agree(
    cdnow: Data, postgresql: engines.PostgreSQLEngine, clickhouse: engines.ClickHouseEngine
) -> None:
    sizes = agree(cdnow, CDNOW, "UTC", [postgresql, clickhouse])
    assert all(0 < size < 23_570 for size in sizes.values()), sizes
