"""Of allauth's pages those that we use: no sign-up, no e-mail addresses. And ours beside them."""

from allauth.account import views as account
from allauth.mfa.base import views as factor
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from django.conf import settings
from django.urls import path, re_path
from django.views.decorators.http import require_POST

from cohortsite import login_link
from cohortsite.login import in_admin, ways_in

urlpatterns = [
    path("login/", in_admin(account.login, "Log in", ways_in), name="account_login"),
    # Gives up a login that waits for its code.
    path("logout/", require_POST(account.logout), name="account_logout"),
    path("link/<str:token>/", in_admin(login_link.page, "Log in by a link"), name="login_link"),
    path("inactive/", in_admin(account.account_inactive, "Account is off"), name="account_inactive"),
    path("confirm/", in_admin(account.reauthenticate, "Confirm"), name="account_reauthenticate"),
    path("two-factor/", in_admin(factor.index, "Two-factor login"), name="mfa_index"),
    path("two-factor/code/", in_admin(factor.authenticate, "Enter the code"), name="mfa_authenticate"),
    path("two-factor/confirm/", in_admin(factor.reauthenticate, "Confirm"), name="mfa_reauthenticate"),
    path("two-factor/on/", in_admin(totp.activate_totp, "Set up two-factor login"), name="mfa_activate_totp"),
    path(
        "two-factor/off/",
        in_admin(totp.deactivate_totp, "Switch two-factor login off"),
        name="mfa_deactivate_totp",
    ),
    path(
        "two-factor/codes/",
        in_admin(codes.view_recovery_codes, "Recovery codes"),
        name="mfa_view_recovery_codes",
    ),
    path(
        "two-factor/codes/new/",
        in_admin(codes.generate_recovery_codes, "New recovery codes"),
        name="mfa_generate_recovery_codes",
    ),
]
if settings.OIDC_SERVER_URL:
    from cohortsite import oidc

    urlpatterns += [
        path("oidc/", oidc.login, name="oidc_login"),
        # allauth asks for the address by this name, and for the server by its own.
        path(
            "oidc/callback/",
            oidc.callback,
            {"provider_id": settings.OIDC_SERVER_URL},
            name="openid_connect_callback",
        ),
    ]
if settings.PASSWORD_RESET:
    urlpatterns += [
        path(
            "password/", in_admin(account.password_reset, "Reset the password"), name="account_reset_password"
        ),
        path(
            "password/sent/",
            in_admin(account.password_reset_done, "Look into your mail"),
            name="account_reset_password_done",
        ),
        re_path(
            r"^password/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
            in_admin(account.password_reset_from_key, "Choose a new password"),
            name="account_reset_password_from_key",
        ),
        path(
            "password/done/",
            in_admin(account.password_reset_from_key_done, "Password changed"),
            name="account_reset_password_from_key_done",
        ),
    ]
