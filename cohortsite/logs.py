"""Logs as JSON, a line each, when LOG_FORMAT=json says so."""

import json
import logging
from datetime import UTC, datetime

from pagekit import tracing

# What a message is about, where its `extra` says so.
ABOUT = ("run", "sync", "destination", "state", "trace")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := tracing.id_in(tracing.current()):
            said["trace"] = trace
        said |= {name: vars(record)[name] for name in ABOUT if name in vars(record)}
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str, ensure_ascii=False)
