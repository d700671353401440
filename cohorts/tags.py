"""Tags: short words in small letters, by which cohorts and alerts are grouped."""

import json
import re
from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q

TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
MOST_TAGS = 20


def check_tags(value: object) -> None:
    """Raise ValidationError unless a value is a list of distinct tags."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValidationError("Tags are a list of words.")
    if bad := [one for one in value if not TAG.fullmatch(one)]:
        raise ValidationError(
            f"{bad[0]!r} is no tag: up to 40 small letters, digits, and “.”, “_” or “-” after the first."
        )
    if len(value) > MOST_TAGS or len(set(value)) < len(value):
        raise ValidationError(f"At most {MOST_TAGS} tags, each once.")


def tagged(tag: str) -> Q:
    """Return which rows have a tag: they are few letters, so their JSON is what it is searched as."""
    return Q(tags__icontains=json.dumps(tag)) if TAG.fullmatch(tag) else Q(pk=None)


def all_tags(lists: Iterable[list[str]]) -> list[str]:
    return sorted({tag for tags in lists for tag in tags})


class WordsField(forms.CharField):
    """Names as a person writes them: with commas between."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return list(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))

    def validate(self, value: Any) -> None:
        """Whoever has the names checks them."""

    def run_validators(self, value: Any) -> None:
        """Its length was the text's."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data or ""))


class TagsField(WordsField):
    """Tags as a person writes them: with blanks or commas between."""

    def to_python(self, value: Any) -> Any:
        return super().to_python(re.sub(r"\s+", ",", (value or "").lower()))

    def validate(self, value: Any) -> None:
        check_tags(value)
