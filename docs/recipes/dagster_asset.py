"""Cohort Sync in Dagster: an asset that is what a partner has.

    to_acme = synced_asset("acme_buyers", sync="buyers:acme", deps=["buyers"])
    defs = Definitions(
        assets=[to_acme],
        resources={"cohort_sync": Site(url="https://sync.example", token=EnvVar("COHORT_SYNC_TOKEN"))},
    )

Needs cohort_sync.py alongside.
"""

from collections.abc import Sequence
from typing import Any

from cohort_sync import CohortSync, Failed
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    ConfigurableResource,
    Failure,
    MaterializeResult,
    RetryPolicy,
    asset,
)

# What is kept with each materialization.
KEPT = ("id", "state", "to_version", "added", "removed", "rejected", "undelivered")


class Site(ConfigurableResource):  # type: ignore[type-arg]
    """The site, and a token of its REST API. `every`: seconds between two looks."""

    url: str
    token: str
    every: float = 10.0

    def open(self) -> CohortSync:
        return CohortSync(self.url, self.token, every=self.every)


def synced_asset(
    name: str,
    *,
    sync: str,
    mode: str = "changes",
    timeout: float = 3600.0,
    deps: Sequence[Any] = (),
    retries: RetryPolicy | None = RetryPolicy(max_retries=2, delay=60),  # noqa: B008
) -> AssetsDefinition:
    """Return an asset that a run of the sync materializes. What needs a person is not tried again."""

    @asset(name=name, deps=list(deps), retry_policy=retries, kinds={"cohort"})
    def synced(context: AssetExecutionContext, cohort_sync: Site) -> MaterializeResult:  # type: ignore[type-arg]
        try:
            run = cohort_sync.open().sync(sync, mode, timeout=timeout)
        except Failed as failed:
            raise Failure(str(failed), allow_retries=failed.again) from failed
        return MaterializeResult(metadata={key: run[key] for key in KEPT if run.get(key) is not None})

    return synced
