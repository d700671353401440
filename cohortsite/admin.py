"""Pages of the project itself: personal API tokens, users and groups."""

from typing import Any

import allauth.account.admin
import allauth.mfa.admin
import allauth.socialaccount.admin  # noqa: F401  (they register models, which are unregistered below)
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from cohortsite import granting, oidc, proposal_pages, second_factor, silence, silence_panel, tokens
from cohortsite.forms import ApiTokenForm
from cohortsite.models import ApiToken
from pagekit.actions import Action, ActionsAdmin, Page, Refused

__all__ = ["proposal_pages", "silence_panel"]  # shown on others' pages


def is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)


admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.unregister(Authenticator)
admin.site.unregister(EmailAddress)
admin.site.unregister([SocialAccount, SocialApp, SocialToken])


def _remove_factor(user: User, by: str) -> str:
    if not second_factor.remove(user):
        raise Refused("There was none any more.")
    return f"{user} logs in by password alone from now on."


def _disconnect(user: User, by: str) -> str:
    if not oidc.disconnect(user):
        raise Refused("There was none any more.")
    return f"{user} belongs to no identity any more."


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ActionsAdmin):  # type: ignore[type-arg]
    row_actions = (
        Action(
            "remove-second-factor",
            "Remove second factor",
            "phonelink_erase",
            _remove_factor,
            second_factor.is_on,
            question="Remove the second factor?",
            consequence="For somebody who has lost both app and recovery codes. Their password alone "
            "opens the account then, until they set it up again. Make sure that it is really they who ask.",
            permission="auth.change_user",
            variant="danger",
        ),
        Action(
            "disconnect-identity",
            "Disconnect identity",
            "link_off",
            _disconnect,
            lambda user: oidc.identity_of(user) is not None,
            question="Disconnect the identity?",
            consequence="For when the identity server was replaced, or the account is to be another "
            "person's. The account stays, with its roles and its history. Whoever logs in next with its "
            "e-mail address, verified by the identity server, has it.",
            permission="auth.change_user",
            variant="danger",
        ),
    )
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    # Roles are the groups; a user's own permissions stay possible, in a field that narrows as one types.
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    list_display = (
        "username",
        "first_name",
        "last_name",
        "is_staff",
        "is_active",
        "last_login",
        "two_factor",
    )
    readonly_fields = ("second_factor", "identity")
    fieldsets = (
        *(DjangoUserAdmin.fieldsets or ()),
        ("How they log in", {"fields": ("identity", "second_factor")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        ("Role", {"fields": ("groups",)}),
    )

    def may_do(self, request: HttpRequest, thing: Action | Page, row: User) -> bool:
        """For one's own the password is asked, at the pages of the second factor: no session is enough."""
        return row.pk != request.user.pk and self.has_change_permission(request, row)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whoever may do more is out of reach: a new password for them would be theirs to log in with."""
        return super().has_change_permission(request, obj) and (
            obj is None or granting.may_manage(request.user, obj)
        )

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (
            obj is None or granting.may_manage(request.user, obj)
        )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Only a superuser makes one."""
        return self.readonly_fields if is_superuser(request) else (*self.readonly_fields, "is_superuser")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "groups":
            options["queryset"] = granting.groups_of(request.user)
        elif db_field.name == "user_permissions":
            options["queryset"] = granting.permissions_of(request.user)
        return super().formfield_for_manytomany(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Who is made here is to log in here."""
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        factors = Authenticator.objects.filter(user=OuterRef("pk"), type=Authenticator.Type.TOTP)
        found: QuerySet[User] = super().get_queryset(request).annotate(factor=Exists(factors))
        return found

    @display(description="Two-factor", boolean=True)
    def two_factor(self, user: User) -> bool:
        return bool(vars(user)["factor"])

    @admin.display(description="Identity")
    def identity(self, user: User) -> str:
        found = oidc.identity_of(user)
        if found is None:
            return "None: a password."
        groups = ", ".join(found.extra_data.get("groups", [])) or "none"
        return f"{found.uid} at {found.provider}. Groups at the last login: {groups}. Roles follow them."

    @admin.display(description="Second factor")
    def second_factor(self, user: User) -> str:
        state = "On" if user.pk and second_factor.is_on(user) else "Off"
        return f"{state}. Each person sets it up for themselves, in the menu at their name."


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """A role gives no more than whoever changes it has."""

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._in_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self._in_reach(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **options: Any) -> Any:
        if db_field.name == "permissions":
            options["queryset"] = granting.permissions_of(request.user)
        return super().formfield_for_manytomany(db_field, request, **options)

    def _in_reach(self, request: HttpRequest, group: Group | None) -> bool:
        return group is None or granting.groups_of(request.user).filter(pk=group.pk).exists()


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Everybody who may log in makes, sees and revokes their own; who may change users sees them all."""

    form = ApiTokenForm
    list_display = ("name", "prefix", "owner", "scope_name", "state", "last_used_at", "expires_at")
    list_display_links = None
    actions = ("revoke_selected",)
    search_fields = ("name", "prefix", "user__username")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return obj is None or obj.user_id == request.user.pk or self._sees_all(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """A token is made and revoked, never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """A revoked token stays listed: who had which is a question for later, too."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        found: QuerySet[ApiToken] = super().get_queryset(request).select_related("user")
        return found if self._sees_all(request) else found.filter(user__username=request.user.get_username())

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for a name and an expiry; the reply to the POST is the only place that shows the token."""
        form = ApiTokenForm(request.POST or None)
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form}
        if request.method == "POST" and form.is_valid():
            stored, text = tokens.create(
                request.user,
                form.cleaned_data["name"],
                scope=form.cleaned_data["scope"],
                expires_at=form.cleaned_data["expires_at"],
            )
            self.log_addition(request, stored, "Made.")
            context |= {"title": "Your new token", "token": text, "stored": stored}
        else:
            context["title"] = "Make an API token"
        return TemplateResponse(request, "cohortsite/token.html", context)

    @admin.action(description="Revoke", permissions=["view"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            if ApiToken.objects.revoke(token.pk):
                silence.look_again()
                self.log_change(request, token, "Revoked.")
                messages.success(request, f"{token} is revoked: it is refused from now on.")
            else:
                messages.warning(request, f"{token} was revoked before.")

    @display(description="Of", ordering="user__username")
    def owner(self, token: ApiToken) -> str:
        return token.user.get_username()

    @display(description="Scope", ordering="scope")
    def scope_name(self, token: ApiToken) -> str:
        return token.scope

    @display(
        description="State",
        label={"Active": "success", "Expires soon": "warning", "Revoked": "danger", "Expired": "danger"},
    )
    def state(self, token: ApiToken) -> str:
        return token.state

    def _sees_all(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("auth.change_user"))
