"""A page or a call begins a trace, or goes on with its caller's, where traces are on."""

from collections.abc import Callable

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from pagekit import tracing


def traced(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: a span for each request, by its route. What people wrote into the address is not in it."""
    if not tracing.is_on():
        raise MiddlewareNotUsed

    def answer(request: HttpRequest) -> HttpResponseBase:
        parent = request.headers.get("traceparent", "")
        method = request.method or ""
        with tracing.span(method, parent=parent, kind=tracing.SERVER, http_request_method=method) as span:
            response = get_response(request)
            if span is not None:
                route = request.resolver_match.route if request.resolver_match else ""
                span.update_name(f"{method} /{route}")
                span.set_attributes({"http.route": route, "http.response.status_code": response.status_code})
            return response

    return answer
