"""Forms of the project itself: personal API tokens, logging in, setting up a second factor."""

from datetime import timedelta
from typing import Any, ClassVar

from allauth.account.adapter import get_adapter
from allauth.account.forms import LoginForm as BaseLoginForm
from allauth.core import context
from allauth.mfa.totp.forms import ActivateTOTPForm as BaseActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from cohortsite import tokens
from cohortsite.models import ApiToken
from destinations.secrets import Secret

DAYS = {"30": "30 days", "90": "90 days", str(tokens.DAYS): "A year", "": "It does not expire"}


class ApiTokenForm(forms.ModelForm):  # type: ignore[type-arg]
    days = forms.ChoiceField(
        label="Expires after",
        choices=list(DAYS.items()),
        initial=str(tokens.DAYS),
        help_text="The overview says so two weeks before, if it is in use.",
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )

    class Meta:
        model = ApiToken
        fields: ClassVar[tuple[str, ...]] = ("name", "scope")
        widgets: ClassVar[dict[str, Any]] = {
            "name": UnfoldAdminTextInputWidget(),
            "scope": UnfoldAdminSelectWidget(),
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("Give one line of text.")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        days = cleaned.get("days")
        cleaned["expires_at"] = timezone.now() + timedelta(days=int(days)) if days else None
        return cleaned


class LoginForm(BaseLoginForm):
    """Only who may use the admin gets a session, and who has an identity elsewhere gets it there: who was
    taken out of its groups must not come in by a password."""

    def clean(self) -> dict[str, Any]:
        if not settings.PASSWORD_LOGIN:
            raise get_adapter().validation_error("no_passwords")
        cleaned: dict[str, Any] = super().clean()
        if self.user and not self.user.is_staff:
            raise get_adapter().validation_error("not_staff")
        if self.user and settings.OIDC_SERVER_URL and SocialAccount.objects.filter(user=self.user).exists():
            raise get_adapter().validation_error("by_identity")
        return cleaned


class ActivateTOTPForm(BaseActivateTOTPForm):
    """The new key waits in the session for its first code: sealed, since sessions are in the database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        session = context.request.session
        if sealed := session.get(SECRET_SESSION_KEY):
            session[SECRET_SESSION_KEY] = Secret(sealed).reveal()
        super().__init__(*args, **kwargs)
        session[SECRET_SESSION_KEY] = Secret.seal(self.secret).token
