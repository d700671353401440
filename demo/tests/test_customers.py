"""Who is in the demo's cohort."""

import gzip
from datetime import date

from demo.customers import bought_recently


def test_the_ninety_days_end_with_the_date_itself(tmp_path):
    file = tmp_path / "purchases.csv.gz"
    rows = ["before,1997-12-31", "first,1998-01-01", "last,1998-03-31", "after,1998-04-01", "last,1998-02-01"]
    file.write_bytes(gzip.compress("\n".join(["customer_id,date", *rows]).encode()))
    assert bought_recently(date(1998, 3, 31), file) == ["first", "last"]


def test_the_real_customers():
    """All 23,570 customers of the data set bought in its first quarter: that is how it was drawn."""
    first = bought_recently(date(1997, 3, 31))
    later = bought_recently(date(1998, 6, 30))
    assert (len(first), first[0]) == (23_570, "00001")
    assert 0 < len(later) < len(first) / 5
    assert set(later) < set(first)
