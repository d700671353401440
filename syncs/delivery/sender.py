"""The threads that send: HTTP only, no database. What they bring back waits in `results`."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from destinations.endpoint import Endpoint
from destinations.errors import DeliveryError
from destinations.payloads import Request
from destinations.transport import Reply, Transport
from pagekit import tracing
from syncs.delivery.lease import Lease, NotSent
from syncs.delivery.work import Work

# How long a thread that waits for its moment is deaf to a call-off, in seconds.
DEAF = 0.5

Result = Reply | DeliveryError | Exception


class Sender:
    """`called_off` is asked by a thread that waits for its moment whether its request shall not be sent."""

    def __init__(
        self, lease: Lease, endpoint: Endpoint, stop: threading.Event, called_off: Callable[[Work], bool]
    ) -> None:
        self.lease, self.endpoint, self.stop = lease, endpoint, stop
        self._called_off = called_off
        self.transport = Transport(endpoint)
        self.pool = ThreadPoolExecutor(endpoint.threads, thread_name_prefix="send")
        self.results: queue.SimpleQueue[tuple[Work, Request, Result]] = queue.SimpleQueue()

    def submit(self, work: Work, not_before: float) -> None:
        """Have a work's request sent; not before this moment of `time.monotonic`."""
        self.pool.submit(self.send, work, work.encode(), not_before)

    def send(self, work: Work, request: Request, not_before: float) -> None:
        """Send one request, in a thread of the pool. One that is not sent brings back NotSent."""
        result: Result
        try:
            while (wait := not_before - time.monotonic()) > 0:
                if self._called_off(work):
                    raise NotSent
                self.stop.wait(min(wait, DEAF))
            if self.lease.remaining() <= self.endpoint.deadline:
                raise NotSent
            result = self._traced(work, request)
        except Exception as error:  # noqa: BLE001  # a thread's edge: judged by the driver
            result = error
        self.results.put((work, request, result))

    def _traced(self, work: Work, request: Request) -> Reply:
        batch, active = work.batch, work.active
        about: dict[str, Any] = {
            "run": active.run.pk,
            "batch": batch.number,
            "step": str(batch.step),
            "users": request.users,
        }
        with tracing.span("batch", parent=tracing.of(active.span), **about):
            address = urlsplit(request.url).hostname or ""
            with tracing.span(request.method, kind=tracing.CLIENT, server_address=address) as span:
                if span is not None and settings.TRACEPARENT_TO_PARTNERS:
                    request = replace(request, headers={**request.headers, "traceparent": tracing.current()})
                reply = self.transport.send(request)
                if span is not None:
                    span.set_attribute("http.response.status_code", reply.status)
                return reply

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.transport.close()
