"""The processes that `./run` starts beside itself: gunicorn, and the worker."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

Process = subprocess.Popen[bytes]

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
STARTS_WITHIN = 60.0
STOPS_WITHIN = 45.0


class DoesNotStart(Exception):
    """A process ended at once or does not answer; the message names its log."""


def is_free(port: int) -> bool:
    """Say whether this port of loopback can be listened at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def gunicorn(port: int, log: Path) -> Iterator[Process]:
    """Serve the site at a port of loopback; entered when it answers that it is healthy."""
    arguments = ["-m", "gunicorn", "cohortsite.wsgi", "--bind", f"{HOST}:{port}"]
    with process(arguments, log) as server:
        wait_until_healthy(server, f"http://{HOST}:{port}/healthz", log)
        yield server


@contextmanager
def process(arguments: list[str], log: Path) -> Iterator[Process]:
    """Run Python with arguments, in a session of its own: Ctrl-C is for us, who then stop it in order."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        started = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_until_healthy(server: Process, url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if session.get(url, timeout=5).ok:
                    return
            except (requests.ConnectionError, requests.Timeout):
                pass
            time.sleep(0.1)
    raise DoesNotStart(f"The server does not start; why, is in {log}.")
