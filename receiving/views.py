"""The partner's calls. Each is validate, apply in one transaction, reply with counts.

They are REST framework's views for the sake of the schema; `dispatch` is our own, because a call of a
thousand users leaves no time for content negotiation and serializers.
"""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema_view
from rest_framework.views import APIView

from events.workspace_folders import takes_events
from receiving import reading, schema, store
from receiving.amplitude import amplitude_error, invalid_fields, is_amplitude, read_events
from receiving.body import parse_object, read_body
from receiving.browsers import check_origin, is_preflight, preflight
from receiving.budget import release, reserve
from receiving.call import Call, entry_of, json_reply
from receiving.clock import Clock
from receiving.errors import ApiError, Unauthorized
from receiving.faults import ConnectionToReset, before_call, reset
from receiving.keys import Credential, check_key, digest, look_up, read_credential
from receiving.limits import count_call
from receiving.mixpanel import apply_page, read_page
from receiving.models import ApiKey
from receiving.prune import prune_in_turn
from receiving.record import Counted, Entry, log_refusal, write_entry
from receiving.segment import read_batch
from receiving.shapes import is_identify, read_list_change, read_list_name
from receiving.taking import take

# What is read of a call before its key is known, where the key may be in the body: as much as Amplitude's
# HTTP V2 takes, and twice of what Segment does.
BYTES_BEFORE_KEY = 1024 * 1024


HEADERS_WITH_KEY = ("HTTP_AUTHORIZATION", "HTTP_API_KEY", "HTTP_X_API_KEY")


class PartnerView(APIView):
    """Authenticate, count, serve, log; every error is JSON."""

    # The URL configuration's own words for a view, e.g. the type of an item without one.
    default_type: str | None = None
    # Where the key may be in the body, when no header brings it.
    keys_in_body: tuple[str, ...] = ()
    # Whether a body is what it is, whatever its Content-Type says: see body.py.
    judges_body = False
    # Whether pages may call, with a key that is for them.
    takes_browsers = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.takes_browsers and is_preflight(request):
            return preflight(request)
        entry = entry_of(request)
        entry.list_id = kwargs.get("list_id")
        headers: dict[str, str] = {}
        try:
            handler = self._handler(request)
            key = self._authenticate(request, entry)
            headers.update(check_origin(request, key, takes_browsers=self.takes_browsers))
            headers.update(count_call(key))
            resets = before_call(key.workspace)
            reply = handler(Call(key.workspace, entry, request, judges_body=self.judges_body), **kwargs)
            return reset(request) if resets else self._finish(reply, headers)
        except ConnectionToReset:
            return reset(request)
        except ApiError as error:
            log_refusal(entry, error)
            return json_reply(self.error_body(error, entry), error.status, headers | error.headers)
        finally:
            release(entry.reserved)
            if entry.workspace is not None:
                prune_in_turn(entry.workspace, entry.stored)

    def error_body(self, error: ApiError, entry: Entry) -> dict[str, Any]:
        return error.body()

    def _handler(self, request: HttpRequest) -> Any:
        method = "get" if request.method == "HEAD" else (request.method or "").lower()
        allowed = [name for name in ("get", "post", "delete") if hasattr(self, name)]
        if method not in allowed:
            raise ApiError(
                f"{request.method} is not a method of this address.", status=405, code="method_not_allowed",
                headers={"Allow": ", ".join(allowed).upper()},
            )  # fmt: skip
        return getattr(self, method)

    def _authenticate(self, request: HttpRequest, entry: Entry) -> ApiKey:
        credential = self._credential(request, entry)
        entry.secrets = credential.candidates
        entry.key = key = look_up(credential)
        # The other text that came with it ("mixpanel") is no secret.
        entry.secrets = tuple(text for text in credential.candidates if digest(text) == key.sha256)
        entry.workspace = key.workspace
        check_key(key, credential)
        return key

    def _credential(self, request: HttpRequest, entry: Entry) -> Credential:
        in_headers = not request.META.keys().isdisjoint(HEADERS_WITH_KEY)
        if not self.keys_in_body or in_headers:
            return read_credential(request.META)
        try:
            entry.raw = read_body(request, BYTES_BEFORE_KEY, judges_body=self.judges_body)
            entry.reserved = reserve(entry.raw)
            entry.document = document = parse_object(entry.raw)
        except ApiError as error:
            if error.status == 503:
                raise
            raise Unauthorized(f"No header brings an API key, nor does the body: {error.message}") from None
        found = (document.get(name) for name in self.keys_in_body)
        key = next((key for key in found if isinstance(key, str) and key), None)
        if key is None:
            named = " or ".join(self.keys_in_body)
            raise Unauthorized(f"Send an API key in a header, or as {named} in the body.")
        return Credential((key,))

    def _finish(self, reply: Any, headers: dict[str, str]) -> HttpResponseBase:
        if not isinstance(reply, HttpResponseBase):
            return json_reply(reply, headers=headers)
        for name, value in headers.items():
            reply.headers[name] = value
        return reply


