"""The quick form of each chaos script: the same code as the long one, on fewer rounds.

The long forms are commands of their own, which print a line of figures: see each script's head.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from chaos.mutants import MUTANTS, mutated

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
DATABASE = "sqlite" if "sqlite" in settings.DATABASES["default"]["ENGINE"] else "postgres"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule.replace(" ", "-"))
def test_each_rule_that_a_mutant_takes_out_stands_where_it_looks(mutant):
    """The mutants themselves are played by `python -m chaos.mutants`."""
    code = (ROOT / mutant.file).read_text()
    assert mutated(code, mutant) != code


def play(script: str, *options: object, database: str = DATABASE) -> tuple[int, dict]:
    """Run a script in a process and return its exit code and figures."""
    environment = dict(os.environ)
    if database == "postgres" and "TEST_POSTGRES_URL" not in environment:
        environment["TEST_POSTGRES_URL"] = os.environ["DATABASE_URL"]
    command = [sys.executable, "-m", f"chaos.{script}", "--database", database, *map(str, options)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["list", "property"])
def test_a_driver_that_is_killed_is_recovered_from(kind):
    code, figures = play("kill", "--kills", 5, "--users", 5000, "--kind", kind, "--seed", 3)
    assert code == 0, figures
    assert figures["kills"] >= 5


@pytest.mark.once
def test_a_driver_that_records_before_it_sends_does_not_pass():
    code, figures = play("kill", "--kills", 6, "--users", 5000, "--variant", "record-first", "--seed", 3)
    assert code == 1
    assert figures["equal"] < figures["rounds"]


def test_a_partner_that_fails_three_calls_in_ten_ends_equal():
    code, figures = play("flaky", "--seeds", 2, "--users", 2000, "--seed", 1)
    assert code == 0, figures
    assert figures["failed_on_purpose"] > 20


def test_whom_a_partner_has_behind_our_back_is_found_exactly_and_put_right_by_the_difference():
    code, figures = play("reconcile", "--seeds", 1, "--users", 1500, "--seed", 1)
    assert code == 0, figures


@pytest.mark.parametrize("kind", ["list", "replacement"])
def test_a_relay_whose_processes_are_killed_ends_equal_and_never_with_half_a_replacement(kind):
    code, figures = play("relay", "--kills", 8, "--users", 400, "--kind", kind, "--seed", 1)
    assert code == 0, figures
    assert figures["rounds"] == figures["equal"] == 1


@pytest.mark.once
def test_a_follower_that_notes_what_it_has_read_before_it_reads_does_not_pass():
    options = ["--kills", 16, "--users", 40, "--kind", "replacement", "--within", 8, "--seed", 1]
    code, figures = play("relay", *options, "--variant", "mark-first")
    assert code == 1
    assert figures["equal"] < figures["rounds"]


def test_a_driver_that_was_frozen_past_its_lease_writes_nothing():
    code, figures = play("frozen", "--rounds", 2, "--users", 2000, "--seed", 1)
    assert code == 0, figures


def test_a_worker_that_is_asked_to_stop_leaves_nothing_half_done():
    code, figures = play("stop", "--rounds", 2, "--users", 5000, "--seed", 1, "--patience", 5)
    assert code == 0, figures


@pytest.mark.skipif(DATABASE == "sqlite", reason="SQLite has no connections that could be cut.")
def test_a_worker_whose_database_cuts_its_connections_goes_on():
    code, figures = play("outage", "--cuts", 5, "--users", 10_000, "--seed", 1)
    assert code == 0, figures


@pytest.mark.skipif(DATABASE != "sqlite", reason="Only SQLite has one writer.")
def test_nobody_meets_a_locked_database():
    code, figures = play("locks", "--seconds", 5)
    assert code == 0, figures


def test_partners_that_fail_do_not_hold_up_a_healthy_one():
    """The limit is wide, since it is one short round on a machine that does other things, too."""
    code, figures = play("neighbours", "--failing", 20, "--batches", 150, "--rounds", 1, "--most", 2.5)
    assert code == 0, figures


def test_events_survive_the_death_of_the_server_the_worker_and_the_power():
    code, figures = play("events", "--seconds", 6, "--rate", 200, "--kills", 3, "--seed", 1)
    assert code == 0, figures
    assert figures["killed"] == {"server": 1, "worker": 1, "power": 1}


@pytest.mark.once
@pytest.mark.parametrize(("variant", "kill"), [("reply-first", "power"), ("remove-first", "worker")])
def test_events_that_are_not_safe_when_they_are_said_to_be_are_missed(variant, kill):
    options = ["--seconds", 4, "--rate", 200, "--kills", 3, "--seed", 1]
    code, figures = play("events", *options, "--variant", variant, "--kill", kill)
    assert code == 1
    assert figures["lost"] > 0
