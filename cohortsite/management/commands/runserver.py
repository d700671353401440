"""The development server, for partners' calls too: `manage.py runserver`."""

from contextlib import suppress
from email.errors import MissingHeaderBodySeparatorDefect
from typing import Any

from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer
from whitenoise.runserver_nostatic.management.commands.runserver import (  # type: ignore[import-untyped]
    Command as RunserverCommand,
)

# As in gunicorn.conf.py: the two headers of a partner's call, and no other that has an underscore.
UNDERSCORED = ("api_key", "app_id")


class RequestHandler(WSGIRequestHandler):
    # What http.server itself refuses is answered in JSON too.
    error_message_format = '{"error": {"code": "bad_http", "message": "%(code)d: refused by the server"}}'
    error_content_type = "application/json"

    has_unread_body = False

    def finish(self) -> None:
        """Read what was left unread: closing before would reset the connection, and overtake the reply."""
        super().finish()
        connection: Any = self.connection
        if self.has_unread_body:
            connection.settimeout(1)
            with suppress(OSError):
                for _ in range(1_000):
                    if not connection.recv(65536):
                        break

    def parse_request(self) -> bool:
        """Refuse what Python's parser lets pass and no other server does."""
        if not super().parse_request():
            return False
        cut = any(isinstance(one, MissingHeaderBodySeparatorDefect) for one in self.headers.defects)
        if cut or len(self.headers.get_all("Content-Length", [])) > 1:
            self.close_connection = True
            self.send_error(400)
            return False
        return True

    def close_afterwards(self) -> None:
        self.close_connection = True

    def get_environ(self) -> dict[str, Any]:
        kept = {name: self.headers.get_all(name) or [] for name in UNDERSCORED}
        environ: dict[str, Any] = super().get_environ()
        for name, values in kept.items():
            variable = f"HTTP_{name.upper()}"
            together = [environ[variable]] if variable in environ else []
            if together + values:
                environ[variable] = ",".join(together + values)
        if "HTTP_TRANSFER_ENCODING" in environ:
            # This server cannot tell where a chunked body ends, hence not where the next request begins.
            self.close_connection = self.has_unread_body = True
        # For fault injection. gunicorn hands its connection over by this name, and closes it itself.
        environ["gunicorn.socket"] = self.connection
        environ["receiving.close_connection"] = self.close_afterwards
        return environ


class Server(WSGIServer):
    """Django's own server has no setting for the class that reads requests."""

    def __init__(self, address: Any, handler: Any, **options: Any) -> None:
        super().__init__(address, RequestHandler, **options)


class Command(RunserverCommand):  # type: ignore[misc]
    server_cls = Server
