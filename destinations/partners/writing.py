"""Writing what a partner's folder holds beside its data: its requests, and its page for people."""

import json
from pathlib import Path

from destinations.partners import replies
from destinations.partners.folder import SLUG, BadFolder, Partner, read
from destinations.partners.golden import as_text, endpoint_of, requests_of
from destinations.sessions import has_parts

NEW = {
    "label": "",
    "hint": "What this partner keeps, and what the ids are. One sentence or two.",
    "page": "https://the.page/of/its/api",
    "needs": ["base_url", "credential"],
    "fields": {
        "kind": "list",
        "auth_mode": "bearer",
        "create_path": "/lists",
        "create_template": {"name": "$external_name"},
        "list_id_place": "id",
        "add_path": "/lists/$list_id/add",
        "add_template": {"users": "$items"},
        "remove_path": "/lists/$list_id/remove",
        "remove_template": {"users": "$items"},
        "list_item_template": {"id": "$user_id"},
        "rules": [],
    },
    "fake": {
        "most": 1000,
        "created": {"status": 201, "body": {"id": "$list_id"}},
        "ok": {"status": 200, "body": {"errors": []}},
    },
}


def new(root: Path, slug: str) -> Path:
    """Write a folder for a new partner to be filled in; BadFolder if the name is none or is taken."""
    folder = root / slug
    if not SLUG.fullmatch(slug):
        raise BadFolder(f"{slug!r} is no name for a partner: small letters, digits, hyphens, at most 40.")
    if folder.exists():
        raise BadFolder(f"{folder} is there already.")
    folder.mkdir(parents=True)
    data = NEW | {"label": slug.replace("-", " ").capitalize()}
    (folder / "partner.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    renew(folder)
    return folder


def renew(folder: Path) -> list[str]:
    """Write the folder's requests and its page anew from its data; return the names of what changed."""
    partner = read(folder)
    wanted = {f"requests/{name}.http": as_text(request, end) for name, request, end in requests_of(partner)}
    wanted["README.md"] = page_of(partner)
    wanted["replies.json"] = replies.renewed(partner)
    (folder / "requests").mkdir(exist_ok=True)
    changed = []
    for name, text in wanted.items():
        where = folder / name
        if not where.exists() or where.read_text() != text:
            where.write_text(text)
            changed.append(name)
    for where in (folder / "requests").glob("*.http"):
        if (name := f"requests/{where.name}") not in wanted:
            where.unlink()  # of an operation that the data has no more
            changed.append(name)
    return changed


def page_of(partner: Partner) -> str:
    """Return the page for people."""
    lines = [f"# {partner.label}", "", partner.hint, ""]
    if partner.asked:
        lines += ["## What you need", "", *(f"- {what}" for what in partner.asked), ""]
    lines += ["## Limits", "", f"- {partner.fields.get('batch_size', 1000):,} users a request"]
    if partner.fields.get("replaces_lists"):
        text = "- Whole lists only: a run in which anybody moves sends everybody, in "
        if has_parts(endpoint_of(partner)):
            text += "as many requests as that takes, of which the last one makes it count"
        else:
            text += "one request"
        lines.append(text)
    if rate := partner.fields.get("rate"):
        lines.append(f"- {rate:g} requests a second")
    if size := partner.fields.get("max_bytes"):
        lines.append(f"- {size:,} bytes a request")
    if partner.notes:
        lines += ["", "## Good to know", "", partner.notes]
    if partner.impossible:
        lines += ["", "## What is not possible", "", partner.impossible]
    seen = (
        f"Compared with it on {partner.checked}."
        if partner.checked
        else "Not compared with it when this folder was written: check it before you rely on it."
    )
    live = "No account of the vendor was used: not tried live."
    if partner.tried:
        live = f"Driven as a real server: {partner.tried} (`docs/partners.md`)."
    lines += [
        "",
        "## Source",
        "",
        f"{partner.page}",
        "",
        f"{seen} {live}",
    ]
    return "\n".join(lines) + "\n"
