#!/usr/bin/env python3
"""Django's command line for Cohort Sync."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import InterfaceError, OperationalError


def sentence(error: Exception) -> str:
    """Say what is wrong with the database, the disk or a file."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    hint = " Have its migrations been applied (manage.py migrate)?" if "no such" in said else ""
    return f"The database cannot be used: {said}.{hint}"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough (`list_events | head`). Nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (OSError, OperationalError, InterfaceError) as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(sentence(error))
