"""Tags: what is one, how they are written and found."""

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from cohorts.models import Cohort
from cohorts.tags import TagsField, all_tags, check_tags, tagged


@pytest.mark.parametrize(
    "value",
    ["spring", [1], ["Spring"], ["a b"], ["-a"], ["a" * 41], ["a", "a"], ['a"'], [str(n) for n in range(21)]],
)
def test_what_is_no_list_of_tags_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        check_tags(value)


def test_people_write_them_with_commas_or_blanks() -> None:
    field = TagsField(required=False)
    assert field.clean(" Spring, paid-media  spring\n2026.q1") == ["spring", "paid-media", "2026.q1"]
    assert field.clean("") == []
    assert field.prepare_value(["a", "b"]) == "a, b"
    assert not field.has_changed(["a"], "a") and field.has_changed(["a"], "b")


@pytest.mark.django_db
def test_a_tag_is_found_whole() -> None:
    for key, tags in {"a": ["spring", "x"], "b": ["spring-2"], "c": []}.items():
        Cohort.objects.create(key=key, name=key, tags=tags)
    assert [one.key for one in Cohort.objects.filter(tagged("spring"))] == ["a"]
    assert not Cohort.objects.filter(tagged('"')).exists()
    assert all_tags(Cohort.objects.values_list("tags", flat=True)) == ["spring", "spring-2", "x"]


@pytest.mark.django_db
def test_the_list_is_filtered_and_searched_by_them(admin_client: Client) -> None:
    Cohort.objects.create(key="a", name="Alpha", tags=["spring"], owner="ada", description="of the campaign")
    Cohort.objects.create(key="b", name="Beta")
    url = "/admin/cohorts/cohort/"
    for query in ("tag=spring", "owner=ada", "q=spring", "q=ada", "q=campaign"):
        page = admin_client.get(f"{url}?{query}").content.decode()
        assert "Alpha" in page and ">Beta<" not in page, query
    rest = "/api/v1/cohorts"
    for query in ("tag=spring", "owner=ada"):
        assert [one["key"] for one in admin_client.get(f"{rest}?{query}").json()["results"]] == ["a"]
    for query in ("search=ALPHA", "search=spring", "search=campaign+ada", "search=alpha&owner=ada"):
        assert [one["key"] for one in admin_client.get(f"{rest}?{query}").json()["results"]] == ["a"], query
    for query in ("search=alpha+beta", "search=%25", "search=beta&owner=ada"):
        assert admin_client.get(f"{rest}?{query}").json()["results"] == [], query
    for query in ("tag=%22", f"search={'a+' * 101}", "search=%00"):
        assert admin_client.get(f"{rest}?{query}").status_code == 400, query
    # A view that searches nothing has no such parameter.
    calls = admin_client.get("/api/schema/?format=json").json()["paths"]
    searched = [
        path for path, call in calls.items() for one in call.get("get", {}).get("parameters", ())
        if one["name"] == "search"
    ]  # fmt: skip
    assert searched == ["/api/v1/cohorts/"]
