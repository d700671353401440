"""What each vendor wants to be posted, as of November 2026.

Slack: an incoming webhook takes `text` and `blocks` (api.slack.com/messaging/webhooks); of its text, `&`, `<`
and `>` are escaped (api.slack.com/docs/message-formatting). Teams: a workflow that begins with a webhook
request takes a message with an Adaptive Card, no older one (learn.microsoft.com, "Create and send messages");
its text runs are no markup. PagerDuty: Events API v2, where events of one `dedup_key` belong to one incident,
and `resolve` ends it (developer.pagerduty.com/docs/events-api-v2).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from syncs.choices import ChannelKind, Severity

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
# Signs that the vendors take of a title, a text.
MOST_TITLE, MOST_TEXT, MOST_SUMMARY = 150, 2_900, 1_000


@dataclass(frozen=True)
class Message:
    """What is said at once. `key` names an incident that begins or goes on, '' none; `over` those that have
    ended. `syncs`: all that it is about."""

    title: str
    lines: tuple[str, ...]
    state: str
    severity: Severity
    at: datetime
    key: str = ""
    over: tuple[str, ...] = ()
    destination: str = ""
    syncs: tuple[str, ...] = field(default=())
    # Of the page about it, '' when it is not known where this site is.
    url: str = ""
    # The number of the first alert, and what of the site that is about.
    first: int = 0
    about: str = ""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Post:
    url: str
    body: bytes


def slack(message: Message, address: str, credential: str) -> list[Post]:
    title, text = (_escaped(part) for part in (message.title[:MOST_TITLE], message.text[:MOST_TEXT]))
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*"}},
    ]
    if text:
        blocks.append({"type": "section", "text": {"type": "plain_text", "text": message.text[:MOST_TEXT]}})
    if message.url:
        link = f"<{message.url}|Open in Cohort Sync>"
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": link}})
    return [_post(credential, {"text": title, "blocks": blocks})]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def teams(message: Message, address: str, credential: str) -> list[Post]:
    colour = {"recovered": "Good", "test": "Accent", "weekly": "Accent"}.get(message.state, "Attention")
    runs = [
        {"type": "TextRun", "text": message.title[:MOST_TITLE], "weight": "Bolder", "color": colour},
        *({"type": "TextRun", "text": line[:MOST_TEXT]} for line in message.lines),
    ]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": [run]} for run in runs],
    }
    if message.url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open in Cohort Sync", "url": message.url}]
    attached = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return [_post(credential, {"type": "message", "attachments": [attached]})]


def pagerduty(message: Message, address: str, credential: str) -> list[Post]:
    url, posts = address or PAGERDUTY, []
    if message.key:
        payload = {
            "summary": message.title[:MOST_SUMMARY],
            "source": message.destination or "cohort-sync",
            "severity": message.severity.value,
            "timestamp": message.at.isoformat(),
            "component": message.destination or "site",
            "class": message.state,
            "custom_details": {"messages": list(message.lines), "syncs": list(message.syncs[:50])},
        }
        event: dict[str, Any] = {
            "event_action": "trigger",
            "dedup_key": message.key[:255],
            "client": "Cohort Sync",
        }
        if message.url:
            event |= {
                "client_url": message.url,
                "links": [{"href": message.url, "text": "Open in Cohort Sync"}],
            }
        posts.append(_post(url, {"routing_key": credential, **event, "payload": payload}))
    for key in message.over:
        event = {"event_action": "resolve", "dedup_key": key[:255]}
        posts.append(_post(url, {"routing_key": credential, **event}))
    return posts


def webhook(message: Message, address: str, credential: str) -> list[Post]:
    said = {
        "title": message.title,
        "state": message.state,
        "severity": message.severity.value,
        "destination": message.destination or None,
        "syncs": list(message.syncs),
        "messages": list(message.lines),
        "at": message.at.isoformat(),
        "url": message.url or None,
    }
    return [_post(address, said)]


def alone(message: Message) -> bytes:
    """Return the body for ALERT_WEBHOOK_URL, of a message about one alert: what it was before channels."""
    return orjson.dumps(
        {
            "id": message.first,
            "sync": next(iter(message.syncs), None),
            "about": message.about,
            "state": message.state,
            "message": message.text,
            "at": message.at.isoformat(),
            "url": message.url or None,
        }
    )


def _post(url: str, value: dict[str, Any]) -> Post:
    return Post(url, orjson.dumps(value))


POSTS: dict[str, Callable[[Message, str, str], list[Post]]] = {
    ChannelKind.SLACK: slack,
    ChannelKind.TEAMS: teams,
    ChannelKind.PAGERDUTY: pagerduty,
    ChannelKind.WEBHOOK: webhook,
}
