"""`python -m demo` as a process of its own, on a database of its own, over real HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import requests
from django.db import connection

from demo import servers
from demo.customers import bought_recently

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((servers.HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path, transactional_db):
    """Settings for a start: the database of this test on PostgreSQL, a new file on SQLite."""
    url = f"sqlite:///{tmp_path}/demo.sqlite3"
    if connection.vendor == "postgresql":
        its = connection.settings_dict
        user = f"{its['USER']}:{its['PASSWORD']}" if its["PASSWORD"] else its["USER"]
        url = f"postgres://{user}@{its['HOST']}:{its['PORT']}/{its['NAME']}"
    return {**os.environ, "VAR_DIR": str(tmp_path / "var"), "DATABASE_URL": url, "RETRY_TIME_SCALE": "1"}


def once(environment: dict[str, str], port: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--once", "--port", str(port)],
        cwd=servers.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def manage(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=servers.ROOT, env=environment, check=True, capture_output=True, timeout=60)


def test_partners_are_equal_from_start_to_start_and_one_that_lost_a_user_is_reported(
    environment,
):
    port = free_port()
    code, said = once(environment, port)
    assert code == 0, said
    assert said.count("everybody") == 5
    assert said.count("only who moved") == 3
    assert said.count(" yes ") == 6 + 8 + 1, "six cohorts, eight runs, an erasure"
    assert "person-007 is forgotten: removed by batch 1, 200;" in said
    assert "Both sides are equal." in said

    code, said = once(environment, port)
    assert code == 0, said
    assert "Nobody has moved since the last start: nothing had to be sent." in said

    lost = bought_recently(date(1998, 6, 30))[0]
    forget = f"from receiving.models import ListMember as M; M.objects.filter(user_id={lost!r}).delete()"
    manage(environment, "shell", "-v", "0", "-c", forget)
    code, said = once(environment, port)
    assert code == 1, said
    assert "NO 1 missing, 0 too many" in said
    assert "The two sides differ." in said

    code, said = once(environment, free_port())
    assert code == 0, said
    assert said.count("everybody") == 5, "an address that has changed is a partner that holds nothing"
    assert "Both sides are equal." in said


@pytest.mark.once
def test_it_serves_until_it_is_stopped_and_then_leaves_nothing_behind(environment, tmp_path):
    port = free_port()
    out = tmp_path / "out"
    with out.open("wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "demo", "--port", str(port)],
            cwd=servers.ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: "Ctrl-C stops" in out.read_text() or started.poll() is not None, seconds=120)
        assert started.poll() is None, out.read_text()
        children = children_of(started.pid)
        assert len(children) == 2, "gunicorn and the worker"
        page = requests.get(f"http://{servers.HOST}:{port}/admin/login/", timeout=10)
        assert page.status_code == 200
        assert (tmp_path / "var" / "admin-password").read_text().strip() in out.read_text()
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 0, out.read_text()
        assert servers.is_free(port)
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    finally:
        started.kill()
        started.wait()


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for(condition, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def test_a_port_that_is_taken_is_said_at_once(environment):
    with socket.create_server((servers.HOST, 0)) as other:
        code, said = once(environment, other.getsockname()[1])
    assert code == 1
    assert "is taken, perhaps by another ./run" in said


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path):
    log = tmp_path / "log" / "server.log"
    with (
        servers.process(["-c", "raise SystemExit('no such thing')"], log) as server,
        pytest.raises(servers.DoesNotStart, match=r"server\.log"),
    ):
        servers.wait_until_healthy(server, f"http://{servers.HOST}:1/healthz", log)
    assert "no such thing" in log.read_text()
