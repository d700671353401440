"""A link that logs in once, made on the server: for when passwords are off and no identity server answers."""

from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from cohortsite.login import way_on

SALT = "login link"
# Seconds for which a link is good.
AGE = 600


def make(user: User) -> str:
    """Return the address of a link for `user`; it is good once, for ten minutes."""
    host = next((host for host in settings.ALLOWED_HOSTS if host and host[0] not in "*."), "localhost")
    path = reverse("login_link", args=[signing.dumps([user.pk, _last_login(user)], salt=SALT)])
    return f"{'https' if settings.HTTPS else 'http'}://{host}{path}"


def page(request: HttpRequest, token: str) -> HttpResponseBase:
    """Ask first: no look at the link uses it up. Then log in as by a password: a second factor stays."""
    user = _user_of(token)
    if user is None:
        said = ["This link was used already, or is older than ten minutes. Make another on the server:"]
        return way_on(request, 403, "Link is over", [*said, "manage.py login_link NAME"])
    if request.method != "POST":
        return TemplateResponse(request, "account/login_link.html", {"name": user.get_username()})
    by_link = "Logged in by a link that was made on the server."
    LogEntry.objects.log_actions(user.pk, [user], CHANGE, change_message=by_link, single_object=True)
    response: HttpResponseBase = perform_login(request, user)
    return response


def _user_of(token: str) -> User | None:
    try:
        pk, last_login = signing.loads(token, salt=SALT, max_age=AGE)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    user = User.objects.filter(pk=pk, is_active=True, is_staff=True).first()
    return user if user and _last_login(user) == last_login else None


def _last_login(user: User) -> str:
    """What a login changes, so that the link is over by then."""
    return user.last_login.isoformat() if user.last_login else ""
