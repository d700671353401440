"""The documents at /help/: every page of them, their search, and the link from each page of the admin."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cohortsite import help as documents

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create(username="ann", is_staff=True))
    return client


def test_every_document_is_a_page_whose_links_lead_somewhere(reader: Client):
    anchors = {
        name: set(re.findall(r' id="([^"]+)"', documents.rendered(name))) for name in documents.pages()
    }
    assert len(anchors) > 15
    wrong = []
    for name in sorted(anchors):
        assert reader.get(documents.url_of(name)).status_code == 200, name
        for href in re.findall(r'href="([^"]+)"', documents.rendered(name)):
            to, _, anchor = unescape(href).partition("#")
            page = name if not to else to.removeprefix("/help/").rstrip("/")
            if not to.startswith("http") and (page not in anchors or anchor and anchor not in anchors[page]):
                wrong.append((name, href))
    assert not wrong
    assert reader.get("/help/nothing/").status_code == 404
    assert reader.get("/help/..%2FREADME/").status_code == 404


def test_each_page_of_the_admin_leads_to_the_document_about_it(admin_client: Client):
    for begins, name, anchor in documents.ABOUT:
        assert name in documents.pages()
        assert not anchor or f'id="{anchor}"' in documents.rendered(name), (begins, anchor)
    for path in ("/admin/", "/admin/syncs/sync/", "/admin/cohorts/cohort/add/", "/admin/where/"):
        assert f'href="{documents.about(path)}"' in admin_client.get(path).content.decode(), path
    assert documents.about("/admin/people/suppression/") == "/help/people/#suppressed-people"


def test_a_search_finds_the_section_and_one_that_is_called_so_first(reader: Client):
    found = reader.get("/help/", {"q": "failure table"}).context["found"]
    assert "ailure table" in found[0].title and found[0].url.startswith("/help/delivery/#")
    assert "No document has all of these words" in reader.get("/help/", {"q": "xyzzy<b>"}).content.decode()
    assert b"xyzzy<b>" not in reader.get("/help/", {"q": "xyzzy<b>"}).content


def test_what_is_html_in_a_document_is_shown_as_text():
    assert "&lt;script&gt;" in documents._markdown().render("<script>alert(1)</script>")


def test_strangers_are_asked_who_they_are(client: Client):
    assert client.get("/help/").status_code == 302
