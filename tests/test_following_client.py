"""The client that docs/rest-api.md prints stays equal to its cohort: its very text, over the REST API.

The quick form plays a few random histories with kills and prunings; `FOLLOWED=200` is the long one.
"""

import os
import random
import re
import sqlite3
import types
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from cohorts import changes, members, prune, refresh
from cohorts.models import Cohort, CohortVersion
from cohortsite import tokens
from tests import world
from tests.test_docs import DOCS

pytestmark = pytest.mark.django_db
HISTORIES = int(os.environ.get("FOLLOWED", "3"))
USERS = ["a", "B", "é", "e\u0301", "two words", "\U00010000", "\uffff", *map(str, range(40))]


class Killed(Exception):
    """The client died here."""


class Site:
    """What the client takes for the module `requests`: calls reach the site, and some kill the client."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.kills, self.calls, self.statuses = chance, 0.0, 0, set[int]()
        self.client = APIClient(raise_request_exception=False)

    def die(self) -> None:
        if self.chance.random() < self.kills:
            raise Killed

    def get(self, url, params, headers, timeout):
        self.die()
        reply = self.client.get(url, params, HTTP_AUTHORIZATION=headers["Authorization"])
        self.calls += 1
        self.statuses.add(reply.status_code)
        self.die()

        def raise_for_status():
            assert reply.status_code == 200, reply.content

        return types.SimpleNamespace(
            status_code=reply.status_code, json=reply.json, raise_for_status=raise_for_status
        )


def follower(site: Site, path: Path):
    """Return the function of the documentation, and what its file holds."""
    (text,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (DOCS / "rest-api.md").read_text(), re.DOTALL)
        if "def follow(" in block
    )
    assert len(text.splitlines()) < 45
    namespace: dict = {}
    exec(text.replace("import requests\n", ""), namespace)
    namespace["requests"] = site
    user = User.objects.create_user(f"puller-{path.name}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_cohort"))
    token = tokens.create(user, "puller")[1]

    def follow():
        return namespace["follow"]("/api/v1/cohorts/buyers", token, str(path))

    def held():
        kept = sqlite3.connect(path)
        try:
            return {user for (user,) in kept.execute("SELECT user_id FROM member")}
        finally:
            kept.close()

    return follow, held


def move(cohort: Cohort, chance: random.Random) -> None:
    everyone = sorted(set(USERS))
    what = chance.random()
    if what < 0.5:
        some = sorted(chance.sample(everyone, chance.randint(1, 6)))
        refresh.amend(cohort.pk, add=some[::2], remove=some[1::2], source="s")
    elif what < 0.8:
        refresh.replace(cohort.pk, sorted(chance.sample(everyone, chance.randint(5, 30))), source="s")
    else:
        cohort.refresh_from_db()
        prune.prune(cohort.pk, floor=chance.randint(0, cohort.version), before=timezone.now())


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_the_documented_client_stays_equal(seed: int, tmp_path: Path, monkeypatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(changes, "PAGE", 3)
    cohort = world.cohort(["a"], key="buyers", hold_if_emptied=False, hold_if_halved=False)
    site = Site(chance)
    follow, held = follower(site, tmp_path / "held.sqlite3")
    for _ in range(12):
        for _ in range(chance.randint(0, 3)):
            move(cohort, chance)
        site.kills = chance.choice([0.0, 0.1, 0.3])
        try:
            follow()
        except Killed:
            continue
    site.kills = 0.0
    follow()  # goes on with the version at whose pages it died
    assert follow() == Cohort.objects.get().version
    cohort.refresh_from_db()
    assert held() == set(members.in_version(cohort.pk, cohort.version))
    assert site.calls >= 12 and site.statuses <= {200, 410}


def test_what_was_pruned_is_gone_and_the_client_takes_the_whole(tmp_path: Path) -> None:
    cohort = world.cohort(["a", "b"], key="buyers", hold_if_halved=False)
    site = Site(random.Random(0))
    follow, held = follower(site, tmp_path / "held.sqlite3")
    assert follow() == 1
    refresh.replace(cohort.pk, ["b", "c"], source="s")
    refresh.replace(cohort.pk, ["c", "d"], source="s")
    prune.prune(cohort.pk, floor=3, before=timezone.now())
    assert follow() == 3
    assert 410 in site.statuses
    assert held() == {"c", "d"}


def test_a_restored_database_that_gave_a_number_twice_is_noticed(tmp_path: Path) -> None:
    cohort = world.cohort(["a", "b"], key="buyers", hold_if_halved=False)
    follow, held = follower(Site(random.Random(0)), tmp_path / "held.sqlite3")
    assert follow() == 1
    kept = sqlite3.connect(tmp_path / "held.sqlite3")
    with kept:
        kept.execute("INSERT INTO member VALUES ('of another past')")
    kept.close()
    refresh.amend(cohort.pk, add=["c"], remove=[], source="s")
    with pytest.raises(RuntimeError, match="begins with all members"):
        follow()
    assert follow() == 2
    assert held() == {"a", "b", "c"}
    assert CohortVersion.objects.filter(digest="").count() == 0
