"""What a certification found: findings by how much they matter, and what the partner can do."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from destinations.certify.talk import Answer


class Level(StrEnum):
    MUST = "must"  # without it, cohorts are wrong or never arrive
    SHOULD = "should"  # it works, and goes wrong on a bad day
    NICE = "nice"


class State(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNSEEN = "unseen"  # could not be found out; `what` says why


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. what: what was seen. advice: what to do about it, when it failed."""

    name: str
    level: Level
    title: str
    state: State
    what: str
    advice: str = ""
    answer: Answer | None = None

    def as_json(self) -> dict[str, Any]:
        found = {name: str(getattr(self, name)) for name in ("name", "level", "title", "state", "what")}
        if self.state == State.FAILED:
            found["advice"] = self.advice
        if self.answer and self.state == State.FAILED:
            found |= {"request": self.answer.asked_text, "reply": self.answer.reply_text}
        return found


@dataclass(frozen=True, slots=True)
class Profile:
    """What the partner can do. None: not found out. rate: accepted requests a second under a burst."""

    batch_size: int | None = None
    overlapping: bool | None = None
    idempotent: bool | None = None
    names_bad_users: bool | None = None
    digest: bool | None = None
    rate: float | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def settings(self) -> dict[str, Any]:
        """Return the fields of a destination that follow from it."""
        found: dict[str, Any] = {}
        if self.batch_size:
            found["batch_size"] = self.batch_size
        if self.overlapping is not None:
            found["threads"] = 4 if self.overlapping else 1
        if self.rate:
            found["rate"] = max(0.1, round(self.rate * 0.9, 1))
        return found


@dataclass(slots=True)
class Report:
    """left_behind: what could not be taken away, in words."""

    url: str
    kind: str
    mock: str
    findings: list[Finding] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)
    left_behind: list[str] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0

    def failed(self, level: Level | None = None) -> list[Finding]:
        return [f for f in self.findings if f.state == State.FAILED and level in (None, f.level)]

    @property
    def passed(self) -> bool:
        """Say whether cohorts can be synced to this partner: nothing that must be is missing."""
        return not self.failed(Level.MUST)

    @property
    def ordered(self) -> list[Finding]:
        """Return what failed first, and of these what matters most."""
        states = [State.FAILED, State.UNSEEN, State.PASSED]
        return sorted(self.findings, key=lambda f: (states.index(f.state), list(Level).index(f.level)))

    @property
    def summary(self) -> str:
        counts = [f"{len(self.failed(level))} {level}" for level in Level if self.failed(level)]
        verdict = "speaks the protocol" if self.passed else "does not speak the protocol yet"
        missing = f"; to mend: {', '.join(counts)}" if counts else ", and there is nothing to mend"
        unseen = sum(finding.state == State.UNSEEN for finding in self.findings)
        left = f" {unseen} of {len(self.findings)} checks found nothing out." if unseen else ""
        return f"{self.url} {verdict}{missing}.{left} {self.requests} requests in {self.seconds:.1f} s."

    def as_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "kind": self.kind,
            "passed": self.passed,
            "summary": self.summary,
            "findings": [finding.as_json() for finding in self.ordered],
            "profile": self.profile.as_json(),
            "settings": self.profile.settings,
            "left_behind": self.left_behind,
            "mock": self.mock,
        }

    def as_text(self) -> str:
        lines = [self.summary, "", "Try this first, by hand:", "", self.mock, ""]
        for finding in self.ordered:
            mark = {State.PASSED: "ok", State.FAILED: finding.level.upper(), State.UNSEEN: "?"}[finding.state]
            lines.append(f"{mark:>7}  {finding.title}: {finding.what}")
            if finding.state == State.FAILED:
                lines.append(f"         → {finding.advice}")
                if finding.answer:
                    lines += _indented("sent", finding.answer.asked_text)
                    lines += _indented("came", finding.answer.reply_text)
        lines += ["", *(f"Left behind: {what}" for what in self.left_behind)]
        if self.profile.settings:
            lines.append(f"Settings for a destination: {_listed(self.profile.settings)}")
        return "\n".join(lines)

    def as_html(self) -> str:
        """Return a page that stands alone."""
        rows = "\n".join(_html_of(finding) for finding in self.ordered)
        left = "".join(f"<p>Left behind: {html.escape(what)}</p>\n" for what in self.left_behind)
        settings = html.escape(_listed(self.profile.settings)) or "none"
        return PAGE.format(
            url=html.escape(self.url),
            summary=html.escape(self.summary),
            mock=html.escape(self.mock),
            rows=rows,
            left=left,
            settings=settings,
        )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Certification of {url}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
  pre {{ background: #f4f4f5; color: #18181b; padding: .75rem; }}
  pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
  td, th {{ border-top: 1px solid #d4d4d8; padding: .5rem; text-align: left; vertical-align: top; }}
</style>
<h1>Certification of {url}</h1>
<p>{summary}</p>
<h2>Try this first, by hand</h2>
<pre>{mock}</pre>
<h2>Checks</h2>
<table>
<tr><th scope="col">Result</th><th scope="col">Level</th><th scope="col">Check</th></tr>
{rows}
</table>
<h2>Settings for a destination</h2>
<p>{settings}</p>
{left}</html>
"""


def _html_of(finding: Finding) -> str:
    cell = f"<b>{html.escape(finding.title)}</b>: {html.escape(finding.what)}"
    if finding.state == State.FAILED:
        cell += f"\n<p>What to do: {html.escape(finding.advice)}</p>"
        if finding.answer:
            texts = (finding.answer.asked_text, finding.answer.reply_text)
            cell += "".join(f"\n<pre>{html.escape(text)}</pre>" for text in texts)
    return f"<tr><td>{finding.state}</td><td>{finding.level}</td><td>{cell}</td></tr>"


def _indented(title: str, text: str) -> Iterator[str]:
    lines = text.splitlines() or [""]
    for number, line in enumerate(lines):
        yield f"         {title if number == 0 else '':>4} | {line[:300]}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
