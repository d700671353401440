"""Who should be in the demo's cohorts: counted from the files in plain Python, without the engine."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

PURCHASES = Path(__file__).with_name("cdnow_transactions.csv.gz")
CLICKS = Path(__file__).with_name("ecom_events.csv.gz")


def bought_recently(as_of: date, purchases: Path = PURCHASES) -> list[str]:
    """Return the customers who bought in the 90 days that end with `as_of`, sorted."""
    first = _first_day(as_of, 90)
    return sorted({row["customer_id"] for row in _rows(purchases) if first <= row["date"] <= str(as_of)})


def lapsed_regulars(as_of: date, purchases: Path = PURCHASES) -> list[str]:
    """Return who had bought three times or more, but not in the 180 days that end with `as_of`, sorted."""
    days: dict[str, list[str]] = defaultdict(list)
    for row in _rows(purchases):
        if row["date"] <= str(as_of):
            days[row["customer_id"]].append(row["date"])
    first = _first_day(as_of, 180)
    return sorted(user for user, bought in days.items() if len(bought) >= 3 and max(bought) < first)


def left_a_cart(as_of: date, clicks: Path = CLICKS) -> list[str]:
    """Return who added to a cart on a mobile and purchased nothing within 7 days, which are over, sorted."""
    end = datetime.combine(as_of + timedelta(days=1), datetime.min.time())
    added: dict[str, list[datetime]] = defaultdict(list)
    bought: dict[str, list[datetime]] = defaultdict(list)
    for row in _rows(clicks):
        time = datetime.fromisoformat(row["timestamp"])
        if row["event"] == "add_to_cart" and row["platform"] == "mobile" and time + timedelta(days=7) <= end:
            added[row["user_id"]].append(time)
        elif row["event"] == "purchase":
            bought[row["user_id"]].append(time)
    return sorted(
        user
        for user, times in added.items()
        if any(not any(t < sale < t + timedelta(days=7) for sale in bought[user]) for t in times)
    )


def _first_day(last: date, days: int) -> str:
    return str(last - timedelta(days=days - 1))


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)
