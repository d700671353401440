"""The recipes with the real libraries, each in an environment of its own that is made when it is needed.

    python -m pytest tests/real_orchestrators.py

Not a part of CI: Airflow, Dagster and Prefect are some hundred packages each.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import world
from tests.partner import Partner
from tests.real_partners import installed
from tests.test_recipes import FOLDER, driving, failing, token

__all__ = ["token"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("groups")]

AIRFLOW = """
from airflow.exceptions import AirflowException, AirflowFailException
from airflow_operator import CohortSyncOperator

try:
    said = CohortSyncOperator(task_id="t", sync=SYNC, every=0.2).execute({})
    print("DONE", said["state"], said["added"])
except AirflowFailException as error:
    print("FAILED for good", error)
except AirflowException as error:
    print("FAILED", error)
"""
DAGSTER = """
from dagster import materialize
from dagster_asset import Site, synced_asset

asset = synced_asset("acme_buyers", sync=SYNC, retries=None)
site = Site(url=URL, token=TOKEN, every=0.2)
done = materialize([asset], resources={"cohort_sync": site}, raise_on_error=False)
if done.success:
    kept = done.asset_materializations_for_node("acme_buyers")[0].metadata
    print("DONE", kept["state"].value, kept["added"].value)
else:
    failed = [event for event in done.all_events if event.is_step_failure][0].step_failure_data
    print("FAILED", failed.error.cause.message if failed.error.cause else failed.error.message)
"""
PREFECT = """
from prefect import flow
from prefect.blocks.system import Secret
from prefect.testing.utilities import prefect_test_harness
from prefect.variables import Variable
from prefect_task import run_sync

@flow
def nightly():
    return run_sync.with_options(retries=0)(SYNC, every=0.2)

with prefect_test_harness():
    Variable.set("cohort_sync_url", URL)
    Secret(value=TOKEN).save("cohort-sync-token")
    try:
        said = nightly()
        print("DONE", said["state"], said["added"])
    except Exception as error:
        print("FAILED", error)
"""
RECIPES = {
    "airflow": (["apache-airflow", "requests"], AIRFLOW),
    "dagster": (["dagster", "requests"], DAGSTER),
    "prefect": (["prefect", "requests"], PREFECT),
}


def orchestrate(name: str, tmp_path: Path, url: str, token: str, sync: str) -> str:
    """Run a recipe; return the line that it prints about what became of it."""
    packages, script = RECIPES[name]
    head = (
        f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nURL, TOKEN, SYNC = {url!r}, {token!r}, {sync!r}\n"
    )
    connection = json.dumps({"conn_type": "http", "host": url, "password": token})
    homes = {f"{one}_HOME": str(tmp_path) for one in ("AIRFLOW", "DAGSTER", "PREFECT")}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    done = subprocess.run(
        [installed(name, *packages) / "python", "-W", "ignore", "-c", head + script],
        env=kept | homes | {"AIRFLOW_CONN_COHORT_SYNC": connection},
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("DONE", "FAILED"))]
    assert lines, done.stdout[-2000:] + done.stderr[-4000:]
    return lines[-1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_a_sync_and_fails_with_the_reason(name, live_server, token, tmp_path):  # noqa: F811
    with Partner() as partner:
        sync = world.sync(world.cohort(["u1", "u2"]), world.destination(partner.url))
        with driving(sync):
            assert orchestrate(name, tmp_path, live_server.url, token, str(sync.pk)) == "DONE succeeded 2"
        refused = world.sync(world.cohort(["u1"]), world.destination(partner.url))
        with failing("There is no such account."):
            said = orchestrate(name, tmp_path, live_server.url, token, str(refused.pk))
    assert said.startswith("FAILED") and "no such account" in said
