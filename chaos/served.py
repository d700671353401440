"""The web server's application, and the worker, as `chaos.events` starts them.

    gunicorn chaos.served            python -m chaos.served

For each segment of the spool a file in EVENTS_DIR says how much of it has been flushed, so that the script
can take away what a power cut would take. CHAOS_VARIANT names a mistake that is made on purpose.
"""

import os
import shutil
import threading
import time
from pathlib import Path

from chaos import fixtures

fixtures.set_up()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

from events import compact  # noqa: E402
from events.publish import Publication, publish  # noqa: E402

VARIANT = os.environ.get("CHAOS_VARIANT", "none")
_fsync = os.fsync


def noted_fsync(descriptor):
    """Flush a file; of a segment, note how much of it is safe from now on."""
    size = os.fstat(descriptor).st_size
    _fsync(descriptor)
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if path.suffix == ".jsonl":
        # By its name alone: a compaction may have moved it meanwhile. Whole or not at all, like the flush.
        note = Path(settings.EVENTS_DIR) / f"{path.name}.new"
        note.write_text(str(size))
        note.rename(note.with_suffix(".synced"))


def fsync_later(descriptor):
    """The mistake "reply-first": the sender has its answer before the disk has the events."""
    copy = os.dup(descriptor)

    def flush():
        try:
            noted_fsync(copy)
        finally:
            os.close(copy)

    threading.Timer(1, flush).start()


def publish_after_removing(workspace, folders, batch):
    """The mistake "remove-first": a compaction removes what it read before its own file is listed."""
    prepared = compact.prepare(workspace, folders, batch, batch.name)
    shutil.rmtree(batch)
    time.sleep(3)
    publish(workspace, folders, Publication(prepared))
    return prepared


os.fsync = fsync_later if VARIANT == "reply-first" else noted_fsync
if VARIANT == "remove-first":
    compact.publish_batch = publish_after_removing

if __name__ == "__main__":
    call_command("sync_worker")
else:
    application = get_wsgi_application()
