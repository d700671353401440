"""A partner from which users are taken, and to which strangers are added, behind our back: found, put right?

    python -m chaos.reconcile --seeds 10 --users 100000
    python -m chaos.reconcile --seeds 1 --users 1000000

The partner is our own receiving side, a server of its own; what happens behind our back are its own calls.
`manage.py reconcile` is a process of its own each time, whose peak memory is printed.
"""

import csv
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import requests

from chaos import fixtures

CALL = 10_000
# Of this many users one is taken, and one stranger added, at most.
ONE_IN = 500


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], seeds=10, users=100_000, database=fixtures.DATABASES)
    with fixtures.prepared(options.database, HTTPS="false"):
        from demo import servers

        with socket.socket() as probe:
            probe.bind((servers.HOST, 0))
            port = probe.getsockname()[1]
        log = Path(os.environ["VAR_DIR"]) / "server.log"
        with servers.gunicorn(port, log):
            partner = filled(f"http://{servers.HOST}:{port}", options.users)
            rounds = []
            for seed in range(options.seed, options.seed + options.seeds):
                rounds.append(play(partner, random.Random(seed), options.users))
                fixtures.progress(f"{len(rounds)} of {options.seeds}")
    figures = {
        "found_exactly": sum(one.found for one in rounds),
        "put_right_by_the_difference": sum(one.repaired for one in rounds),
        "slowest_comparison_seconds": round(max(one.seconds for one in rounds), 1),
        "peak_mb": round(max(one.peak_mb for one in rounds)),
        "seconds_when_equal": round(max(one.equal_seconds for one in rounds), 1),
    }
    passed = figures["found_exactly"] == figures["put_right_by_the_difference"] == options.seeds
    fixtures.finish({**vars(options), **figures}, passed=passed)


class Partner(NamedTuple):
    url: str
    key: str
    list_id: str
    sync: str

    def call(self, what: str, ids: list[str]) -> None:
        for start in range(0, len(ids), CALL):
            page = ids[start : start + CALL]
            reply = requests.post(
                f"{self.url}/lists/{self.list_id}/{what}",
                json={"userIds": page},
                auth=(self.key, ""),
                timeout=120,
            )
            reply.raise_for_status()


class Round(NamedTuple):
    found: bool
    repaired: bool
    seconds: float
    peak_mb: float
    equal_seconds: float


def filled(url: str, users: int) -> Partner:
    """Send a cohort of so many users to the partner."""
    from cohortsite import roles
    from receiving.keys import create_key
    from receiving.models import Workspace
    from tests import world

    roles.grant()
    key = create_key(Workspace.objects.create(slug="partner"), name="chaos")[1]
    destination = world.destination(url, "cohort-sync", credential=key, batch_size=CALL)
    cohort = world.cohort(world.users(users), hold_if_halved=False, hold_if_emptied=False)
    sync = world.sync(cohort, destination)
    run = world.run(sync)
    assert run.added == users, run.reason
    sync.refresh_from_db()
    return Partner(url, key, sync.list_id or "", str(sync))


def play(partner: Partner, chance: random.Random, users: int) -> Round:
    from tests import world

    most = max(2, users // ONE_IN)
    taken = set(chance.sample(world.users(users), chance.randint(1, most)))
    added = {f"{chance.choice('aut~ü')}{number}" for number in range(chance.randint(1, most))}
    partner.call("remove", sorted(taken))
    partner.call("add", sorted(added))
    file = Path(os.environ["VAR_DIR"]) / "differences.csv"
    code, _, seconds, peak_mb = reconcile(partner, "--csv", str(file))
    with file.open(newline="") as rows:
        said = [(row[0].removeprefix("'"), row[1]) for row in csv.reader(rows)][1:]
    found = code == 3 and set(said) == {(u, "Missing") for u in taken} | {(u, "Stranger") for u in added}
    code, report, _, _ = reconcile(partner, "--repair", "--remove-strangers")
    run = report["runs"][0] if report["runs"] else {}
    exact = (run.get("added"), run.get("removed")) == (len(taken), len(added))
    equal, report, equal_seconds, _ = reconcile(partner)
    repaired = exact and code == equal == 0 and not report["missing"] + report["strangers"]
    return Round(found, repaired, seconds, peak_mb, equal_seconds)


def reconcile(partner: Partner, *words: str) -> tuple[int, dict, float, float]:
    """Return the exit code, the report, seconds, and the peak memory in MB."""
    command = [sys.executable, "manage.py", "reconcile", partner.sync, "--json", *words]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, json.loads(said), time.monotonic() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
