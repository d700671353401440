"""A cohort made of a file, in one step: its name is the file's, if nobody gives another."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminTextInputWidget

from cohorts.choices import SourceKind, UploadMode
from cohorts.models import Cohort, Upload
from cohorts.upload_form import UploadForm
from pagekit import way

if TYPE_CHECKING:
    from pagekit.overview import OverviewAdmin


class FromFileForm(UploadForm):
    """The form of an upload, of a cohort that is not there yet."""

    name = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What partners see. Empty: the file's name.",
    )
    PLAIN = ("file", "name")
    SELDOM = ("column", "refuse_suspicious", *UploadForm.SELDOM)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(Cohort(), *args, **kwargs)
        del self.fields["mode"]

    def save(self, by: int | None) -> Cohort:
        """Make the cohort and store the file for the worker."""
        data = self.cleaned_data
        name = data["name"].strip() or _words(data["file"].name)
        with transaction.atomic():
            cohort = Cohort.objects.create(name=name, key=_free_key(name), source_kind=SourceKind.UPLOAD)
            Upload.objects.create(
                cohort=cohort,
                file=data["file"],
                original_name=data["file"].name[:255],
                mode=UploadMode.REPLACE,
                column=data["column"],
                said=self.said(),
                refuse_suspicious=data["refuse_suspicious"],
                fields=Upload.kept(self.kept_fields()),
                created_by_id=by,
            )
        return cohort


def from_file(admin: OverviewAdmin, request: HttpRequest) -> HttpResponseBase:
    """The form; what it takes becomes a cohort, whose members the worker imports."""
    if not (request.user.has_perm("cohorts.add_cohort") and request.user.has_perm("cohorts.add_upload")):
        raise PermissionDenied
    may_keep = request.user.has_perm("people.add_profileimport")
    form = FromFileForm(request.POST or None, request.FILES or None, may_keep=may_keep)
    if request.method == "POST" and form.is_valid():
        cohort = form.save(request.user.pk)
        admin.log_addition(request, cohort, f"Made of the file {cohort.uploads.get().original_name}.")
        state = reverse("admin:cohorts_upload_state", args=[cohort.pk, cohort.uploads.get().pk])
        return HttpResponseRedirect(way.then(request, cohort=cohort.pk) or state)
    known = admin.admin_site.each_context(request)
    context = {"title": "A cohort from a file", "opts": Cohort._meta, "form": form}
    return TemplateResponse(request, "cohorts/from_file.html", known | context)


def page(admin: OverviewAdmin) -> Any:
    """Wrap the page for the admin's addresses."""

    @require_http_methods(["GET", "POST"])
    def wrapped(request: HttpRequest) -> HttpResponseBase:
        return from_file(admin, request)

    return admin.admin_site.admin_view(wrapped)


def _words(file: str) -> str:
    """Return a file's name as one would write it: "recent-buyers.csv.gz" is "recent buyers"."""
    name = PurePath(file).name.partition(".")[0].replace("_", " ").replace("-", " ")
    return " ".join(name.split())[:200] or "Users from a file"


def _free_key(name: str) -> str:
    """Return a key that no cohort has, made of the name."""
    key = slugify(name)[:40].strip("-") or "cohort"
    taken = set(Cohort.every.filter(key__startswith=key).values_list("key", flat=True))
    tried = (key if number == 1 else f"{key}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in tried if one not in taken)
