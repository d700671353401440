"""Start everything, do the demo, print its table, and stay until somebody stops it."""

import sys
import threading
import time
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo import demo_run, servers
from demo.prepare import ADMIN, make_admin
from destinations.secrets import SecretUnreadable
from syncs.lifecycle import CannotRun


class Start:
    """One `./run`. `serving` is true once the demo is over and the site stays."""

    def __init__(self, *, once: bool, stop: threading.Event) -> None:
        self.once, self.stop, self.serving = once, stop, False
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self.logs = Path(settings.VAR_DIR) / "log"

    def run(self, port: int) -> int:
        """Return the exit code. KeyboardInterrupt goes through it, and stops what it has started."""
        self.console.print("Preparing the database …")
        call_command("migrate", verbosity=0)
        password = make_admin(Path(settings.VAR_DIR) / "admin-password")
        url = f"http://{servers.HOST}:{port}"
        try:
            with servers.gunicorn(port, self.logs / "server.log") as server:
                equal = self._show(url)
                if self.once:
                    return 0 if equal else 1
                with servers.process(["manage.py", "sync_worker"], self.logs / "worker.log") as worker:
                    self._invite(url, password)
                    return self._stay(server, worker)
        except (servers.DoesNotStart, demo_run.DemoFailed, CannotRun, SecretUnreadable) as error:
            self.console.print(f"[red]{escape(str(error))}[/red]")
            return 1

    def _show(self, url: str) -> bool:
        self.console.print("Real cohorts, sent to a partner over HTTP …")
        rows = list(demo_run.tell(url, self.stop))
        self.console.print(table_of(rows))
        # Each cohort with a count of its file in plain Python, each partner with its cohort.
        compared = [row.equal for row in rows if row.equal is not None]
        equal = bool(compared) and all(compared)
        if equal and not any(row.requests for row in rows):
            self.console.print("Nobody has moved since the last start: nothing had to be sent.")
        verdict = "[green]Both sides are equal." if equal else "[red]The two sides differ."
        self.console.print(
            f"{verdict}[/] Cohorts were counted again from the files, the partner was read back over HTTP."
        )
        return equal

    def _invite(self, url: str, password: str) -> None:
        self.console.print(
            f"\nThe admin:  {url}/admin/\nUser:       {ADMIN}\nPassword:   {password}", markup=False
        )
        self.console.print(f"Logs:       {self.logs}\nCtrl-C stops the server and its worker.", markup=False)

    def _stay(self, *processes: servers.Process) -> int:
        self.serving = True
        while all(process.poll() is None for process in processes):
            time.sleep(0.2)
        self.console.print(f"[red]The server or its worker has ended; why, is in {self.logs}.[/red]")
        return 1


def table_of(rows: list[demo_run.Row]) -> Table:
    """Return the rows as a table for people."""
    table = Table(title="What happened", title_justify="left")
    table.add_column("What")
    for name in ("Users", "Entered", "Left", "Requests", "Seconds"):
        table.add_column(name, justify="right")
    table.add_column("Equal?")
    for row in rows:
        equal = {True: "[green]yes[/]", False: "[red]NO[/]", None: ""}[row.equal]
        table.add_row(
            row.what,
            *("" if n is None else f"{n:,}" for n in (row.users, row.entered, row.left, row.requests)),
            "" if row.seconds is None else f"{row.seconds:.1f}",
            f"{equal} {escape(row.difference)}".strip(),
        )
    return table
