"""The partner's calls. Each is validate, apply in one transaction, reply with counts.

They are REST framework's views for the sake of the schema; `dispatch` is our own, because a call of a
thousand users leaves no time for content negotiation and serializers.
"""

import logging
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.views import APIView

from receiving import reading, store
from receiving.call import Call, entry_of, json_reply
from receiving.errors import ApiError
from receiving.keys import find_key, read_credential
from receiving.limits import count_call
from receiving.models import Workspace
from receiving.record import write_entry
from receiving.shapes import (
    Batch,
    is_identify,
    read_batch,
    read_list_change,
    read_list_name,
)

log = logging.getLogger(__name__)


class PartnerView(APIView):
    """Authenticate, count, serve, log; every error is JSON."""

    # The URL configuration's own words for a view, e.g. the type of an item without one.
    default_type: str | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        entry = entry_of(request)
        entry.list_id = kwargs.get("list_id")
        call = None
        try:
            handler = self._handler(request)
            call = self._open(request, entry)
            reply = handler(call, **kwargs)
            return self._finish(call, reply)
        except ApiError as error:
            if entry.key is not None and error.status != 405:
                write_entry(entry, error.status, code=error.code, message=error.message)
            headers = {**(call.headers if call else {}), **error.headers}
            return json_reply(error.body(), error.status, headers)

    def _handler(self, request: HttpRequest) -> Any:
        method = "get" if request.method == "HEAD" else (request.method or "").lower()
        allowed = [name for name in ("get", "post", "delete") if hasattr(self, name)]
        if method not in allowed:
            raise ApiError(
                f"{request.method} is not a method of this address.", status=405, code="method_not_allowed",
                headers={"Allow": ", ".join(allowed).upper()},
            )  # fmt: skip
        return getattr(self, method)

    def _open(self, request: HttpRequest, entry: Any) -> Call:
        credential = read_credential(request.META)
        entry.secrets = credential.candidates
        key = find_key(credential)
        entry.key, entry.workspace = key, key.workspace
        call = Call(key.workspace, entry, request)
        call.headers.update(count_call(key))
        return call

    def _finish(self, call: Call, reply: Any) -> HttpResponseBase:
        if isinstance(reply, HttpResponseBase):
            for name, value in call.headers.items():
                reply.headers[name] = value
            return reply
        return json_reply(reply, headers=call.headers)


# --- lists ---------------------------------------------------------------------------------


class ListsView(PartnerView):
    def post(self, call: Call) -> Any:
        name = read_list_name(call.document())
        with call.writing() as counts:
            key = call.idempotency_key
            made = store.create_list(call.workspace, name, None if key is None else store.origin_of(key))
            call.entry.list_id = str(made.pk)
            counts["changed"] = 1
        ids = {"listId": made.pk, "list_id": made.pk}
        return {**ids, "response": ids}

    def get(self, call: Call) -> Any:
        return reading.lists(call.workspace, call.query("after"), call.query("limit"))


class ListView(PartnerView):
    def get(self, call: Call, list_id: str) -> Any:
        return reading.describe_list(call.workspace, list_id)

    def delete(self, call: Call, list_id: str) -> Any:
        gone = store.delete_list(call.workspace, list_id)
        write_entry(call.entry, 200, changed=gone)
        return {"removed": gone}


class ListChangeView(PartnerView):
    """Add and remove, and the identify bodies that the source page prints at these addresses."""

    def post(self, call: Call, list_id: str) -> Any:
        document = call.document()
        if is_identify(document):
            return identify(call, document, "identify")
        ids = read_list_change(document, call.workspace.max_items)
        with call.writing() as counts:
            set_id = store.lock_set(call.workspace, list_id)
            counts["received"] = len(ids)
            counts["changed"] = self.change(call, set_id, ids)
        return counts

    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        raise NotImplementedError


class ListAddView(ListChangeView):
    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        store.check_known(call.workspace, ids)
        if not store.is_first(call.workspace, call.idempotency_key):
            return 0
        return store.add_members(set_id, ids)


class ListRemoveView(ListChangeView):
    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        if not store.is_first(call.workspace, call.idempotency_key):
            return 0
        return store.remove_members(set_id, ids)


class ListMembersView(PartnerView):
    def get(self, call: Call, list_id: str) -> Any:
        return reading.members_reply(call, reading.set_of(call.workspace, list_id))


class ListDigestView(PartnerView):
    def get(self, call: Call, list_id: str) -> Any:
        return reading.digest(reading.set_of(call.workspace, list_id))


# --- users and their traits ----------------------------------------------------------------


def take_events(workspace: Workspace, items: list[dict[str, Any]]) -> int:
    """Take the items of a batch that are no identifies; return how many were taken, in the end: none.

    The one place where events that partners send are handed on.
    """
    return 0


def identify(call: Call, document: dict[str, Any], default_type: str | None) -> dict[str, Any]:
    """Apply the identifies of a body, whole or not at all; count the rest as ignored."""
    batch = read_batch(document, call.workspace.max_items, default_type=default_type)
    with call.writing() as counts:
        _apply(call, batch, counts)
    taken = take_events(call.workspace, batch.others)
    return {"success": True, **counts, "ignored": batch.received - len(batch.identifies) - taken}


def _apply(call: Call, batch: Batch, counts: dict[str, Any]) -> None:
    store.check_known(call.workspace, sorted({item.user_id for item in batch.identifies}))
    items = batch.identifies
    if not store.is_first(call.workspace, call.idempotency_key):
        items = []
    elif call.request is not None:
        items = store.without_repeats(call.workspace, items)
    counts["received"] = batch.received
    counts["identified"] = len(items)
    counts["repeated"] = len(batch.identifies) - len(items)
    counts["changed"] = store.set_traits(call.workspace, items)


class IdentifyView(PartnerView):
    def post(self, call: Call) -> Any:
        return identify(call, call.document(), self.default_type)


class UsersView(PartnerView):
    def post(self, call: Call) -> Any:
        ids = read_list_change(call.document(), call.workspace.max_items)
        with call.writing() as counts:
            counts["received"] = len(ids)
            counts["changed"] = store.add_known_users(call.workspace, ids)
        return counts

    def get(self, call: Call) -> Any:
        return reading.describe_user(call.workspace, call.query("userId"))


class TraitsView(PartnerView):
    def get(self, call: Call) -> Any:
        name = call.query("name")
        if name:
            return reading.describe_trait(call.workspace, name)
        return reading.traits(call.workspace, call.query("after"), call.query("limit"))


class TraitMembersView(PartnerView):
    def get(self, call: Call) -> Any:
        return reading.members_reply(call, reading.holders_of(call.workspace, call.query("name")))


class TraitDigestView(PartnerView):
    def get(self, call: Call) -> Any:
        return reading.digest(reading.holders_of(call.workspace, call.query("name")))
