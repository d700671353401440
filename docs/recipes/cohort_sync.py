"""Start a sync or a calculation and wait for its end: what the recipes for orchestrators share.

Copy this file next to the one for your orchestrator. It needs `requests`, and a token of the REST API whose
user is an operator (`manage.py create_api_token USER --scope run`).

A retry does no harm: asked twice, the site returns the run that is open; and of "changes", the default, a
second run after one that succeeded sends only who moved since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests


class Failed(Exception):
    """It did not go well; the message says why. `again`: whether trying again may help."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class CohortSync:
    """A site. `url`: https://sync.example.

    `every`: seconds between two looks. `patience`: seconds for which a site that is away is asked again.
    """

    def __init__(self, url: str, token: str, *, every: float = 10.0, patience: float = 300.0) -> None:
        self.api = f"{url.rstrip('/')}/api/v1"
        self.every, self.patience = every, patience
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {token}"

    def sync(
        self,
        name: str,
        mode: str = "changes",
        *,
        timeout: float = 3600.0,
        report: Callable[[Mapping[str, Any]], None] = lambda run: None,
    ) -> dict[str, Any]:
        """Run a sync, and return the run when the partner has what it should have.

        `name`: the sync's number, or cohort-key:destination-name. `timeout`: in seconds. `report` is given
        the run each time it is asked about. "partial" is no failure: of the users that are counted as
        `rejected` or `undelivered`, the next run tries those again that can be.

        Raises Failed: `again` if the run failed or takes too long, and not if a person is needed.
        """
        run = self._ask("POST", f"/syncs/{quote(name, safe='')}/runs", json={"mode": mode})
        deadline = time.monotonic() + timeout
        while True:
            report(run)
            about = f"Run {run['id']} of {name}"
            if run["state"] == "held":
                raise Failed(f"{about} waits for a person: {run['reason']}", again=False)
            if not run["is_open"]:
                break
            if time.monotonic() > deadline:
                said = run.get("trouble") or run["reason"] or "it goes on"
                raise Failed(f"{about} is still {run['state']}: {said}", again=True)
            time.sleep(self.every)
            run = self._ask("GET", f"/runs/{run['id']}")
        if run["state"] not in ("succeeded", "partial"):
            raise Failed(f"{about} {run['state']}: {run['reason']}", again=run["state"] == "failed")
        return run

    def calculate(self, cohort: str, *, timeout: float = 3600.0) -> dict[str, Any]:
        """Calculate a cohort, and return the calculation when its version is published. Raises Failed."""
        path = f"/cohorts/{quote(cohort, safe='')}/calculation"
        found = self._ask("POST", path)
        asked, deadline = {"asked_at": found["asked_at"]}, time.monotonic() + timeout
        while found["is_open"]:
            if time.monotonic() > deadline:
                raise Failed(f"{cohort} is still {found['state']}.", again=True)
            time.sleep(self.every)
            found = self._ask("GET", path, params=asked)
        if found["state"] == "held":
            raise Failed(f"The new version of {cohort} waits for a person.", again=False)
        if found["state"] != "published":
            raise Failed(f"{cohort} was not calculated: {found['error']}", again=True)
        return found

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Call the API. Each of these calls may be repeated, so a site that is away is asked again."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                reply = self.session.request(method, self.api + path, timeout=30, **more)
            except requests.ConnectionError as error:
                said = f"{self.api} does not answer: {error}"
            except requests.Timeout:
                said = f"{self.api} does not answer within 30 seconds."
            else:
                if reply.ok:
                    found: dict[str, Any] = reply.json()
                    return found
                said = _reason(reply)
                if reply.status_code != 429 and reply.status_code < 500:
                    raise Failed(said, again=False)
            if time.monotonic() > deadline:
                raise Failed(said, again=True)
            time.sleep(self.every)


def _reason(reply: requests.Response) -> str:
    try:
        said = reply.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        said = reply.reason
    return f"{reply.request.method} {reply.url}: {reply.status_code}, {said}"
