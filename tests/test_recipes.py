"""What the recipes for orchestrators share, on the real API: start, wait, fail with the reason, retry."""

import sys
import threading
from importlib import util
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from cohorts import calculate
from cohorts.models import Cohort
from cohortsite import tokens
from cohortsite.models import Scope
from events import arrivals, spool
from syncs.choices import RunState
from syncs.models import Run
from tests import world
from tests.brokers import free_port
from tests.partner import Partner

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("groups")]
FOLDER = Path(__file__).parent.parent / "docs/recipes"


def load(name):
    spec = util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


recipe = load("cohort_sync")
Failed = recipe.Failed


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


@pytest.fixture
def token():
    user = User.objects.create_user("airflow", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    return tokens.create(user, "a test", scope=Scope.RUN)[1]


@pytest.fixture
def site(live_server, token):
    client = recipe.CohortSync(live_server.url, token, every=0.02, patience=0.2)
    yield client
    client.session.close()


@pytest.fixture
def sync(partner):
    return world.sync(world.cohort(["u1", "u2"]), world.destination(partner.url))


class Work:
    """Does in a thread, again and again, what a worker does."""

    def __init__(self, what):
        self.what, self.over = what, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()

    def _run(self):
        try:
            while not self.over.wait(0.05):
                self.what()
        finally:
            connection.close()


def driving(sync):
    return Work(lambda: Run.objects.filter(finished_at=None).exists() and world.go(sync.destination))


def test_a_sync_is_run_and_waited_for(site, sync, partner):
    seen = []
    with driving(sync):
        run = site.sync(
            f"{sync.cohort.key}:{sync.destination.name}", report=lambda run: seen.append(run["state"])
        )
    assert (run["state"], run["added"], run["rejected"]) == ("succeeded", 2, 0)
    assert seen[0] == "pending" and seen[-1] == "succeeded"
    assert sorted(partner.sent("add")) == ["u1", "u2"]


def test_a_retry_waits_for_the_same_run(site, sync):
    with pytest.raises(Failed, match="is still pending") as failed:
        site.sync(str(sync.pk), timeout=0.1)
    assert failed.value.again
    with driving(sync):
        assert site.sync(str(sync.pk))["id"] == Run.objects.get().pk


def test_a_retry_after_the_run_has_ended_sends_nobody_twice(site, sync, partner):
    for _ in range(2):
        with driving(sync):
            site.sync(str(sync.pk))
    assert sorted(partner.sent("add")) == ["u1", "u2"]


def failing(reason):
    ended = {"state": RunState.FAILED, "reason": reason, "finished_at": timezone.now()}
    return Work(lambda: Run.objects.filter(finished_at=None).update(**ended))


def test_a_run_that_fails_says_why(site, sync):
    with failing("There is no such account."), pytest.raises(Failed, match="no such account") as failed:
        site.sync(str(sync.pk))
    assert failed.value.again


def test_a_run_that_waits_for_a_person_is_not_tried_again(site, sync):
    held = {"state": RunState.HELD, "reason": "It would remove 2 users."}
    with Work(lambda: Run.objects.update(**held)), pytest.raises(Failed) as failed:
        site.sync(str(sync.pk))
    assert str(failed.value).endswith("waits for a person: It would remove 2 users.")
    assert not failed.value.again


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [("no-such:sync", "changes", "404"), ("1", "sideways", "400"), ("carts:acme", "changes", "409")],
)
def test_what_cannot_be_run_says_so_and_is_not_tried_again(site, sync, partner, name, mode, said):
    if name == "carts:acme":
        world.sync(world.cohort(key="carts"), world.destination(partner.url, name="acme"))
    with pytest.raises(Failed, match=said) as failed:
        site.sync(name.replace("1", str(sync.pk)), mode)
    assert not failed.value.again
    assert not Run.objects.exists()


def test_a_wrong_token_says_so(live_server, sync):
    site = recipe.CohortSync(live_server.url, "cst_wrong", every=0.02)
    with pytest.raises(Failed, match="401") as failed:
        site.sync(str(sync.pk))
    assert not failed.value.again
    site.session.close()


def test_a_site_that_is_away_is_asked_again_and_then_given_up(token):
    site = recipe.CohortSync(f"http://127.0.0.1:{free_port()}", token, every=0.02, patience=0.1)
    with pytest.raises(Failed, match="does not answer") as failed:
        site.sync("1")
    assert failed.value.again
    site.session.close()


def test_a_cohort_is_calculated_and_waited_for(site, settings, tmp_path):
    settings.EVENTS_DIR = tmp_path
    definition = {"version": 1, "where": {"performed": {"event": "cart", "window": {"last": "7d"}}}}
    cohort = Cohort.objects.create(key="carts", name="Carts", source_kind="behavioral", definition=definition)

    def work():
        arrivals.take_in_all()
        calculate.calculate_due(timezone.now())

    with Work(work), pytest.raises(Failed, match="carts was not calculated") as failed:
        site.calculate("carts")
    assert failed.value.again
    time = timezone.now().isoformat()
    spool.append("default", [{"user_id": "u1", "event": "cart", "time": time, "properties": {}}])
    with Work(work):
        assert site.calculate("carts")["version"] is not None
    cohort.refresh_from_db()
    assert cohort.size == 1


@pytest.mark.parametrize("name", ["airflow_operator", "dagster_asset", "prefect_task"])
def test_each_recipe_is_python_and_leaves_the_rest_to_what_they_share(name):
    text = (FOLDER / f"{name}.py").read_text()
    compile(text, name, "exec")
    assert "import CohortSync, Failed" in text and "requests" not in text
