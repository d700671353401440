"""Several machines on one of this host: each process is an installation, the disk is its machine's, and they
share PostgreSQL, a broker and an object store, as docs/machines.md has it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from tests.brokers import Process, Redis, free_port, until
from tests.object_store import ObjectStore

WEBS, BEAT = ("web-a", "web-b"), "beat"
# What each worker takes, by docs/machines.md: files of events are on machine a.
QUEUES = {
    "worker-a": "due,sending,events,refreshing,previews,housekeeping",
    "worker-b": "due,sending,importing,searches,comparing",
}
NAMES = (*WEBS, *QUEUES, BEAT)
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class Machines:
    """Two web servers, two workers and a beat; `environ` is what all of them are given besides."""

    def __init__(self, folder: Path, broker: str, files: str, **environ: str) -> None:
        self.folder, self.starts = folder, 0
        self.environ = {"CELERY_BROKER_URL": broker, "FILES_URL": files, "WEB_CONCURRENCY": "1", **environ}
        self.ports = {name: free_port() for name in WEBS}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.processes: dict[str, Process] = {}

    def start(self, name: str) -> None:
        """Start a process on its machine: a, b, or that of beat."""
        disk = self.folder / f"machine-{name[-1]}"
        disk.mkdir(exist_ok=True)
        self.starts += 1
        environ = {**self.environ, "VAR_DIR": str(disk)}
        if name in WEBS:
            environ["BIND"] = f"127.0.0.1:{self.ports[name]}"
            command = ["-m", "gunicorn", "cohortsite.wsgi"]
        else:
            worker = ["worker", "--concurrency=8", f"--hostname={name}@%h", "--queues", QUEUES.get(name, "")]
            command = [
                "-W",
                "ignore",
                "-m",
                "celery",
                "-A",
                "cohortsite",
                *([BEAT] if name == BEAT else worker),
            ]
        self.processes[name] = Process(self.folder, f"{name}-{self.starts}", command, **environ)

    def start_all(self) -> None:
        for name in NAMES:
            self.start(name)
        for name in WEBS:
            self.wait_for(name)

    def wait_for(self, web: str) -> None:
        until(lambda: answers(f"{self.urls[web]}/livez"))

    def kill(self, name: str) -> None:
        self.processes[name].kill()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


@contextmanager
def machines(folder: Path, **environ: str) -> Iterator[tuple[Machines, Redis, ObjectStore]]:
    """Yield all of it, running."""
    broker = Redis(folder)
    store = ObjectStore(folder / "store")
    site = Machines(folder, broker.url, store.url, **environ)
    try:
        site.start_all()
        yield site, broker, store
    finally:
        site.stop()
        broker.kill()
        store.kill()


def answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=2).ok
    return False


class Browser(requests.Session):
    """A person's browser, for which both web servers are one site: the balancer sends it here and there."""

    def __init__(self, site: Machines) -> None:
        super().__init__()
        self.site, self.trust_env = site, False

    def at(self, web: str, path: str, **options: Any) -> requests.Response:
        return self.get(self.site.urls[web] + path, timeout=30, **options)

    def submit(self, web: str, path: str, fields: dict[str, Any], **options: Any) -> requests.Response:
        """Post a form, with the token of its page."""
        token = TOKEN.search(self.at(web, path).text)
        fields = {**fields, "csrfmiddlewaretoken": token[1] if token else self.cookies.get("csrftoken")}
        return self.post(self.site.urls[web] + path, data=fields, timeout=60, **options)

    def log_in(self, web: str, name: str, password: str) -> requests.Response:
        return self.submit(web, "/account/login/?next=/admin/", {"login": name, "password": password})
