import html
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from destinations.forms import EXAMPLES
from destinations.models import Destination
from destinations.presets import PRESETS
from destinations.templates import KNOWN
from destinations.tests.partner import answer, partner, says

pytestmark = pytest.mark.django_db
ADD = reverse("admin:destinations_destination_add")
LIST = reverse("admin:destinations_destination_changelist")
KEY = "s3cret-key-0123"


@pytest.fixture
def destination() -> Destination:
    row = Destination.from_preset("amplitude-list")
    row.name, row.base_url, row.credential = "acme", "https://partner.example", KEY
    row.save()
    return row


def change_url(destination: Destination, page: str = "change") -> str:
    if page in ("pause", "pause-until", "resume"):
        return reverse("admin:destinations_destination_do", args=[destination.pk, page])
    return reverse(f"admin:destinations_destination_{page}", args=[destination.pk])


class FormReader(HTMLParser):
    """Collects what a browser would send of a page's form: its fields as they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[str, str] = {}
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag in ("select", "textarea"):
            self.inside, self.data[name] = name, ""
        elif tag == "option" and "selected" in given:
            self.data[self.inside] = given.get("value") or ""
        elif tag == "input" and name and not name.startswith("_") and name != "csrfmiddlewaretoken":
            if given.get("type") != "checkbox":
                self.data[name] = given.get("value") or ""
            elif "checked" in given:
                self.data[name] = "on"

    def handle_data(self, data: str) -> None:
        if self.inside and self.lasttag == "textarea":
            self.data[self.inside] += data.removeprefix("\n").replace("\n", "\r\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("select", "textarea"):
            self.inside = ""


def form_data(page: str) -> dict[str, str]:
    reader = FormReader()
    reader.feed(page)
    return reader.data


def test_adding_begins_with_a_preset(admin_client):
    page = admin_client.get(ADD, {"name": "acme"}).content.decode()
    for name, preset in PRESETS.items():
        assert f"?preset={name}&amp;name=acme" in page
        assert preset.label in page


def test_an_unknown_preset_asks_again(admin_client):
    page = admin_client.get(ADD, {"preset": "nope"}).content.decode()
    assert 'href="?preset=custom"' in page


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_a_form_that_saves_as_it_stands(admin_client, preset):
    data = form_data(admin_client.get(ADD, {"preset": preset}).content.decode())
    partner = PRESETS[preset]
    data |= {"name": "acme", "base_url": "https://partner.example"}
    data |= {"new_secrets": "".join(f"{name}: the-{name}\n" for name in partner.secrets)}
    entered = {"credential": KEY, "auth_username": "user", "given_lists": '{"b": "55"}'}
    data |= {name: value for name, value in entered.items() if name in partner.needs}
    response = admin_client.post(ADD + f"?preset={preset}", data)
    assert response.status_code == 302, re.findall(r"errors?[^>]*>[^<]+", response.content.decode())
    row = Destination.objects.get()
    for name, value in PRESETS[preset].fields.items():
        if name != "base_url":
            assert getattr(row, name) == value, name
    assert row.credential.reveal() == (KEY if "credential" in partner.needs else "")
    assert set(row.endpoint().secrets) == set(partner.secrets)


def test_the_form_lists_variables_with_examples(admin_client):
    page = admin_client.get(ADD, {"preset": "amplitude-list"}).content.decode()
    assert "$cohort_name (Recent buyers)" in page
    assert "$items (the users of the batch)" in page


def test_the_credential_is_shown_nowhere_and_kept_when_left_empty(admin_client, destination):
    page = admin_client.get(change_url(destination)).content.decode()
    assert KEY not in page and destination.credential.token not in page
    assert "Set. Leave this empty to keep it." in page
    data = form_data(page) | {"title": "Acme"}
    assert admin_client.post(change_url(destination), data).status_code == 302
    row = Destination.objects.get()
    assert (row.title, row.credential) == ("Acme", destination.credential)
    assert KEY not in admin_client.get(LIST).content.decode()


def test_the_credential_is_replaced_and_cleared(admin_client, destination):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    admin_client.post(change_url(destination), data | {"credential": "rotated"})
    assert Destination.objects.get().credential.reveal() == "rotated"
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    refused = admin_client.post(change_url(destination), data | {"clear_credential": "on"})
    assert "needs a credential" in refused.content.decode()
    cleared = {"clear_credential": "on", "auth_mode": "none", "confirm_move": "on"}
    admin_client.post(change_url(destination), data | cleared)
    assert not Destination.objects.get().credential


def test_saving_the_form_writes_only_what_was_changed(admin_client, destination):
    """A pause, or a colleague's change, that came while the form was open stands."""
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    Destination.objects.pause(destination.pk, "the partner said 401")
    admin_client.post(change_url(destination), data | {"title": "Acme"})
    row = Destination.objects.get()
    assert (row.title, row.pause_reason) == ("Acme", "the partner said 401")
    assert "title" in LogEntry.objects.latest("pk").change_message.lower()


