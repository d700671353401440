"""What nobody says by itself about a cohort or a workspace, on its page."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from cohorts.models import Cohort
from cohortsite import silence
from pagekit import panels
from receiving.models import Workspace


def silence_of(request: HttpRequest, row: Cohort | Workspace) -> tuple[str, dict[str, Any]] | None:
    sentences = silence.about(row, timezone.now())
    return ("cohortsite/silence.html", {"sentences": sentences}) if sentences else None


panels.add(Cohort, silence_of)
panels.add(Workspace, silence_of)
