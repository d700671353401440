"""Numbers in templates, for people and for drawings."""

import pytest

from cohortsite.templatetags.humanize_numbers import plain, thousands

pytestmark = pytest.mark.once


def test_numbers_for_people_and_for_drawings():
    assert (thousands(1234567), thousands(0)) == ("1,234,567", "0")
    assert (plain(1234.5), plain(0.004)) == ("1234.50", "0.00")
