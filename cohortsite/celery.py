"""The app of Celery, for who sets CELERY_BROKER_URL: `celery -A cohortsite worker`, and `… beat`.

Nothing else imports it: whoever wants work done writes a row, as without a broker, and the tasks of
`cohortsite.tasks` find it. So a broker that is away keeps no page waiting, and one that was emptied has
lost nothing.
"""

import logging
import os
import threading
from contextlib import suppress
from typing import Any

import django
from celery import Celery, signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand
from django.db import connections
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # of pages, which no worker shows: those of settings follow
django.setup()
BaseCommand().check(tags=["settings"])
if not settings.CELERY_BROKER_URL:
    raise ImproperlyConfigured(
        "CELERY_BROKER_URL is not set: name a broker (redis://… or amqp://…), or start sync_worker instead."
    )

# Each task's queue: what a worker may be given with -Q. Without, it takes from all of them.
ROUTES = {
    "find_due": "due",  # each second: let nothing long stand before it
    "drive": "sending",  # a destination, as long as it has something to send
    "refresh": "refreshing",  # cohorts that are due
    "import_members": "importing",
    "import_profiles": "importing",
    # Files of events, and what came by HTTP: on the machine that has EVENTS_DIR.
    "find_arrived": "events",
    "take_in": "events",
    "preview": "previews",
    "search": "searches",
    "compare": "comparing",  # reads back what partners have
    "keep_house": "housekeeping",  # alerts, erasures, members of cohorts that are gone, pruning
}
QUEUES = tuple(dict.fromkeys(ROUTES.values()))
# Seconds between two looks for what is due.
EVERY = 1.0
REDIS = settings.CELERY_BROKER_URL.startswith(("redis", "valkey"))
# RabbitMQ would cut a worker off whose task takes longer than half an hour. It knows this from 3.12 on.
OF_QUEUES = {} if REDIS else {"x-consumer-timeout": 7 * 24 * 3600 * 1000}

app = Celery("cohortsite")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    imports=("cohortsite.tasks",),
    timezone=settings.TIME_ZONE,
    task_queues=[Queue(name, Exchange(name), routing_key=name, queue_arguments=OF_QUEUES) for name in QUEUES],
    task_routes={f"cohortsite.tasks.{name}": {"queue": queue} for name, queue in ROUTES.items()},
    task_default_queue="due",
    task_create_missing_queues=False,
    task_ignore_result=True,
    accept_content=["json"],
    # A worker takes no more messages than it has threads: what it cannot do now, another one can. Redis has a
    # setting for that; of RabbitMQ's messages those count that are not acknowledged. Whether one comes again
    # does not matter: what becomes of work is in the rows that its message was made from.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=REDIS,
    task_acks_late=not REDIS,
    # Tasks mostly wait: for a partner, for the engine's process, for the database.
    worker_pool="threads",
    worker_concurrency=32,
    # How logs look is LOG_FORMAT's matter.
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    # A broker that is away is waited for, however long.
    broker_connection_timeout=2.0,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_heartbeat=10,
    broker_transport_options=({"socket_timeout": 5.0, "socket_connect_timeout": 2.0} if REDIS else {}),
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
    # In memory: each entry is due at once when beat starts, so there is nothing to remember.
    beat_scheduler="celery.beat:Scheduler",
    beat_max_loop_interval=EVERY,
    beat_schedule={
        "find_due": {
            "task": "cohortsite.tasks.find_due",
            "schedule": EVERY,
            "options": {"expires": 5 * EVERY},
        }
    },
)

# Set when the worker is asked to end: nothing new is begun, what is in flight is recorded.
stop = threading.Event()
# Processes of a pool are not told that their worker ends. But they see its end of a pipe close: also when
# it was killed.
_reads, _writes = os.pipe()


@signals.setup_logging.connect
def _leave_logging(**_: Any) -> None:
    """Leave the logging as Django has set it up, but for a line or two a task and second."""
    for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_shutting_down.connect
def _ask_to_stop(**_: Any) -> None:
    stop.set()
    with suppress(OSError):
        os.close(_writes)


@signals.worker_process_init.connect
def _watch_the_worker(**_: Any) -> None:
    with suppress(OSError):
        os.close(_writes)
    threading.Thread(target=_wait_for_the_worker, name="worker's end", daemon=True).start()


def _wait_for_the_worker() -> None:
    os.read(_reads, 1)
    stop.set()


@signals.task_postrun.connect
def _give_connections_back(**_: Any) -> None:
    """A pool has many threads: each would keep a connection to the database that it seldom uses."""
    if not any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
        connections.close_all()
