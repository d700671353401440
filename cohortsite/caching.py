"""Answers of the REST API name people: no browser, and no proxy on the way, may keep them."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def nothing_is_stored(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path_info.startswith("/api/v1/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer
