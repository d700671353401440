"""Cohort Sync in Airflow: an operator that runs a sync and waits for it.

    calculated = CohortSyncOperator(task_id="buyers", cohort="buyers")
    calculated >> CohortSyncOperator(task_id="to_acme", sync="buyers:acme")  # cohort-key:destination-name

The connection `cohort_sync` (or another, by `conn_id`) has the site's address as host, https://sync.example,
and the token as password. Needs cohort_sync.py alongside, in the folder of DAGs or plugins.
"""

from typing import Any

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import BaseHook, BaseOperator
from cohort_sync import CohortSync, Failed


class CohortSyncOperator(BaseOperator):
    """Run a sync, or calculate a cohort; what became of it is the task's result (XCom).

    What trying again may mend fails the try, and Airflow's `retries` say how often; what needs a person fails
    the task at once.
    """

    template_fields = ("sync", "cohort", "mode")

    def __init__(
        self,
        *,
        sync: str = "",
        cohort: str = "",
        mode: str = "changes",
        timeout: float = 3600.0,
        every: float = 10.0,
        conn_id: str = "cohort_sync",
        **more: Any,
    ) -> None:
        super().__init__(**more)
        if bool(sync) == bool(cohort):
            raise ValueError("Name a sync or a cohort.")
        self.sync, self.cohort, self.mode = sync, cohort, mode
        self.timeout, self.every, self.conn_id = timeout, every, conn_id

    def execute(self, context: Any) -> dict[str, Any]:
        connection = BaseHook.get_connection(self.conn_id)
        site = CohortSync(connection.host, connection.password, every=self.every)
        try:
            if self.cohort:
                return site.calculate(self.cohort, timeout=self.timeout)
            return site.sync(self.sync, self.mode, timeout=self.timeout, report=self._report)
        except Failed as failed:
            raise (AirflowException if failed.again else AirflowFailException)(str(failed)) from failed

    def _report(self, run: Any) -> None:
        self.log.info(
            "Run %s: %s, %s added, %s removed", run["id"], run["state"], run["added"], run["removed"]
        )