# --- lists ---------------------------------------------------------------------------------


class ListsView(PartnerView):
    @schema.create_list
    def post(self, call: Call) -> Any:
        name = read_list_name(call.document())
        store.check_quota(call.workspace)
        with call.writing() as counts:
            key = call.idempotency_key
            made = store.create_list(call.workspace, name, None if key is None else store.origin_of(key))
            call.entry.list_id = str(made.pk)
            counts["changed"] = 1
        ids = {"listId": made.pk, "list_id": made.pk}
        return {**ids, "response": ids}

    @schema.read_lists
    def get(self, call: Call) -> Any:
        return reading.lists(call.workspace, call.query("after"), call.query("limit"))


class ListView(PartnerView):
    @schema.read_list
    def get(self, call: Call, list_id: str) -> Any:
        return reading.describe_list(call.workspace, list_id)

    @schema.delete_list
    def delete(self, call: Call, list_id: str) -> Any:
        gone = store.delete_list(call.workspace, list_id)
        write_entry(call.entry, 200, counted=Counted(changed=gone))
        return {"removed": gone}


class ListChangeView(PartnerView):
    """Add and remove, and the identify bodies that the source page prints at these addresses."""

    def post(self, call: Call, list_id: str) -> Any:
        document = call.document()
        if is_identify(document):
            return identify(call, document, "identify", by_item=False)
        ids = read_list_change(document, call.workspace.max_items)
        changes = not self.is_so_already(call, list_id, ids)
        with call.writing(anything=changes) as counts:
            counts["received"] = len(ids)
            if changes:
                set_id = store.lock_set(call.workspace, list_id)
                counts["changed"] = self.change(call, set_id, ids)
        return counts

    def is_so_already(self, call: Call, list_id: str, ids: list[str]) -> bool:
        """Whether it is known, without a lock, that the call changes nothing and is not refused."""
        return False

    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        raise NotImplementedError


@extend_schema_view(post=schema.add_to_list)
class ListAddView(ListChangeView):
    def is_so_already(self, call: Call, list_id: str, ids: list[str]) -> bool:
        # Many senders add everybody again and again.
        if (
            call.idempotency_key is not None
            or call.workspace.known_users_only
            or call.workspace.injects_faults
        ):
            return False
        return store.holds_all(call.workspace, list_id, ids)

    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        store.check_users(call.workspace, ids)
        if not store.is_first(call.workspace, call.idempotency_key):
            return 0
        return store.add_members(set_id, ids)


@extend_schema_view(post=schema.remove_from_list)
class ListRemoveView(ListChangeView):
    def change(self, call: Call, set_id: int, ids: list[str]) -> int:
        if not store.is_first(call.workspace, call.idempotency_key):
            return 0
        return store.remove_members(set_id, ids)


class ListMembersView(PartnerView):
    @schema.read_members
    def get(self, call: Call, list_id: str) -> Any:
        return reading.members_reply(call, reading.set_of(call.workspace, list_id))


class ListDigestView(PartnerView):
    @schema.read_digest
    def get(self, call: Call, list_id: str) -> Any:
        return reading.digest(reading.set_of(call.workspace, list_id))


# --- users and their traits ----------------------------------------------------------------


def identify(
    call: Call, document: dict[str, Any], default_type: str | None, *, by_item: bool
) -> dict[str, Any]:
    """Take a Segment body: `by_item`, or whole or not at all."""
    receipt = call.receipt()
    clock = Clock(receipt.at, document.get("sentAt"))
    batch = read_batch(
        document,
        call.workspace.max_items,
        clock,
        receipt,
        default_type=default_type,
        page_calls=call.workspace.page_calls and takes_events(),
    )
    batch.check(by_item=by_item)
    return {"success": True, **take(call, batch)}