def test_an_unchanged_form_changes_nothing(admin_client, destination):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    before = Destination.objects.values().get()
    assert admin_client.post(change_url(destination), data).status_code == 302
    assert Destination.objects.values().get() == before


def test_changing_the_address_asks_first(admin_client, destination):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    assert "confirm_move" not in data
    data["base_url"] = "https://other.example"
    asked = admin_client.post(change_url(destination), data)
    assert "Is that what you want?" in asked.content.decode()
    assert Destination.objects.get().base_url == "https://partner.example"
    admin_client.post(change_url(destination), data | {"confirm_move": "on", "credential": KEY})
    assert Destination.objects.get().base_url == "https://other.example"


@pytest.mark.parametrize(
    "address", ["https://other.example", "http://partner.example", "https://partner.example:8443"]
)
def test_another_host_asks_for_the_credential_again(admin_client, destination, address):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    data |= {"base_url": address, "confirm_move": "on"}
    assert "enter this again" in admin_client.post(change_url(destination), data).content.decode()
    # Nor by way of a mode that needs none, under which the stored one would stay.
    data["auth_mode"] = "none"
    assert "enter this again" in admin_client.post(change_url(destination), data).content.decode()
    assert Destination.objects.get().base_url == "https://partner.example"
    admin_client.post(change_url(destination), data | {"clear_credential": "on"})
    moved = Destination.objects.get()
    assert (moved.base_url, bool(moved.credential)) == (address, False)


def test_named_secrets_are_entered_shown_by_name_and_asked_for_at_another_host(admin_client, destination):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    admin_client.post(change_url(destination), data | {"new_secrets": "second: s3cond-secret\nthird: 3"})
    assert Destination.objects.get().endpoint().secrets == {"second": "s3cond-secret", "third": "3"}
    page = admin_client.get(change_url(destination)).content.decode()
    assert "Set: second, third." in page and "s3cond-secret" not in page
    admin_client.post(change_url(destination), form_data(page) | {"new_secrets": "third:"})
    assert Destination.objects.get().endpoint().secrets == {"second": "s3cond-secret"}
    move = data | {"base_url": "https://other.example", "confirm_move": "on", "credential": KEY}
    assert "enter this again" in admin_client.post(change_url(destination), move).content.decode()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("base_url", "https://me:pw@partner.example", "credential"),
        ("base_url", "file:///etc/passwd", "https://"),
        ("base_url", "https://partner.example:0", "Port 0"),
        ("batch_size", "0", "greater than or equal to 1"),
        ("add_template", '{"ids": "$nope"}', "Unknown variable $nope"),
        ("rules", '[{"status": 1}]', "Rule 1"),
        ("rules", "{", "valid JSON"),
        ("extra_headers", '{"Host": "x"}', "set by the program itself"),
    ],
)
def test_bad_input_is_reported_on_the_form_and_changes_nothing(
    admin_client, destination, field, value, problem
):
    data = form_data(admin_client.get(change_url(destination)).content.decode())
    before = Destination.objects.values().get()
    response = admin_client.post(change_url(destination), data | {field: value, "confirm_move": "on"})
    assert response.status_code == 200
    assert problem in response.content.decode()
    assert Destination.objects.values().get() == before


def test_the_list_shows_what_a_person_looks_for(admin_client, destination):
    Destination.objects.pause(destination.pk, "why")
    page = admin_client.get(LIST).content.decode()
    for text in ("acme", "List", "partner.example", "Paused"):
        assert text in page
    assert "acme" not in re.sub(
        r"<title>.*", "", admin_client.get(LIST, {"state": "sending"}).content.decode()
    )
    assert "acme" in admin_client.get(LIST, {"state": "paused"}).content.decode()


def test_pause_and_resume_ask_and_are_logged_with_a_name(admin_client, destination):
    assert "Why" in admin_client.get(change_url(destination, "pause")).content.decode()
    assert not Destination.objects.get().is_paused, "nothing happens on GET"
    admin_client.post(change_url(destination, "pause"), {"text": "they move"})
    assert Destination.objects.get().pause_reason == "they move (admin)"
    admin_client.get(change_url(destination, "resume"))
    assert Destination.objects.get().is_paused
    response = admin_client.post(change_url(destination, "resume"))
    assert response.url == destination.get_absolute_url()
    assert not Destination.objects.get().is_paused
    log = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
    resumed = "Resume: acme is resumed: its syncs go on at their next turn."
    assert log == ["Pause: acme is paused: they move", resumed]


