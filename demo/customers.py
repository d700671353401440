"""Who is in the demo's cohort, from the purchases in the file."""

import csv
import gzip
from datetime import date, timedelta
from pathlib import Path

PURCHASES = Path(__file__).with_name("cdnow_transactions.csv.gz")
DAYS = 90


def bought_recently(as_of: date, purchases: Path = PURCHASES) -> list[str]:
    """Return the customers who bought in the 90 days that end with `as_of`, sorted."""
    first = (as_of - timedelta(days=DAYS - 1)).isoformat()
    with gzip.open(purchases, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return sorted({row["customer_id"] for row in rows if first <= row["date"] <= as_of.isoformat()})
