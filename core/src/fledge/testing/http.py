"""A real http server on loopback that answers as a test tells it to, also wrongly, and remembers what it was asked."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A response. Content-Length is that of `body` unless `headers` has one, and not sent when that is empty.

    `cut`: close after so many body bytes.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Behaviour = Callable[[Asked], Answer]


class Server:
    """Where it listens, what it was asked, and how it answers (which a test may change at any time)."""

    def __init__(self, url: str, behaviour: Behaviour) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.behaviour = behaviour

    def paths(self) -> list[str]:
        """The paths asked for so far, in order."""
        return [asked.path for asked in self.asked]


@contextmanager
def serving(behaviour: Behaviour, certificate: Path | None = None) -> Iterator[Server]:
    """A server for as long as the block lasts. `certificate`: a PEM file with its key, for https."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            asked = Asked(self.path, headers, self.command, body)
            server.asked.append(asked)
            answer = server.behaviour(asked)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                if name == "Content-Length" and not value:
                    self.close_connection = True
                else:
                    self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # A client may have seen enough.
                if self.command != "HEAD":
                    self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silent: what was asked is in `asked`."""

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
                super().handle_error(request, client_address)

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server = Server(f"{'https' if certificate else 'http'}://127.0.0.1:{listener.server_port}", behaviour)
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