class IdentifyView(PartnerView):
    """Segment's clients for Node bring the key as `writeKey` and in no header."""

    keys_in_body: tuple[str, ...] = ("writeKey",)
    takes_browsers = True
    # Segment's own addresses do as its servers do: good items are taken.
    by_item = False

    @schema.identify
    def post(self, call: Call) -> Any:
        return identify(call, call.document(), self.default_type, by_item=self.by_item)


class SegmentView(IdentifyView):
    """Segment's own addresses."""

    by_item = True
    judges_body = True


class MetricsView(SegmentView):
    """What Segment's clients measure of themselves comes without a key: it is not read.

    A page would complain of a 401 in its console, in every tenth visit.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST" or not request.META.keys().isdisjoint(HEADERS_WITH_KEY):
            return super().dispatch(request, *args, **kwargs)
        nothing = {"received": 1, "changed": 0, "identified": 0, "repeated": 0, "ignored": 1}
        return json_reply({"success": True, **nothing}, headers={"Access-Control-Allow-Origin": "*"})


class BatchView(IdentifyView):
    """`/batch` is Segment's and Amplitude's: the body tells whose."""

    keys_in_body = ("writeKey", "api_key")
    judges_body = True

    @schema.identify
    def post(self, call: Call) -> Any:
        document = call.document()
        if is_amplitude(document):
            return take_amplitude(call, document)
        return identify(call, document, self.default_type, by_item=self.by_item)

    def error_body(self, error: ApiError, entry: Entry) -> dict[str, Any]:
        """Its key is in the body, so that whose call it is is known before it is counted or refused."""
        amplitudes = entry.document is not None and is_amplitude(entry.document)
        return amplitude_error(error) if amplitudes else super().error_body(error, entry)


def take_amplitude(call: Call, document: dict[str, Any]) -> dict[str, Any]:
    receipt = call.receipt()
    batch = read_events(document, call.workspace.max_items, receipt.at, receipt)
    batch.check(by_item=True)
    counts = take(call, batch)
    return {
        "code": 200,
        "events_ingested": counts["received"] - counts.get("refused", 0) - counts["ignored"],
        "payload_size_bytes": len(call.entry.raw or b""),
        "server_upload_time": int(call.entry.received_at.timestamp() * 1000),
        **{
            name: counts[name]
            for name in ("ignored", "refused", "errors", "notInCohorts")
            if counts.get(name)
        },
        **invalid_fields(batch),
    }


class AmplitudeEventsView(PartnerView):
    """Amplitude's HTTP V2. User properties are taken as traits."""

    keys_in_body = ("api_key",)
    judges_body = True
    takes_browsers = True

    @schema.amplitude_events
    def post(self, call: Call) -> Any:
        return take_amplitude(call, call.document())

    def error_body(self, error: ApiError, entry: Entry) -> dict[str, Any]:
        return amplitude_error(error)


class MixpanelView(PartnerView):
    asked: Any = None

    @schema.mixpanel
    def post(self, call: Call) -> Any:
        document = call.document()
        self.asked = document.get("action")
        page = read_page(document, call.workspace.max_items)
        with call.writing() as counts:
            counts["received"] = len(page.user_ids)
            counts["changed"], dropped = apply_page(call.workspace, page)
        if dropped is not None:
            store.empty_set(dropped)
        return {"action": page.action, "status": "success"}

    def error_body(self, error: ApiError, entry: Entry) -> dict[str, Any]:
        action = self.asked if isinstance(self.asked, str) else None
        return {"action": action, "status": "failure", **error.body()}


class UsersView(PartnerView):
    @schema.add_known_users
    def post(self, call: Call) -> Any:
        ids = read_list_change(call.document(), call.workspace.max_items)
        with call.writing() as counts:
            counts["received"] = len(ids)
            counts["changed"] = store.add_known_users(call.workspace, ids)
        return counts

    @schema.read_user
    def get(self, call: Call) -> Any:
        return reading.describe_user(call.workspace, call.query("userId"))


class TraitsView(PartnerView):
    @schema.read_traits
    def get(self, call: Call) -> Any:
        name = call.query("name")
        if name:
            return reading.describe_trait(call.workspace, name)
        return reading.traits(call.workspace, call.query("after"), call.query("limit"))


class TraitMembersView(PartnerView):
    @schema.read_holders
    def get(self, call: Call) -> Any:
        return reading.members_reply(call, reading.holders_of(call.workspace, call.query("name")))


class TraitDigestView(PartnerView):
    @schema.read_holders_digest
    def get(self, call: Call) -> Any:
        return reading.digest(reading.holders_of(call.workspace, call.query("name")))