def test_a_pause_may_have_an_end_that_is_a_time_to_come(admin_client, destination):
    url = change_url(destination, "pause-until")
    tomorrow = timezone.localtime() + timedelta(days=1)
    assert f"{tomorrow:%Y-%m-%d} 09:00" in admin_client.get(url).content.decode()
    for wrong, said in (("soon", "is no time"), ("2020-01-01 09:00", "This time is over")):
        assert said in admin_client.post(url, {"text": wrong}, follow=True).content.decode()
        assert not Destination.objects.get().is_paused
    admin_client.post(url, {"text": "2100-05-01 09:00"})
    row = Destination.objects.get()
    assert row.paused_until == datetime(2100, 5, 1, 9, tzinfo=UTC)
    assert row.pause_reason == "Until 2100-05-01 09:00 UTC (admin)"
    assert Destination.objects.resume_over(row.paused_until - timedelta(seconds=1)) == 0
    assert Destination.objects.resume_over(row.paused_until) == 1
    row.refresh_from_db()
    assert (row.is_paused, row.pause_reason, row.paused_until) == (False, "", None)


@pytest.mark.parametrize(("action", "paused"), [("pause_selected", True), ("resume_selected", False)])
def test_pause_and_resume_from_the_list(admin_client, destination, action, paused):
    if not paused:
        Destination.objects.pause(destination.pk, "why")
    chosen = {"action": action, "_selected_action": [destination.pk]}
    asked = admin_client.post(LIST, chosen).content.decode()
    assert "The syncs of these 1" in asked and Destination.objects.get().is_paused is not paused
    admin_client.post(LIST, chosen | {"confirmed": "1", "reason": "why"})
    assert Destination.objects.get().is_paused is paused


def test_each_variable_of_a_template_has_an_example_for_the_form():
    assert set().union(*KNOWN.values()) <= EXAMPLES.keys()


def test_a_test_request_is_shown_and_sent_only_on_demand(admin_client, destination):
    with partner(says(answer(body=b'{"listId": 77}'))) as server:
        Destination.objects.update(base_url=server.url)
        url = change_url(destination, "test_request")
        page = admin_client.get(url).content.decode()
        assert "POST /lists HTTP/1.1" in page and "not sent" in page
        values = {"operation": "add", "user_id": "u-test", "list_id": "9"}
        page = admin_client.post(url, values | {"show": "1"}).content.decode()
        assert "POST /lists/9/add HTTP/1.1" in page and "u-test" in page
        assert server.requests == []
        values["operation"] = "create"
        page = admin_client.post(url, values | {"send": "1"}, follow=True).content.decode()
        assert len(server.requests) == 1
    assert "Accepted; the list&#x27;s id is 77" in page or "Accepted; the list's id is 77" in page
    assert KEY not in page and "Basic •••" in page
    assert LogEntry.objects.latest("pk").change_message == "Sent a test request: create."


def test_the_test_call_and_the_read_call_can_be_sent_from_the_page(admin_client, destination):
    with partner(says(answer(body=b'{"members": ["u1", "u2"]}'))) as server:
        Destination.objects.update(
            base_url=server.url,
            test_path="/me",
            test_proves="The key may write.",
            read_path="/lists/$list_id/members",
            read_places={"rows": "members"},
        )
        url = change_url(destination, "test_request")
        assert "GET /me HTTP/1.1" in admin_client.get(url).content.decode()

        def send(operation):
            sent = {"user_id": "u", "list_id": "9", "send": "1", "operation": operation}
            return admin_client.post(url, sent, follow=True).content.decode()

        assert "The key may write." in send("test")
        page = " ".join(send("read").split())
        assert "2 members on the first page" in page
        assert [request.split(b" ")[1] for request in server.requests] == [b"/me", b"/lists/9/members"]


def test_a_reload_shows_the_reply_and_sends_nothing_again(admin_client, client, destination):
    with partner(says(answer(body=b'{"listId": 77}'))) as server:
        Destination.objects.update(base_url=server.url)
        url = change_url(destination, "test_request")
        values = {"operation": "create", "user_id": "u-test", "list_id": "", "send": "1"}
        reply = admin_client.post(f"{url}?then=/admin/", values)
        assert (reply.status_code, reply.url) == (302, f"{url}?then=%2Fadmin%2F&sent=1")
        for _ in range(2):
            page = admin_client.get(reply.url).content.decode()
            assert "id is 77" in page and "u-test" in page
        assert len(server.requests) == 1
        # It is of this person and of this destination.
        other = Destination.objects.get(pk=destination.pk)
        other.pk, other.name = None, "other"
        other.save()
        for address in (f"{change_url(other, 'test_request')}?sent=1", url):
            assert "id is 77" not in admin_client.get(address).content.decode()
        client.force_login(User.objects.create_superuser("another"))
        assert "id is 77" not in client.get(f"{url}?sent=1").content.decode()
        assert len(server.requests) == 1


