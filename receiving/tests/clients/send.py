"""Sends what the tests expect, with a vendor's client as it comes from PyPI: see send.mjs.

python send.py CLIENT ADDRESS KEY USERS LEAVERS EVENTS
"""

import json
import os
import sys
import time
from typing import Any

name, address, key = sys.argv[1:4]
users, leavers, events = map(int, sys.argv[4:])
problems: list[Any] = []
delivered: list[int] = []
# Seconds until what was not answered never will be.
PATIENCE = 15 if os.environ.get("GIVES_UP") else 120


def failed(*error: Any) -> None:
    problems.append(error)


class Segment:
    """RudderStack's client is made after this one."""

    def __init__(self) -> None:
        if name == "segment":
            from segment.analytics.client import Client  # type: ignore[import-untyped]

            more = {"timeout": 5}
        else:
            from rudderstack.analytics.client import Client  # type: ignore[import-untyped]

            more = {}
        self.client = Client(
            key, host=address, on_error=failed, max_retries=30, upload_size=7, upload_interval=0.05, **more
        )

    def identify(self, user: str, vip: bool) -> None:
        self.client.identify(user, {"vip": vip})

    def track(self, user: str, number: int) -> None:
        self.client.track(user, "bought", {"n": number})

    def end(self) -> None:
        self.client.flush()
        self.client.join()


class Amplitude:
    def __init__(self) -> None:
        from amplitude import Amplitude as Client  # type: ignore[import-untyped]
        from amplitude import BaseEvent, Config, Identify

        self.event, self.operation, self.sent, self.answered = BaseEvent, Identify, 0, 0
        path = "/batch" if name == "amplitude-batch" else "/2/httpapi"
        self.client = Client(
            key,
            Config(
                server_url=address + path,
                use_batch=name == "amplitude-batch",
                flush_queue_size=7,
                flush_interval_millis=50,
                flush_max_retries=1000,
                callback=self.done,
            ),
        )

    def done(self, event: Any, code: int, message: str | None) -> None:
        self.answered += 1
        if code != 200:
            failed(code, message)
        elif event.event_type == "bought":
            delivered.append(event.event_properties["n"])

    def identify(self, user: str, vip: bool) -> None:
        from amplitude import EventOptions

        self.sent += 1
        self.client.identify(self.operation().set("vip", vip), EventOptions(user_id=user))

    def track(self, user: str, number: int) -> None:
        self.sent += 1
        self.client.track(self.event("bought", user_id=user, event_properties={"n": number}))

    def end(self) -> None:
        until = time.monotonic() + PATIENCE
        while self.answered < self.sent and time.monotonic() < until:
            self.client.flush()
            time.sleep(0.05)
        self.client.shutdown()
        if self.answered < self.sent:
            failed(f"{self.sent - self.answered} were never answered")


made: Any = Amplitude() if name.startswith("amplitude") else Segment()
for n in range(users):
    made.identify(f"user-{n}", True)
    if n % 10 == 0:
        time.sleep(0.02)
time.sleep(0.02)
for n in range(leavers):
    made.identify(f"user-{n * (users // leavers)}", False)
for n in range(events):
    made.track(f"user-{n % users}", n)
    if n % 10 == 0:
        time.sleep(0.02)
made.end()
print(json.dumps(delivered))
if problems and not os.environ.get("GIVES_UP"):
    sys.exit(f"{name}: {problems[:3]}")
