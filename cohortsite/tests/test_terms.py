"""Words of the glossary on pages: each is there, and tells what it means."""

import re
from pathlib import Path

import pytest
from django.template import Context, Template
from django.test import Client

from cohortsite.glossary import address_of, meanings
from cohortsite.help import rendered
from tests import world
from tests.test_docs import files

TERM = re.compile(r'{% term "([^"]+)"')


def shown(source: str, **known: str) -> str:
    return Template("{% load terms %}" + source).render(Context(known))


def used() -> dict[str, set[Path]]:
    """Return the words of all templates, and where each is."""
    found: dict[str, set[Path]] = {}
    for path in files():
        if path.suffix == ".html":
            for word in TERM.findall(path.read_text()):
                found.setdefault(word, set()).add(path)
    return found


def test_each_word_of_a_page_is_in_the_glossary_whose_row_its_link_leads_to():
    assert len(used()) > 15
    glossary = rendered("glossary")
    for word, paths in used().items():
        assert word in meanings(), paths
        assert f'id="{address_of(word).partition("#")[2]}"' in glossary, word


def test_a_word_says_what_it_means_as_plain_text():
    term = shown('{% term "identity" "Who it is" %}')
    assert ">Who it is</a>" in term and 'href="/help/glossary/#identity"' in term
    assert "its address and the subject there" in term and "*" not in term
    with pytest.raises(KeyError):
        shown('{% term "flux" %}')


def test_a_label_is_explained_if_the_glossary_has_it_and_is_text_in_any_case():
    assert 'aria-description="waiting for a person, because of a guard"' in shown(
        "{{ label|explained }}", label="Held"
    )
    assert shown("{{ label|explained }}", label="<b>Equal</b>") == "&lt;b&gt;Equal&lt;/b&gt;"


@pytest.mark.django_db
def test_the_overview_of_a_sync_explains_its_words(admin_client: Client):
    sync = world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    page = admin_client.get(sync.get_absolute_url()).content.decode()
    assert meanings()["external name"].replace("'", "&#x27;") in page
    assert meanings()["not taken"] in page
