"""`python -m demo [--once]`: what `./run` does once the libraries are there."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
PORT = 8000
LAST_PORT = 8099


def main(arguments: list[str]) -> int:
    """Return 0 when both sides were equal (and then, unless --once, after Ctrl-C), 1 when not."""
    options = _parse(arguments)
    from demo.prepare import write_env

    # Who sets up by environment variables needs no file.
    if "SECRET_KEY" not in os.environ and write_env(ROOT / ".env"):
        print(f"Wrote {ROOT / '.env'}: this machine's settings and secrets.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
    import django

    django.setup()
    from demo.start import Start

    start = Start(once=options.once, stop=_stop_on_signals())
    try:
        return start.run(_port(options))
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0 if start.serving else 130


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run",
        description="Set up, sync the demo's cohort over HTTP, compare, and serve the admin. "
        "./run test [ARGUMENTS OF PYTEST]: the tests.",
    )
    parser.add_argument(
        "--once", action="store_true", help="stop after the sync; exit 0 if both sides are equal"
    )
    parser.add_argument("--port", type=int, help=f"where to serve on 127.0.0.1 (default: {PORT})")
    return parser.parse_args(arguments)


def _port(options: argparse.Namespace) -> int:
    from demo.servers import is_free

    wanted = options.port or PORT
    if is_free(wanted):
        return wanted
    others = range(PORT, LAST_PORT) if options.once and not options.port else ()
    for port in others:
        if is_free(port):
            print(f"Port {wanted} is taken: using {port}.")
            return port
    sys.exit(
        f"Port {wanted} is taken, perhaps by another ./run. Stop that one, or: ./run --port {wanted + 1}"
    )


def _stop_on_signals() -> threading.Event:
    """Return an event that the first SIGINT, SIGTERM or SIGHUP sets; it also raises KeyboardInterrupt."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
