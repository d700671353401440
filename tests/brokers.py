"""Brokers for tests, and Celery's processes on them: a Redis that can be killed and emptied, and RabbitMQ."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import amqp
import redis
from django.conf import settings
from django.db import connection
from django.test import override_settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Redis:
    """A server in a process of its own, that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        server = shutil.which("redis-server") or "redis-server"
        options = ["--port", str(self.port), "--save", "", "--dir", str(self.folder), "--bind", "127.0.0.1"]
        self.process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with suppress(redis.ConnectionError):
                self.client().ping()
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class RabbitMQ:
    """The server that listens on this machine, with none of our queues."""

    url = "amqp://guest:guest@127.0.0.1:5672//"

    def __init__(self) -> None:
        self.kill()

    def kill(self) -> None:
        """Delete our queues: the server is everybody's."""
        with amqp.Connection("127.0.0.1:5672") as connection:
            for queue in tasks_on("memory://").app.amqp.queues:
                connection.channel().queue_delete(queue)


def rabbitmq_listens() -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", 5672), timeout=1):
        return True
    return False


def tasks_on(url: str) -> ModuleType:
    """Import the tasks, which a site without a broker does not have."""
    with override_settings(CELERY_BROKER_URL=url):
        return import_module("cohortsite.tasks")


def database_url() -> str:
    """Return the test's own database, for other processes."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{given['NAME']}"
    login = f"{given['USER']}:{given['PASSWORD']}".rstrip(":")
    return f"postgres://{login}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


class Process:
    """A process of the site on the test's database, and what it logs."""

    def __init__(self, folder: Path, name: str, command: Sequence[str], **environ: str) -> None:
        self.log = folder / f"{name}.log"
        given = {"DATABASE_URL": database_url(), "VAR_DIR": str(folder), "LOG_FORMAT": "json"} | environ
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | given,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=settings.BASE_DIR,
                start_new_session=True,
            )

    def lines(self) -> list[dict[str, Any]]:
        """Return what was logged. Celery itself says a thing or two in another form."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def ended_runs(self) -> list[int]:
        return [line["run"] for line in self.lines() if "run" in line]

    def leave(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    def kill(self) -> None:
        """Kill it with its children, such as the beat of a worker that has one."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


def celery(folder: Path, name: str, broker: str, *words: str) -> Process:
    """Start `celery -A cohortsite …`."""
    command = ["-W", "ignore", "-m", "celery", "-A", "cohortsite", *words]
    return Process(folder, name, command, CELERY_BROKER_URL=broker)


def until(fact: Callable[[], Any], seconds: float = 90) -> Any:
    """Ask again and again; return what was true at last."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
