"""Whoever works here, in whatever role: each link on a page leads to a page that they may see."""

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from cohortsite.roles import grant
from tests.browser import fixtures
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)

LINK = re.compile(r'<a\b[^>]*\bhref="([^"]*)"')
NUMBER = re.compile(r"\d+")
# A file, or the way out.
NOT_PAGES = re.compile(r"/static/|/logout/|/download|/export|\.csv|/body/|/account/|/api/")
MOST = 400


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_every_link_of_every_page_leads_somewhere(role: str, settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path  # a folder belongs to one database, and each of these has its own
    grant()
    person = User.objects.create_user(role, is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    with Partner() as partner:
        fixtures.set_up(partner, person)
    client = Client()
    client.force_login(person)
    waiting, seen, wrong = [("/admin/", "the beginning")], {"/admin/"}, []
    while waiting and len(seen) < MOST:
        url, where = waiting.pop(0)
        reply = client.get(url, follow=True)
        if reply.status_code != 200:
            wrong.append(f"{reply.status_code} at {url}, from {where}")
            continue
        if reply.streaming or "text/html" not in reply.headers["Content-Type"]:
            continue
        base = reply.redirect_chain[-1][0] if reply.redirect_chain else url
        for found in LINK.findall(reply.content.decode()):
            link = urlsplit(urljoin(base, html.unescape(found)))
            # One of a kind: lists have many rows, and filters and orders are queries of one page.
            kind = NUMBER.sub("N", link.path)
            if link.netloc or link.scheme or NOT_PAGES.search(link.path) or kind in seen:
                continue
            seen.add(kind)
            waiting.append((f"{link.path}?{link.query}" if link.query else link.path, url))
    assert not wrong, "\n".join(wrong)
    assert len(seen) > 60, "few pages were found: the links are not read"
