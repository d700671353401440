"""Many callers at the same time: no deadlock, no double effect, exact limits."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests

from receiving.tests.conftest import Partner, Site, start, stop


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(0…number-1)` in as many threads, let loose together; return what they returned."""
    results: list[Any] = [None] * number
    barrier = threading.Barrier(number)

    def run(index: int) -> None:
        barrier.wait(30)
        results[index] = work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def deadlocks(partner: Partner) -> int:
    from django.db import connections

    connection = connections["served"]
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_four_threads_with_the_same_ids_shuffled(gunicorn_site: Site):
    partner = gunicorn_site.partner()
    number = partner.make_list()
    ids = [f"user-{n}" for n in range(1000)]

    def work(index: int) -> list[int]:
        mine = ids[:]
        chance = random.Random(index)
        statuses = []
        for round_ in range(12):
            chance.shuffle(mine)
            operation = ("add", "remove")[(index + round_) % 2]
            statuses.append(partner.post(f"/lists/{number}/{operation}", {"userIds": mine}).status_code)
        return statuses

    before = deadlocks(partner)
    statuses = Counter(status for part in at_once(4, work) for status in part)
    assert statuses == {200: 48}
    assert deadlocks(partner) == before
    assert partner.post(f"/lists/{number}/add", {"userIds": ids}).status_code == 200
    assert partner.members(number) == sorted(ids)


def test_four_threads_with_the_same_identifies_shuffled(gunicorn_site: Site):
    partner = gunicorn_site.partner()
    users = [f"user-{n}" for n in range(500)]

    def work(index: int) -> list[int]:
        mine = users[:]
        chance = random.Random(index)
        statuses = []
        for round_ in range(8):
            chance.shuffle(mine)
            items = [
                {
                    "type": "identify",
                    "userId": user,
                    "traits": {f"t{n}": bool((index + round_ + n) % 2) for n in (1, 2)},
                }
                for user in mine
            ]
            statuses.append(partner.post("/batch", {"batch": items}).status_code)
        return statuses

    before = deadlocks(partner)
    assert Counter(status for part in at_once(4, work) for status in part) == {200: 32}
    assert deadlocks(partner) == before


def test_a_list_deleted_under_adds_leaves_nobody_behind(gunicorn_site: Site):
    from receiving.models import ListMember

    partner = gunicorn_site.partner()
    for _ in range(5):
        number = partner.make_list()

        def work(index: int, number: int = number) -> int:
            if index == 0:
                return partner.call("DELETE", f"/lists/{number}").status_code
            ids = [f"{index}-{n}" for n in range(300)]
            return partner.post(f"/lists/{number}/add", {"userIds": ids}).status_code

        statuses = at_once(5, work)
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {200, 404}
        assert partner.get("/users?userId=1-1").status_code == 404
    left = ListMember.objects.using("served").filter(user_id="1-1", set_id__gt=0)
    assert not left.exists()


def test_fifty_repeats_of_one_message_have_one_effect(gunicorn_site: Site):
    partner = gunicorn_site.partner()
    item = {"type": "identify", "userId": "u", "traits": {"t": True}, "messageId": "m1"}
    replies = at_once(50, lambda index: partner.post("/batch", {"batch": [item]}))
    assert Counter(reply.status_code for reply in replies) == {200: 50}
    assert sum(reply.json()["identified"] for reply in replies) == 1
    made = at_once(
        10,
        lambda index: partner.post("/lists", {"name": "n"}, headers={"Idempotency-Key": "k"}).json()[
            "listId"
        ],
    )
    assert len(set(made)) == 1


@pytest.mark.slow
def test_a_limit_is_exact_with_four_processes(served_database: dict[str, str], gunicorn_site: Site):
    """4 processes with 4 threads, 200 calls at once with one key: 100 are let in."""
    process, url = start("gunicorn", {**served_database, "WEB_CONCURRENCY": "4"})
    try:
        partner = gunicorn_site.partner(rate_limit=100, rate_window_seconds=600)
        partner.url = url

        def work(index: int) -> list[requests.Response]:
            return [partner.get("/lists") for _ in range(10)]

        replies = [reply for part in at_once(20, work) for reply in part]
    finally:
        stop(process)
    assert Counter(reply.status_code for reply in replies) == {200: 100, 429: 100}
    remaining = sorted(int(reply.headers["RateLimit-Remaining"]) for reply in replies if reply.ok)
    assert remaining == list(range(100))
    refused = next(reply for reply in replies if not reply.ok)
    assert 1 <= int(refused.headers["Retry-After"]) <= 600
    assert refused.json()["error"]["code"] == "rate_limited"


def test_a_limit_is_per_key_and_ends_with_its_window(site: Site):
    partner = site.partner(rate_limit=2, rate_window_seconds=1)
    other = site.another_key(partner.workspace)
    assert [partner.get("/lists").status_code for _ in range(3)] == [200, 200, 429]
    mine, partner.key = partner.key, other
    reply = partner.get("/lists")
    assert (reply.status_code, reply.headers["RateLimit-Limit"], reply.headers["RateLimit-Remaining"]) == (
        200, "2", "1",
    )  # fmt: skip
    partner.key = mine
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if partner.get("/lists").status_code == 200:
            return
    pytest.fail("the window did not end")
