"""`python -m tests.browser.images`: write pictures of the main pages to docs/images/, from the demo's data.

Sets up the demo in a folder of its own, serves it, looks at it with the system's chromium, and stops.
"""

import os
import secrets
import sys
import tempfile
import threading
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "images"
# What a file's name ends with: theme and width.
WAYS: dict[str, tuple[Literal["light", "dark"], int]] = {
    "": ("light", 1280),
    "-dark": ("dark", 1280),
    "-phone": ("light", 375),
}
# An image of more would make the README slow; PNGs of these pages are far below.
MOST_BYTES = 150_000


def main() -> int:
    """Return 0 when each picture was written."""
    with tempfile.TemporaryDirectory() as folder:
        _settings(Path(folder))
        import django

        django.setup()
        return _tell_and_look(Path(folder))


def _settings(folder: Path) -> None:
    os.environ.update(
        DJANGO_SETTINGS_MODULE="cohortsite.settings",
        VAR_DIR=str(folder),
        DATABASE_URL=f"sqlite:///{folder}/demo.sqlite3",
        SECRET_KEY=secrets.token_urlsafe(48),
        FIELD_KEYS=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        HTTPS="false",
        DEBUG="false",
        ALLOWED_HOSTS="127.0.0.1",
        OUTBOUND_ALLOW_NETS="127.0.0.0/8",
        DJANGO_ALLOW_ASYNC_UNSAFE="true",
    )


def _tell_and_look(folder: Path) -> int:
    from django.core.management import call_command

    from demo import demo_run, servers
    from tests.browser import chromium

    if not chromium.find():
        print(chromium.MISSING, file=sys.stderr)
        return 1
    port = next(number for number in range(8100, 8200) if servers.is_free(number))
    url = f"http://{servers.HOST}:{port}"
    call_command("migrate", verbosity=0)
    with servers.gunicorn(port, folder / "server.log"):
        for row in demo_run.tell(url, threading.Event()):
            print(row.what)
        _schedule()
        return _look(url)


def _look(url: str) -> int:
    """Write each page in each way; return 1 when a picture is too large."""
    from tests.browser import chromium

    FOLDER.mkdir(exist_ok=True)
    with chromium.browser() as browser:
        for name, (path, height) in _pages().items():
            for way, (scheme, width) in WAYS.items():
                context = browser.new_context(base_url=url, viewport={"width": width, "height": height})
                context.add_cookies([{"name": "sessionid", "value": _session(), "url": url}])
                page = context.new_page()
                page.emulate_media(color_scheme=scheme)
                page.goto(path)
                page.wait_for_load_state("networkidle")
                if "#" in path:
                    page.locator(f".{path.partition('#')[2]}").evaluate("(one) => one.scrollIntoView()")
                    page.mouse.wheel(0, -90)  # from under the page's head
                    page.wait_for_timeout(300)
                file = FOLDER / f"{name}{way}.png"
                page.screenshot(path=file)
                context.close()
                size = file.stat().st_size
                print(f"{file.relative_to(ROOT)}: {size:,} bytes")
                if size > MOST_BYTES:
                    print("That is too much for a page of documentation.", file=sys.stderr)
                    return 1
    return 0


def _schedule() -> None:
    """Give the demo's syncs times to run at: by itself it has none."""
    from datetime import time

    from django.utils import timezone

    from syncs.models import Sync

    for hour, sync in enumerate(Sync.objects.order_by("pk"), start=7):
        sync.schedule_kind, sync.schedule_at, sync.timezone = "daily", time(hour), "Europe/Berlin"
        sync.reschedule(timezone.now())
        sync.save()


def _session() -> str:
    from django.contrib.auth.models import User
    from django.test import Client

    person, _ = User.objects.get_or_create(username="admin", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(person)
    return str(client.cookies["sessionid"].value)


def _pages() -> dict[str, tuple[str, int]]:
    """Return pages by the name of their picture: address (behind #, the class to scroll to) and height."""
    from cohorts import members
    from cohorts.models import Cohort
    from syncs.models import Sync

    sync = Sync.objects.get(cohort__key="recent-buyers", destination__name="demo-list")
    buyers = Cohort.objects.get(key="recent-buyers")
    regulars = Cohort.objects.get(key="lapsed-regulars")
    user = next(iter(members.in_version(buyers.pk, buyers.version)))
    run = sync.runs.order_by("pk").first()
    assert run
    return {
        "dashboard": ("/admin/", 1060),
        "syncs": ("/admin/syncs/sync/", 800),
        "sync": (f"/admin/syncs/sync/{sync.pk}/", 900),
        "run": (f"/admin/syncs/run/{run.pk}/change/", 900),
        "cohort": (f"/admin/cohorts/cohort/{buyers.pk}/", 900),
        "builder": (f"/admin/cohorts/cohort/{regulars.pk}/change/#cs-frame", 1200),
        "destination": (f"/admin/destinations/destination/{sync.destination_id}/", 900),
        "where": (f"/admin/where/?user={user}", 800),
    }


if __name__ == "__main__":
    sys.exit(main())
