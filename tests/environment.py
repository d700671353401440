"""Settings for tests, read before Django's (a pytest plugin: see pyproject.toml)."""

import atexit
import os
import tempfile

# Two runs of the tests may be at work in one tree, each on a database of its own.
_folder = tempfile.TemporaryDirectory(prefix="cohort-sync-tests-")
atexit.register(_folder.cleanup)
os.environ.update(
    {
        "SECRET_KEY": "a key for tests only, long enough that no check complains about its length",
        "FIELD_KEYS": "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=",
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "HTTPS": "false",
        "OUTBOUND_ALLOW_NETS": "127.0.0.0/8,::1/128",
        "RETRY_TIME_SCALE": "0.001",
        "VAR_DIR": _folder.name,
    }
)
os.environ.setdefault("DEBUG", "false")
