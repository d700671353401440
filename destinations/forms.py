"""The forms of the admin: a destination, its pause, and a test request."""

from typing import Any, ClassVar

from django import forms
from unfold.widgets import (
    UnfoldAdminPasswordToggleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from destinations import try_out
from destinations.endpoint import Kind
from destinations.models import ANOTHER_HOST, SECRET_NAME, Destination
from destinations.partners.folder import Partner
from destinations.payloads import Operation
from destinations.presets import PRESETS
from destinations.secrets import SecretUnreadable
from destinations.templates import KNOWN
from destinations.try_out import TEST_USER

EXAMPLES = {
    "cohort_name": "Recent buyers",
    "cohort_id": "recent-buyers",
    "external_name": "[Amplitude] Recent buyers: recent-buyers",
    "list_id": "123",
    "job_id": "id-of-the-request",
    "source_label": "Amplitude",
    "integration_name": "Amplitude Cohort Sync",
    "integration_version": "1.0.0",
    "items": "the users of the batch",
    "session": "123456789012345, of a whole list in several requests",
    "sequence": "the number of this one, from 1",
    "is_last": "true or false",
    "total": "how many users the list has",
    "added": "those of a request who are added",
    "removed": "those who are removed",
    "user_id": "u1",
    "value": "true or false",
    "identifier_type": "email",
    "traits": "what goes along, as an object",
    "now": "2026-11-30T09:00:00Z",
    "now_unix": "1796029200",
    "now_ms": "1796029200000",
}


class DestinationForm(forms.ModelForm):  # type: ignore[type-arg]
    """The credential is written here and never shown: empty keeps what is stored."""

    credential = forms.CharField(
        required=False,
        label="Credential",
        widget=UnfoldAdminPasswordToggleWidget(attrs={"autocomplete": "new-password"}),
    )
    clear_credential = forms.BooleanField(
        required=False, label="Forget the stored credential", widget=UnfoldBooleanWidget()
    )
    new_secrets = forms.CharField(
        required=False,
        label="Named secrets",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    confirm_move = forms.BooleanField(
        required=False,
        label="Yes, this is another address",
        widget=UnfoldBooleanWidget(),
        help_text=(
            "Its syncs then hold nothing there: they start from the beginning, with a full run. Lists and "
            "properties at the old address stay as they are."
        ),
    )

    class Meta:
        model = Destination
        fields: ClassVar[tuple[str, ...]] = (*Destination.CONFIG_FIELDS, "credential")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["credential"] = ""
        self._fingerprint = self.instance.fingerprint if self.instance.pk else None
        self._stored = self.instance.credential
        self._stored_secrets = self.instance.secrets
        self._origins = self.instance.origins if self.instance.pk else set()
        self.fields["new_secrets"].help_text = _secrets_help(self.instance)
        state = "Set. Leave this empty to keep it." if self._stored else "Not set."
        self.fields["credential"].help_text = f"{state} Stored encrypted, shown nowhere."
        for field, names in KNOWN.items():
            if field in self.fields:
                listed = ", ".join(f"${name} ({EXAMPLES[name]})" for name in sorted(names))
                self.fields[field].help_text = f"{self.fields[field].help_text} Variables: {listed}."

    def clean_credential(self) -> Any:
        return self.cleaned_data["credential"] or self._stored

    def clean_new_secrets(self) -> dict[str, str]:
        return parse_secrets(self.cleaned_data["new_secrets"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("clear_credential"):
            cleaned["credential"] = ""
        if cleaned.get("new_secrets"):
            self.instance.secrets = self.instance.named_secrets.with_changes(cleaned["new_secrets"])
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        for name in self.instance.secrets_for_another_host(self._origins, self._held(), self._given()):
            self.add_error(name, ANOTHER_HOST)
        if self._fingerprint in (None, self.instance.fingerprint):
            return
        if not self.cleaned_data.get("confirm_move"):
            self.add_error(
                "confirm_move", "The address, the kind, a path or the account changes. Is that what you want?"
            )
        else:
            self.instance.accepted_fingerprint = self.instance.fingerprint

    def _given(self) -> set[str]:
        """Return the secrets that this form sets or forgets."""
        cleaned = self.cleaned_data
        credential = cleaned.get("clear_credential") or cleaned.get("credential") is not self._stored
        return ({"credential"} if credential else set()) | (
            {"new_secrets"} if cleaned.get("new_secrets") else set()
        )

    def _held(self) -> set[str]:
        """Return the secrets that were stored before this form."""
        secrets = self._stored_secrets
        return {name for name, held in (("credential", self._stored), ("new_secrets", secrets)) if held}

    def changed_columns(self) -> list[str]:
        """Return the model's fields that this form changes."""
        other = {
            "clear_credential": "credential",
            "confirm_move": "accepted_fingerprint",
            "new_secrets": "secrets",
        }
        changed = {other.get(name, name) for name in self.changed_data}
        columns = (*Destination.CONFIG_FIELDS, "credential", "secrets", "accepted_fingerprint")
        return [name for name in columns if name in changed]


def parse_secrets(text: str) -> dict[str, str]:
    """Return the secrets of a text with a line `name: secret` for each; an empty one forgets it."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, secret = line.partition(":")
        if not line.strip():
            continue
        if not colon or not SECRET_NAME.fullmatch(name.strip()):
            raise forms.ValidationError(f"Line {number} must be a name, a colon and the secret.")
        found[name.strip()] = secret.strip()
    return found


def _secrets_help(row: Destination) -> str:
    try:
        names = ", ".join(row.named_secrets.names)
    except SecretUnreadable:
        names = "cannot be read"
    stored = (
        f"Set: {names}. A line replaces one; without a secret behind its colon, it is forgotten."
        if names
        else ""
    )
    return f"One a line, as name: secret. Stands for $secret_NAME. Stored encrypted, shown nowhere. {stored}"


class GalleryForm(forms.Form):
    """What the gallery of partners shows."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "search"}),
    )
    keeps = forms.ChoiceField(
        label="What it keeps",
        required=False,
        choices=[("", "All"), ("list", "Lists of users"), ("property", "A property of each user")],
        widget=UnfoldAdminSelectWidget(),
    )
    name = forms.CharField(required=False, max_length=50, widget=forms.HiddenInput())
    title = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput())

    def matching(self) -> dict[str, Partner]:
        """Return the partners that fit, by slug."""
        values = self.cleaned_data if self.is_valid() else {}
        words, kind = str(values.get("q", "")).lower().split(), values.get("keeps")
        return {
            slug: partner
            for slug, partner in PRESETS.items()
            if (not kind or partner.fields.get("kind", "list") == kind)
            and all(word in f"{slug} {partner.label} {partner.hint}".lower() for word in words)
        }


class SideBySideForm(forms.Form):
    """Whom the page shows beside the templates."""

    user_id = forms.CharField(
        label="User id", initial="u1", max_length=1024, strip=False, widget=UnfoldAdminTextInputWidget()
    )
    cohort_name = forms.CharField(
        label="Cohort's name", initial="Recent buyers", max_length=200, widget=UnfoldAdminTextInputWidget()
    )
    cohort_key = forms.SlugField(
        label="Cohort's key", initial="recent-buyers", max_length=50, widget=UnfoldAdminTextInputWidget()
    )
    list_id = forms.CharField(
        label="List id", required=False, max_length=1024, widget=UnfoldAdminTextInputWidget()
    )

    prefix = "side"


class TestRequestForm(forms.Form):
    """Which request to show, or to send."""

    operation = forms.ChoiceField(label="Request", widget=UnfoldAdminSelectWidget())
    user_id = forms.CharField(
        label="Test user",
        initial=TEST_USER,
        max_length=1024,
        widget=UnfoldAdminTextInputWidget(),
        help_text="A user id that means nobody at the partner.",
    )
    list_id = forms.CharField(
        label="List id",
        required=False,
        max_length=1024,
        widget=UnfoldAdminTextInputWidget(),
        help_text="For adding, removing and reading: the id that a create call returned.",
    )

    def __init__(self, destination: Destination, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = {
            Operation.TEST: "The test call (it changes nothing)",
            Operation.READ: "The first page of a list's members (it changes nothing)",
            Operation.CREATE: "Create a list (it stays at the partner)",
            Operation.ADD: "Add the test user to a list",
            Operation.REMOVE: "Remove the test user from a list",
        }
        if destination.replaces_lists:
            labels[Operation.ADD] = "Replace a list by the test user alone"
        if destination.kind == Kind.PROPERTY:
            labels[Operation.READ] = "The first page of those who have the test cohort's property"
            labels[Operation.ADD] = "Set the test cohort's property of the test user to true"
            labels[Operation.REMOVE] = "Set the test cohort's property of the test user to false"
            del self.fields["list_id"]
        field = self.fields["operation"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(one.value, labels[one]) for one in try_out.operations_of(destination)]
