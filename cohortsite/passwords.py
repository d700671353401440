"""What ends with a password: the API tokens of its owner."""

from typing import Any

from django.utils import timezone

from cohortsite.models import ApiToken


class EndsTokens:
    """Stands among the password validators, whom Django tells when a password was changed.

    Not when it was only hashed anew at a login: who logs in after an update keeps their tokens.
    """

    def validate(self, password: str, user: Any = None) -> None:
        """Any password will do: the other validators judge it."""

    def password_changed(self, password: str, user: Any = None) -> None:
        if user is not None and user.pk:
            ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())

    def get_help_text(self) -> str:
        return "Your API tokens end when your password is changed."
