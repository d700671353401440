"""Who is in the demo's cohorts."""

import gzip
from datetime import date

from demo.customers import bought_recently, lapsed_regulars, left_a_cart


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


def test_regulars_have_lapsed_when_they_bought_thrice_but_not_lately(tmp_path):
    file = tmp_path / "purchases.csv.gz"
    thrice = {"gone": "1998-01-01", "edge": "1998-01-02", "later": "1998-07-01"}
    rows = [f"{user},{day}" for user, last in thrice.items() for day in ("1997-01-01", "1997-01-01", last)]
    file.write_bytes(gzip.compress("\n".join(["customer_id,date", "twice,1997-01-01", *rows]).encode()))
    assert lapsed_regulars(date(1998, 6, 30), file) == ["gone"]


def test_a_cart_is_left_when_seven_days_are_over_without_a_purchase(tmp_path):
    file = tmp_path / "clicks.csv.gz"
    rows = [
        "left,add_to_cart,2024-06-01 10:00:00,mobile",
        "left,purchase,2024-06-08 10:00:00,mobile",
        "bought,add_to_cart,2024-06-01 10:00:00,mobile",
        "bought,purchase,2024-06-08 09:59:59,desktop",
        "desk,add_to_cart,2024-06-01 10:00:00,desktop",
        "open,add_to_cart,2024-06-24 00:00:01,mobile",
    ]
    file.write_bytes(gzip.compress("\n".join(["user_id,event,timestamp,platform", *rows]).encode()))
    assert left_a_cart(date(2024, 6, 30), file) == ["left"]
