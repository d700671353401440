"""Cohort Sync in Prefect: a task that runs a sync and waits for it.

    @flow
    def nightly():
        calculated = calculate_cohort("buyers")
        run_sync("buyers:acme", wait_for=[calculated])

The site's address is the variable `cohort_sync_url`, the token the secret block `cohort-sync-token`. Needs
cohort_sync.py alongside.
"""

from typing import Any

from cohort_sync import CohortSync, Failed
from prefect import get_run_logger, task
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import TaskRun
from prefect.states import State
from prefect.tasks import Task
from prefect.variables import Variable


def _may_help(task: "Task[Any, Any]", run: TaskRun, state: "State[Any]") -> bool:
    """Say whether to try again: not where a person is needed."""
    failed = state.result(raise_on_failure=False)
    return not isinstance(failed, Failed) or failed.again


def _site(every: float) -> CohortSync:
    return CohortSync(
        str(Variable.get("cohort_sync_url")), Secret.load("cohort-sync-token").get(), every=every
    )


@task(retries=2, retry_delay_seconds=60, retry_condition_fn=_may_help)
def run_sync(
    sync: str, mode: str = "changes", *, timeout: float = 3600.0, every: float = 10.0
) -> dict[str, Any]:
    """Run a sync, and return the run; Failed says why it did not go well."""
    log = get_run_logger()
    return _site(every).sync(
        sync, mode, timeout=timeout, report=lambda run: log.info("Run %s: %s", run["id"], run["state"])
    )


@task(retries=2, retry_delay_seconds=60, retry_condition_fn=_may_help)
def calculate_cohort(cohort: str, *, timeout: float = 3600.0, every: float = 10.0) -> dict[str, Any]:
    """Calculate a cohort, and return the calculation when its version is published."""
    return _site(every).calculate(cohort, timeout=timeout)