def test_a_test_request_says_in_words_what_is_wrong(admin_client, destination):
    reply = answer("401 Unauthorized", b'{"error": {"code": "bad_key", "message": "No such key"}}')
    with partner(says(reply)) as server:
        Destination.objects.update(base_url=server.url)
        values = {"operation": "add", "user_id": "u", "list_id": "9", "send": "1"}
        page = admin_client.post(
            change_url(destination, "test_request"), values, follow=True
        ).content.decode()
    assert "does not accept the credential" in page
    assert "No such key" in page
    assert "Correct the credential" in page


def test_a_test_request_proposes_the_rule_for_a_reply_that_says_otherwise(admin_client, destination):
    reply = answer(body=b'{"errors": [{"index": 0, "why": "unknown"}]}')
    with partner(says(reply)) as server:
        Destination.objects.update(base_url=server.url)
        data = {"operation": "add", "user_id": "u1", "list_id": "7", "send": "1"}
        page = admin_client.post(change_url(destination, "test_request"), data, follow=True).content.decode()
    assert "tell this destination how to read it" in page
    assert (
        "&quot;users_place&quot;: &quot;errors&quot;" in page and "&quot;by&quot;: &quot;index&quot;" in page
    )


def test_a_test_request_without_a_list_id_says_so(admin_client, destination):
    values = {"operation": "add", "user_id": "u", "list_id": "", "send": "1"}
    page = admin_client.post(change_url(destination, "test_request"), values).content.decode()
    assert "create the list first" in page


def test_an_unreadable_credential_is_reported_on_the_test_page(admin_client, destination, settings):
    from cryptography.fernet import Fernet

    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    for page in ("test_request", "change"):
        response = admin_client.get(change_url(destination, page))
        assert response.status_code == 200
    assert "FIELD_KEYS" in admin_client.get(change_url(destination, "test_request")).content.decode()


@pytest.mark.parametrize("page", ["change", "test_request", "pause", "resume"])
@pytest.mark.parametrize("pk", ["999999", "abc"])
def test_a_destination_that_is_not_there_is_no_server_error(admin_client, page, pk):
    url = change_url(Destination(pk=1), page).replace("/1/", f"/{pk}/")
    data = {"text": "why", "send": "1"}
    assert admin_client.get(url).status_code < 500
    assert admin_client.post(url, data).status_code < 500


def test_a_viewer_may_look_and_neither_send_nor_pause(client, destination, django_user_model):
    from django.contrib.auth.models import Permission

    viewer = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_destination"))
    client.force_login(viewer)
    assert client.get(change_url(destination)).headers["Location"] == destination.get_absolute_url()
    for page in ("overview", "settings"):
        reply = client.get(change_url(destination, page))
        assert reply.status_code == 200
        assert KEY not in reply.content.decode()
        assert destination.credential.token not in reply.content.decode()
    for name in ("test_request", "pause", "resume"):
        assert client.post(change_url(destination, name), {"text": "why"}).status_code == 403
    assert client.get(ADD).status_code == 403, "said, and not sent elsewhere without a word"


def test_a_new_destination_leads_to_its_test_request(admin_client):
    given = form_data(admin_client.get(f"{ADD}?preset=amplitude-list").content.decode())
    reply = admin_client.post(
        ADD, given | {"name": "acme", "base_url": "https://partner.example", "credential": KEY}
    )
    assert reply.status_code == 302, reply.context["adminform"].form.errors
    assert reply.url == change_url(Destination.objects.get(), "test_request")


def test_the_gallery_is_searched_by_words_and_by_what_a_partner_keeps(admin_client):
    page = admin_client.get(ADD, {"q": "braze", "name": "acme"}).content.decode()
    assert "?preset=braze-attributes&amp;name=acme" in page and "?preset=klaviyo-list" not in page
    page = admin_client.get(ADD, {"q": "braze", "keeps": "list"}).content.decode()
    assert "?preset=braze-cohorts" in page and "?preset=braze-attributes" not in page
    page = admin_client.get(ADD, {"q": "no such partner"}).content.decode()
    assert "No partner is called so" in page


