"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT says where to; else nothing is even imported.

    click or schedule ─▶ run ─▶ refresh, batch ─▶ the partner's request

What has to be remembered between processes is a W3C traceparent, in the run's row. Spans have ids and counts,
and no personal data: neither addresses with what people typed, nor messages of errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

CLIENT, SERVER, PRODUCER = "CLIENT", "SERVER", "PRODUCER"
_processors: list[SpanProcessor] = []


def is_on() -> bool:
    return bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT)


@contextmanager
def span(name: str, *, parent: str = "", kind: str = "INTERNAL", **about: Any) -> Iterator[Span | None]:
    """Trace what is done within, if traces are on. What is raised marks it as failed, by the error's class.

    `parent`: a traceparent from elsewhere; else it is the span that is open in this thread. `about`: its
    attributes.
    """
    if not is_on():
        yield None
        return
    from opentelemetry import trace

    with tracer().start_as_current_span(
        name,
        context=_context(parent),
        kind=trace.SpanKind[kind],
        attributes=_given(about),
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def begin(name: str, *, parent: str = "", **about: Any) -> Span | None:
    """Begin a span that is open over many steps; whoever has it calls `end`, once."""
    if not is_on():
        return None
    return tracer().start_span(name, context=_context(parent), attributes=_given(about))


def of(opened: Span | None) -> str:
    """Return the traceparent of a span, or '' of none."""
    if opened is None:
        return ""
    found = opened.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def current() -> str:
    """Return the traceparent of the span that is open in this thread, or ''."""
    if not is_on():
        return ""
    from opentelemetry import trace

    opened = trace.get_current_span()
    return of(opened) if opened.get_span_context().is_valid else ""


def id_in(traceparent: str) -> str:
    """Return the trace's id, by which logs name it; '' of no trace."""
    return traceparent[3:35]


@cache
def tracer() -> Tracer:
    """Return what makes spans. It is made with the first one, in the process that makes it, after a fork."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME}))
    for processor in _processors or [_exporting()]:
        provider.add_span_processor(processor)
    return provider.get_tracer("cohort-sync")


def _exporting() -> SpanProcessor:
    """Return what sends spans, in a thread of its own: a collector that is away delays nobody."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


def _given(about: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as OpenTelemetry writes them: http_route is http.route."""
    return {key.replace("_", "."): value for key, value in about.items() if value not in (None, "")}


def _context(parent: str) -> Any:
    if not parent:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
