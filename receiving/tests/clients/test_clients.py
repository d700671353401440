"""The vendors' clients, unmodified, against the site as it is deployed: nothing is lost or doubled.

Each sends sixty users into a trait and ten of them out again, and events; the site may answer late, with
429 or by a reset before or after the call took effect. Then the traits read back, the behavioral cohort over
the same traits, and the events must be what was sent. CLIENT_SEEDS=20 is the long form.

Amplitude's clients leave some calls unanswered, or report them as failed, when connections are reset: with
resets it is tried of them that what they report as delivered is here, once, and nothing that was not sent.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from receiving.tests.conftest import Partner, Site, manage

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("CLIENT_SEEDS", "1"))
USERS, LEAVERS, EVENTS = 60, 10, 100
CLIENTS = [
    "node segment",
    "node rudderstack",
    "node amplitude",
    "node amplitude-batch",
    "python segment",
    "python rudderstack",
    "python amplitude",
    "python amplitude-batch",
]
MEMBERS = {f"user-{n}" for n in range(USERS) if n % (USERS // LEAVERS)}
# What an operator would do, in one process for all workspaces: compact, calculate, count.
LOOK = """
import json
from cohorts.calculate import calculate
from cohorts.members import in_version
from cohorts.models import Cohort
from events.compact import compact
from events.store import read_layout
import duckdb
found = {}
for workspace in %r:
    compact(workspace)
    one = Cohort.objects.create(
        key=workspace, name=workspace, source_kind="behavioral", events_workspace=workspace,
        definition={"version": 1, "where": {"user": {"property": "vip", "=": True}}})
    version = calculate(one).number
    with duckdb.connect() as connection:
        paths = [str(path) for path in read_layout(workspace).events]
        rows = connection.read_parquet(paths, union_by_name=True)
        events = rows.project("user_id, event, COLUMNS('^n[0-9]+_n$')").fetchall()
    found[workspace] = {"members": list(in_version(one.pk, version)), "events": events}
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the vendors' packages, as the lock has them; in CI it is a failure to lack them."""
    folder = HERE / "node_modules"
    if not (folder / ".package-lock.json").exists():
        reason = "Node is not installed, or `npm ci` failed: the vendors' clients were NOT tried."
        npm = shutil.which("npm")
        command = [npm or "", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        if npm is None or subprocess.run(command, cwd=HERE, timeout=240).returncode:
            if os.environ.get("CI", "") not in ("", "false", "0"):
                pytest.fail(reason)
            pytest.skip(reason)
    return folder


def send(client: str, partner: Partner, gives_up: bool = False) -> tuple[str, list[int]]:
    """Run a client to its end; return its complaint, and which events were delivered by its own word."""
    language, name = client.split()
    program = ["node", "send.mjs"] if language == "node" else [sys.executable, "send.py"]
    numbers = map(str, (USERS, LEAVERS, EVENTS))
    command = [*program, name, partner.url, partner.key, *numbers]
    environment = os.environ | ({"GIVES_UP": "1"} if gives_up else {})
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=280)
    if done.returncode:
        return f"{client}: {done.stdout[-500:]}{done.stderr[-1500:]}", []
    return "", json.loads(done.stdout.splitlines()[-1])


def faults(generator: random.Random, client: str) -> dict[str, Any]:
    """Return what a workspace is set to do. After a 429, Amplitude's client for Node waits half a minute."""
    waits_long = client.startswith("node amplitude")
    return {
        "fault_delay_ms": generator.randint(0, 30),
        "fault_429_percent": generator.randint(5, 20) if not waits_long else 3 * (SEEDS > 1),
        "fault_reset_percent": 0 if "amplitude" in client else generator.randint(5, 20),
    }


def all_send(
    site: Site, settings: dict[str, dict[str, Any]], gives_up: bool = False
) -> dict[str, tuple[Partner, list[int]]]:
    """Let the clients send at once, each to a workspace of its own that is set so."""
    partners = {client: site.partner(**values) for client, values in settings.items()}
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda client: send(client, partners[client], gives_up), partners))
    problems = [problem for problem, _ in done if problem]
    assert not problems, "\n".join(problems)
    for partner in partners.values():
        type(partner.workspace).objects.using("served").filter(pk=partner.workspace.pk).update(
            fault_delay_ms=0, fault_429_percent=0, fault_reset_percent=0, rate_limit=None
        )
    return {
        client: (partner, delivered)
        for (client, partner), (_, delivered) in zip(partners.items(), done, strict=True)
    }


def look(partners: dict[str, tuple[Partner, list[int]]], environment: dict[str, str]) -> Any:
    slugs = [partner.workspace.slug for partner, _ in partners.values()]
    return json.loads(manage(environment, "shell", "-v0", "-c", LOOK % slugs))


def check(partners: dict[str, tuple[Partner, list[int]]], environment: dict[str, str]) -> None:
    looked = look(partners, environment)
    digest = sum(int.from_bytes(hashlib.sha256(user.encode()).digest(), "big") for user in MEMBERS)
    events = sorted([f"user-{n % USERS}", "bought", float(n)] for n in range(EVENTS))
    for client, (partner, _) in partners.items():
        read = partner.get("/traits/digest", params={"name": "vip"}).json()
        found = looked[partner.workspace.slug]
        assert read == {"count": len(MEMBERS), "digest": f"{digest % 2**256:064x}"}, client
        assert set(found["members"]) == MEMBERS, client
        assert sorted(found["events"]) == events, client


@pytest.mark.slow
@pytest.mark.once
def test_clients_without_faults_bring_what_they_sent(
    gunicorn_site: Site, served_database: dict[str, str], node_modules: Path
) -> None:
    check(all_send(gunicorn_site, {client: {} for client in CLIENTS}), served_database)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_clients_whose_calls_fail_and_are_repeated_bring_what_they_sent(
    gunicorn_site: Site, served_database: dict[str, str], node_modules: Path, seed: int
) -> None:
    generator = random.Random(seed)
    settings = {client: faults(generator, client) for client in CLIENTS}
    check(all_send(gunicorn_site, settings), served_database)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_amplitudes_clients_report_as_delivered_is_here_once_though_connections_are_reset(
    gunicorn_site: Site, served_database: dict[str, str], node_modules: Path, seed: int
) -> None:
    generator = random.Random(seed)
    settings = {
        client: {"fault_reset_percent": generator.randint(5, 20)}
        for client in CLIENTS
        if "amplitude" in client
    }
    partners = all_send(gunicorn_site, settings, gives_up=True)
    looked = look(partners, served_database)
    for client, (partner, delivered) in partners.items():
        assert delivered, client
        found = [int(number) for _, _, number in looked[partner.workspace.slug]["events"]]
        assert len(found) == len(set(found)), client
        assert set(delivered) <= set(found) <= set(range(EVENTS)), client


@pytest.mark.slow
@pytest.mark.skipif(SEEDS == 1, reason="a rate limit makes clients wait: CLIENT_SEEDS=20 tries it")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_clients_above_the_rate_of_their_key_bring_what_they_sent(
    gunicorn_site: Site, served_database: dict[str, str], node_modules: Path, seed: int
) -> None:
    generator = random.Random(seed)
    settings = {
        client: {"rate_limit": generator.randint(8, 20), "rate_window_seconds": 2} for client in CLIENTS
    }
    check(all_send(gunicorn_site, settings), served_database)
