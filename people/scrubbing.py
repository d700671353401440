"""Taking a user id out of texts that were written about it: messages, excerpts, notes; and files away."""

import json
import re
from typing import Any

from django.db import models
from django.db.models import Q

GONE = "(erased)"
# What stands in place of an error that quotes a line of a file.
FORGOTTEN = "It failed. What it said of people was erased."


class Scrubber:
    """Takes one user id out, where it stands on its own: 12 is not in 123, nor in a-12."""

    def __init__(self, user_id: str) -> None:
        # As it is; and as JSON writes it, plain and in ASCII.
        forms = {user_id, json.dumps(user_id)[1:-1], json.dumps(user_id, ensure_ascii=False)[1:-1]}
        self._forms = sorted(forms, key=len, reverse=True)
        either = "|".join(map(re.escape, self._forms))
        self._pattern = re.compile(rf"(?<![\w@-])(?:{either})(?![\w@-])")

    def text(self, text: str) -> str:
        return self._pattern.sub(GONE, text)

    def is_in(self, text: str) -> bool:
        return self._pattern.search(text) is not None

    def value(self, value: Any) -> Any:
        """Return JSON's values without it, keys of objects too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(one) for name, one in value.items()}
        return value

    def rows(self, rows: "models.QuerySet[Any]", *fields: str) -> int:
        """Take it out of the text fields of rows; return how many rows had it."""
        wanted = Q(pk=None)
        for name in fields:
            for form in self._forms:
                wanted |= Q(**{f"{name}__contains": form})
        changed = 0
        for row in rows.filter(wanted).only("pk", *fields).iterator():
            new = {name: self.text(getattr(row, name)) for name in fields}
            if any(getattr(row, name) != text for name, text in new.items()):
                changed += rows.model._default_manager.filter(pk=row.pk).update(**new)
        return changed


def delete_files(uploads: "models.QuerySet[Any]") -> int:
    """Delete the stored files of uploads, which stay; return how many there were. Raises OSError at the first
    that cannot be deleted: it and those behind it keep theirs."""
    number = 0
    for one in uploads.exclude(file=""):
        one.file.delete(save=False)
        # The file alone: somebody may be trying it again.
        number += uploads.model._default_manager.filter(pk=one.pk).update(file="")
    return number