def test_only_what_a_partner_needs_is_asked_and_the_rest_is_advanced(admin_client):
    page = admin_client.get(ADD, {"preset": "klaviyo-list"}).content.decode()
    needed, _, advanced = page.partition("Advanced: where")
    assert "What Klaviyo list needs" in needed
    assert 'name="credential"' in needed and 'name="base_url"' in needed and 'name="add_template"' in advanced
    own = admin_client.get(ADD, {"preset": "custom"}).content.decode()
    assert "Advanced: requests" not in own
    assert "Advanced: pace" in own


def test_what_differs_from_the_partners_folder_is_said(admin_client):
    row = Destination.from_preset("klaviyo-list")
    row.name, row.credential, row.rate = "k", KEY, 9.0
    row.save()
    page = admin_client.get(change_url(row)).content.decode()
    assert (
        "Differs from the partner&#x27;s folder: rate." in page
        or "Differs from the partner's folder: rate." in page
    )


SIDE = {
    "side-user_id": "u/1",
    "side-cohort_name": "Recent buyers",
    "side-cohort_key": "buyers",
    "side-list_id": "9",
}


def side_by_side(client, destination=None, **fields):
    page = client.get(change_url(destination) if destination else f"{ADD}?preset=amplitude-list")
    entered = form_data(page.content.decode()) | {"side_by_side_of": destination.pk if destination else ""}
    entered |= SIDE | fields
    reply = client.post(reverse("admin:destinations_side_by_side"), entered)
    assert reply.status_code == 200
    return html.unescape(reply.content.decode())


def test_a_form_shows_input_template_and_output_before_it_is_saved(admin_client):
    page = side_by_side(
        admin_client,
        name="new",
        base_url="https://new.example",
        add_template='{"who": "$items", "k": "$secret_k"}',
    )
    assert '{"who":["u/1"],"k":"•••"}' in page and "POST /lists/9/add HTTP/1.1" in page
    assert not Destination.objects.filter(name="new").exists()


def test_a_saved_destination_shows_what_the_change_would_send_and_no_secret(admin_client, destination):
    page = side_by_side(admin_client, destination, add_template='{"ids": "$items"}')
    assert '{"ids":["u/1"]}' in page and KEY not in page
    assert "ids" not in Destination.objects.get(pk=destination.pk).add_template


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"add_template": '{"userId": "$items"}'}, '"$items" is the whole batch'),
        ({"add_template": "{"}, "Not JSON"),
        ({"add_template": '{"a": "$items", "x": "${user_id|sha265}"}'}, "did you mean 'sha256'"),
        ({"add_path": "/lists/$lst_id"}, "Did you mean $list_id"),
        ({"methods": "{"}, "Enter a valid JSON"),
        ({"side-cohort_key": ""}, "This field is required"),
    ],
)
def test_what_cannot_be_sent_is_named_while_it_is_typed(admin_client, destination, fields, words):
    assert words in side_by_side(admin_client, destination, **fields)


def test_who_may_only_look_sees_no_side_by_side(client, destination, django_user_model):
    viewer = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)
    assert client.post(reverse("admin:destinations_side_by_side"), SIDE).status_code == 403


def test_words_that_stand_for_ones_own_names_are_asked_for_until_they_are_replaced(admin_client):
    url = reverse("admin:destinations_destination_add") + "?preset=mailchimp-segment"
    form = admin_client.get(url).content.decode()
    assert "id in place of AUDIENCE in the paths" in form
    given = form_data(form) | {"name": "mail", "base_url": "https://us1.example.com", "credential": "k"}
    saved = admin_client.post(url, given, follow=True).content.decode()
    assert "put your own name for AUDIENCE" in saved
    mail = Destination.objects.get(name="mail")
    assert "put your own name for AUDIENCE" in admin_client.get(mail.get_absolute_url()).content.decode()
    for name in ("create_path", "add_path", "remove_path", "read_path"):
        setattr(mail, name, getattr(mail, name).replace("AUDIENCE", "a1b2"))
    mail.save()
    assert "put your own name" not in admin_client.get(mail.get_absolute_url()).content.decode()


@pytest.mark.parametrize("slug", [slug for slug, partner in PRESETS.items() if "in place of" in partner.hint])
def test_each_word_in_capitals_that_a_hint_names_is_found_where_it_stands(slug):
    named = re.findall(r"(?<= of )[A-Z]{3,}|(?<= and )[A-Z]{3,}", PRESETS[slug].hint)
    assert set(PRESETS[slug].stand_ins(PRESETS[slug].fields)) == set(named)
