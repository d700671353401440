"""Reading partners' folders."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from destinations.endpoint import to_json

HERE = Path(__file__).parent
# A word of the folder that somebody puts their own name for: /3.0/lists/AUDIENCE/segments.
STAND_IN = re.compile(r"[A-Z]{3,}")
SLUG = re.compile(r"[a-z][a-z0-9-]{0,39}")
KEYS = frozenset(
    {
        *("label", "hint", "order", "page", "checked", "tried", "needs", "secrets", "fields", "fake"),
        *("notes", "impossible"),
    }
)

OWN_NAMES = "your own names in paths or templates"
ASKED = {
    "base_url": "the address",
    "credential": "the credential",
    "auth_username": "the user name",
    "given_lists": "the id of each cohort's list",
    "oauth": "the client's id and the address of its tokens",
}


class BadFolder(ValueError):
    """A partner's folder that cannot be used; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Partner:
    """label and hint are for people; fields are those of `models.Destination`.

    needs: the fields that somebody must fill in, beside the name. secrets: the named secrets that it needs.
    page, checked: the vendor's page, and the day on which the folder was compared with it ('' for never).
    tried: which version of the real server was driven, and when ('' for none).
    notes: what else one should know. impossible: what cannot be done with this partner. Both in words.
    fake: how a fake partner answers.
    """

    slug: str
    label: str
    hint: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    page: str = ""
    checked: str = ""
    tried: str = ""
    notes: str = ""
    impossible: str = ""
    fake: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = HERE
    order: int = 100

    @property
    def asked(self) -> list[str]:
        """Return what somebody must know to fill the form in, in words."""
        secrets = [f"the named secret {name}" for name in self.secrets]
        return list(dict.fromkeys([*(ASKED.get(name, OWN_NAMES) for name in self.needs), *secrets]))

    def differences(self, values: Mapping[str, Any]) -> list[str]:
        """Return the fields of the folder that have another value in these."""
        return [name for name, value in self.fields.items() if name in values and values[name] != value]

    def stand_ins(self, values: Mapping[str, Any]) -> list[str]:
        """Return the words that the hint says to put one's own name for, and that these values still have."""
        own = [name for name in self.needs if name in self.fields and name in values]
        left = {word for name in own for word in _stand_ins(self.fields[name]) & _stand_ins(values[name])}
        return sorted(left & _stand_ins(self.hint))


def _stand_ins(value: Any) -> set[str]:
    return set(STAND_IN.findall(str(value)))


def read_all(*roots: Path) -> dict[str, Partner]:
    """Return the partners of these folders by slug, in the order of the gallery; a later root wins."""
    found = {partner.slug: partner for root in roots for partner in _read_root(root)}
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[1].label.lower())))


def _read_root(root: Path) -> Iterator[Partner]:
    if not root.is_dir():
        raise BadFolder(f"There is no folder {root}: see PARTNERS_DIR.")
    for folder in sorted(root.iterdir()):
        if (folder / "partner.json").is_file():
            yield read(folder)


def read(folder: Path) -> Partner:
    """Return the partner of a folder, or raise BadFolder."""
    where = folder / "partner.json"
    if not SLUG.fullmatch(folder.name):
        raise BadFolder(
            f"{folder.name!r} is no name for a partner: small letters, digits, hyphens, at most 40."
        )
    try:
        data = json.loads(where.read_text())
    except (OSError, ValueError) as error:
        raise BadFolder(f"{where}: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("fields"), dict) or not data.get("label"):
        raise BadFolder(f"{where}: 'label' and 'fields' are needed.")
    if unknown := sorted(set(data) - KEYS):
        raise BadFolder(f"{where}: unknown key {unknown[0]!r}.")
    return Partner(
        slug=folder.name,
        label=data["label"],
        hint=data.get("hint", ""),
        fields={name: _as_stored(name, value) for name, value in data["fields"].items()},
        needs=tuple(data.get("needs", ("base_url", "credential"))),
        secrets=tuple(data.get("secrets", ())),
        page=data.get("page", ""),
        checked=data.get("checked", ""),
        tried=data.get("tried", ""),
        notes=data.get("notes", ""),
        impossible=data.get("impossible", ""),
        fake=data.get("fake", {}),
        folder=folder,
        order=data.get("order", 100),
    )


def _as_stored(name: str, value: Any) -> Any:
    """Templates are kept as text."""
    return to_json(value) if name.endswith("_template") and name != "name_template" else value
