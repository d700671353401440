"""kill -9 while events come in by HTTP: is every acknowledged event there, and none of them twice?

    python -m chaos.events --seconds 60 --rate 1000 --kills 12 --database postgres
    python -m chaos.events --variant reply-first --kill power     # answers before the disk has it: must fail
    python -m chaos.events --variant remove-first --kill worker   # removes before it lists: must fail

Senders post events to gunicorn (/v1/track, /v1/batch, /2/httpapi, also without ids but with an
Idempotency-Key), and send again what was not answered with 200. Meanwhile a worker compacts them and
calculates two cohorts over and over. At random instants, in turn, gunicorn with its workers is killed, or
the worker, or both as by a power cut: then what was never flushed of a segment is taken away, too. At the
end what is in the files is compared with what was acknowledged.

Tested by the two mistakes above, see `chaos/served.py`: with "reply-first" a power cut loses acknowledged
events, with "remove-first" the kill of a compaction does.
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

from chaos import fixtures

SENDERS = 6
WORKSPACE = "default"
DEFINITIONS = {
    "often": {"performed": {"event": "play", "count": {"gte": 3}, "window": {"last": "30d"}}},
    "once": {"performed": {"event": "play", "window": {"last": "1d"}}},
}


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0],
        seconds=60,
        rate=1_000,
        kills=12,
        kill=("any", "server", "worker", "power"),
        database=fixtures.DATABASES,
        variant=("none", "reply-first", "remove-first"),
    )
    with fixtures.prepared(options.database, CHAOS_VARIANT=options.variant, WEB_CONCURRENCY="2"):
        passed, figures = _play(options)
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(options):
    from cohorts.models import CohortVersion

    key = _prepare()
    chance = random.Random(options.seed)
    site = Site()
    senders = Senders(site.port, key, options.rate, options.seconds * options.rate)
    kills = dict.fromkeys(("server", "worker", "power"), 0)
    turns = list(kills) if options.kill == "any" else [options.kill]
    stop = threading.Event()
    threading.Thread(target=_keep_due, args=(stop,)).start()
    try:
        site.start("server", "worker")
        senders.start()
        while sum(kills.values()) < options.kills:
            _wait_for_work(senders)
            time.sleep(chance.uniform(0, max(3, options.seconds / (options.kills + 1))))
            kind = turns[sum(kills.values()) % len(turns)]
            getattr(site, f"kill_{kind}")()
            kills[kind] += 1
            fixtures.progress(f"{kills}, {len(senders.acknowledged):,} events acknowledged")
        _wait_for_work(senders)
        senders.finish()
    finally:
        stop.set()
        senders.finishing = True
        site.stop()
    found = _stored()
    lost = len(senders.acknowledged - set(found))
    twice = len(found) - len(set(found))
    refreshes = CohortVersion.objects.filter(state="published").count()
    figures = {
        "killed": kills,
        "acknowledged": len(senders.acknowledged),
        "events_per_second": round(len(senders.acknowledged) / senders.seconds),
        "calls_sent_again": senders.sent_again,
        "versions_published": refreshes,
        "lost": lost,
        "twice": twice,
    }
    return len(senders.acknowledged) >= senders.least and refreshes > 0 and not lost and not twice, figures


def _wait_for_work(senders, seconds=60):
    """Wait until the server has taken events, and the worker has published some, since now."""
    from events.models import EventFile

    def done():
        files = EventFile.objects.order_by("-pk").values_list("pk", flat=True)
        return len(senders.acknowledged), files.first() or 0

    taken, published = done()
    deadline = time.monotonic() + seconds
    while not all(now > before for now, before in zip(done(), (taken, published), strict=True)):
        if time.monotonic() > deadline:
            raise TimeoutError("Nothing was taken or published for a minute.")
        time.sleep(0.05)


def _prepare() -> str:
    """Make a workspace and cohorts over its events; return the workspace's key."""
    from cohorts.choices import SourceKind
    from cohorts.models import Cohort
    from receiving.keys import create_key
    from receiving.models import Workspace

    for name, where in DEFINITIONS.items():
        definition = {"version": 1, "where": where}
        Cohort.objects.create(key=name, name=name, source_kind=SourceKind.BEHAVIORAL, definition=definition)
    return create_key(Workspace.objects.create(slug=WORKSPACE))[1]


def _keep_due(stop):
    """Let the worker calculate the cohorts again and again."""
    from django.db import OperationalError, connection
    from django.utils import timezone

    from cohorts.models import Cohort

    while not stop.wait(0.5):
        try:
            Cohort.objects.filter(next_due_at=None).update(next_due_at=timezone.now())
        except OperationalError:
            continue
    connection.close()


class Site:
    """gunicorn and a worker, each in a session of its own, so that it is killed with its children."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        bind = f"127.0.0.1:{self.port}"
        self.commands = {
            "server": ["-m", "gunicorn", "chaos.served", "--bind", bind, "--log-level", "critical"],
            "worker": ["-m", "chaos.served"],
        }
        self.processes = {}

    def start(self, *names):
        for name in names:
            command = [sys.executable, *self.commands[name]]
            self.processes[name] = subprocess.Popen(command, start_new_session=True)

    def kill_server(self):
        self._kill("server")
        self.start("server")

    def kill_worker(self):
        self._kill("worker")
        self.start("worker")

    def kill_power(self):
        self._kill("server", "worker")
        self._take_what_was_not_flushed()
        self.start("server", "worker")

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(60)

    def _kill(self, *names):
        for name in names:
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        for name in names:
            self.processes[name].wait()

    @staticmethod
    def _take_what_was_not_flushed():
        from events.store import Folders

        folders = Folders(WORKSPACE)
        for segment in [*folders.spool.glob("*.jsonl"), *folders.sealed.glob("*/*.jsonl")]:
            note = folders.root.parent / f"{segment.name}.synced"
            os.truncate(segment, int(note.read_text()) if note.exists() else 0)


class Senders:
    """Threads that send numbered events, and each call again until it is answered with 200."""

    def __init__(self, port, key, rate, least):
        self.port, self.key, self.rate, self.least = port, key, rate, least
        self.lock = threading.Lock()
        self.finishing = False
        self.given = self.calls = self.sent_again = 0
        self.acknowledged = set()
        self.threads = [threading.Thread(target=self._work) for _ in range(SENDERS)]

    def start(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def finish(self):
        """Send what is left of the least number, and wait for the last answer."""
        self.finishing = True
        for thread in self.threads:
            thread.join()
        self.seconds = time.monotonic() - self.began

    def _work(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while (numbers := self._next()) is not None:
            path, body, headers = self._call(numbers)
            while not self._answered(connection, path, body, headers):
                with self.lock:
                    self.sent_again += 1
                time.sleep(0.05)
            with self.lock:
                self.acknowledged.update(numbers)
        connection.close()

    def _next(self):
        """Return the numbers of the next call's events, when it is their time."""
        with self.lock:
            if self.finishing and self.given >= self.least:
                return None
            size = 1 if self.calls % 4 == 0 else 20
            first, self.given, self.calls = self.given, self.given + size, self.calls + 1
        time.sleep(max(0.0, self.began + first / self.rate - time.monotonic()))
        return range(first, first + size)

    def _call(self, numbers):
        """Return path, body and headers; which form it has follows from the first number alone."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        form = numbers[0] % 3
        if form == 0:
            path = "/2/httpapi"
            events = [
                {"user_id": f"u{n % 500}", "event_type": "play", "insert_id": f"e{n}",
                 "event_properties": {"number": n}}
                for n in numbers
            ]  # fmt: skip
            return path, json.dumps({"events": events}), headers
        items = [
            {"type": "track", "userId": f"u{n % 500}", "event": "play", "properties": {"number": n}}
            for n in numbers
        ]
        if form == 1:
            items = [item | {"messageId": f"e{n}"} for item, n in zip(items, numbers, strict=True)]
        else:
            headers["Idempotency-Key"] = f"k{numbers[0]}"
        if len(items) == 1:
            return "/v1/track", json.dumps(items[0]), headers
        return "/v1/batch", json.dumps({"batch": items}), headers

    @staticmethod
    def _answered(connection, path, body, headers):
        try:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            reply.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        return reply.status == 200


def _stored():
    """Compact what is left, and return the numbers of all events, as a cohort would read them."""
    import duckdb

    from events.compact import compact
    from events.store import Folders, read_layout

    compact(WORKSPACE)
    left = [*Folders(WORKSPACE).sealed.iterdir(), *Folders(WORKSPACE).spool.glob("*.jsonl")]
    assert not left, left
    layout = read_layout(WORKSPACE)
    column = layout.number_column("number")
    with duckdb.connect() as connection:
        sql = f"SELECT {column} FROM read_parquet($1, union_by_name=true)"
        return [int(row[0]) for row in connection.execute(sql, [list(layout.events)]).fetchall()]


if __name__ == "__main__":
    main()
