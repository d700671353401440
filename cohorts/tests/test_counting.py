"""How many pass each condition, and the values that a property has had."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from cohorts.counting import Counts, counts, leaves
from cohorts.suggesting import frequent_values
from events import spool
from events.compact import compact
from events.engine import EngineError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _events(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def did(*rows: tuple[str, str, dict[str, Any]]) -> None:
    time = (timezone.now() - timedelta(hours=1)).isoformat()
    spool.append("default", [{"user_id": u, "event": e, "time": time, "properties": p} for u, e, p in rows])
    compact("default")


def counted(where: dict[str, Any], **cohorts: list[str]) -> Counts:
    return counts({"version": 1, "where": where}, timezone.now(), cohorts=lambda key: cohorts[key])


CART, BUY = {"performed": {"event": "cart"}}, {"performed": {"event": "buy"}}


def test_each_condition_is_counted_by_itself_with_its_nots() -> None:
    did(*((f"u{n}", "cart", {}) for n in range(5)), ("u0", "buy", {}), ("u9", "buy", {}))
    never = {"performed": {"event": "buy", "count": {"<": 2}, "or_never": True}}
    found = counted({"all": [CART, {"not": {"any": [BUY, {"not": {"not": BUY}}]}}, {"not": CART}, never]})
    assert (found.everyone, found.size) == (6, 0)
    assert found.conditions == {
        "/where/all/0": 5,
        "/where/all/1/not/any/0": 2,
        "/where/all/1/not/any/1": 2,
        "/where/all/2": 1,
        "/where/all/3": 6,
    }


def test_a_definition_of_one_condition_is_counted_too() -> None:
    did(("u0", "cart", {}), ("u1", "buy", {}))
    assert counted(CART).conditions == {"/where": 1}


def test_members_of_a_cohort_that_is_named_are_known_people() -> None:
    did(("u0", "cart", {}))
    found = counted({"any": [CART, {"cohort": "vip"}]}, vip=["a", "b"])
    assert (found.everyone, found.size, found.conditions) == (3, 3, {"/where/any/0": 1, "/where/any/1": 2})


def test_without_events_it_is_said() -> None:
    with pytest.raises(EngineError, match="No events"):
        counted(CART)


def test_leaves_stand_where_the_json_has_them() -> None:
    where = {"all": [CART, {"not": {"any": [BUY, {"not": CART}]}}]}
    assert list(leaves(where, "/where")) == [
        ("/where/all/0", 0),
        ("/where/all/1/not/any/0", 0),
        ("/where/all/1/not/any/1", 1),
    ]


def test_frequent_values_come_first_with_how_often_they_came() -> None:
    rows = [
        (f"u{n}", "cart", {"plan": "pro" if n < 3 else "free", "price": n % 2, "long": "x" * 500})
        for n in range(5)
    ]
    did(*rows, ("u0", "buy", {"plan": "gold", "ok": True}))
    assert frequent_values("default", "cart", "plan") == [("pro", 3), ("free", 2)]
    assert frequent_values("default", "cart", "price") == [("0", 3), ("1", 2)]
    assert frequent_values("default", "*", "plan") == [("pro", 3), ("free", 2), ("gold", 1)]
    assert frequent_values("default", "buy", "ok") == [("true", 1)]
    assert frequent_values("default", "cart", "long") == []


def test_values_of_people_and_of_nothing() -> None:
    assert frequent_values("default", "cart", "plan") == frequent_values("default", "", "plan") == []
    time = timezone.now().isoformat()
    spool.append_traits(
        "default", [{"user_id": u, "time": time, "traits": {"city": "Oslo"}} for u in ("a", "b")]
    )
    compact("default")
    assert frequent_values("default", "", "city") == [("Oslo", 2)]
    assert frequent_values("default", "", "a" * 2000) == []
