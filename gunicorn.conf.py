"""How `gunicorn cohortsite.wsgi` serves: found by gunicorn in the folder that it is started in.

A thread gets a request when all of it has come (receiving/gathering.py), so that slow senders keep none.
WEB_CONCURRENCY sets the number of worker processes, GUNICORN_CMD_ARGS anything else.
"""

import os
import sys
from pathlib import Path
from typing import Any

import gunicorn.util
import orjson

# gunicorn may have been started by a name that does not put this folder on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from receiving.gathering import GatheringWorker  # noqa: E402

bind = os.environ.get("BIND", "127.0.0.1:8000")
worker_class = GatheringWorker
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
keepalive = 75
# It lies in the home folder, one for all servers of a user, and nothing here is steered by it.
control_socket_disable = True
# A thread that writes to a busy SQLite waits up to 30 s for its turn.
timeout = 120
graceful_timeout = 30

# A partner's call may come with the headers `api_key` and `app_id`. gunicorn drops every header with an
# underscore, because `X_Forwarded_For` would be taken for `X-Forwarded-For`. So all are let in here, and
# all but those two are dropped again before anything reads them.
header_map = "dangerous"
# By default a proxy that is trusted may set the path by such headers; nothing here needs that.
forwarder_headers = ""
UNDERSCORED = {"API_KEY", "APP_ID"}


def pre_request(worker: Any, request: Any) -> None:
    request.headers[:] = [
        (name, value) for name, value in request.headers if "_" not in name or name in UNDERSCORED
    ]


def write_error(sock: Any, status: int, reason: str, message: str) -> None:
    """What gunicorn itself refuses (a malformed request line, headers too long) is answered in JSON too."""
    body = orjson.dumps({"error": {"code": "bad_http", "message": f"{reason}: {message}"[:500]}})
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    gunicorn.util.write_nonblock(sock, head.encode("latin-1") + body)


gunicorn.util.write_error = write_error
