"""The HTTP side of one process: /metrics for every actor,
also /sd and /healthz where they are given.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from monitoring.addresses import WILDCARDS, bare, family_of, joined
from monitoring.discovery import Target, to_http_sd

SD_REFRESH_S = 5

Targets = Callable[[], Iterable[Target]]
Health = Callable[[], str | None]  # None: well; else what is wrong


class PortInUse(OSError):
    """The wanted port cannot be bound; the message names it."""


class Exporter:
    """Serves the metrics of `registry` over HTTP, from construction until `close`.

    Paths: `/metrics` (text, or OpenMetrics where the client asks for it), `/healthz` (200, or 503
    with what `health` says is wrong), and `/sd` if `targets` is given. Both callables run in the
    server's threads. The collectors for the process, the platform and the garbage collector join
    the registry.

    Raises:
        PortInUse: `port` cannot be bound; 0 takes a free one.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        advertised_host: str | None = None,
        targets: Targets | None = None,
        health: Health = lambda: None,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the series of counters
        self._metrics = make_wsgi_app(registry)
        self._targets = targets
        self._health = health
        try:
            self._server = make_server(
                bare(host), port, self._answer, _server_of(host), _QuietHandler
            )
        except OSError as error:
            raise PortInUse(
                f"metrics port {joined(host, port)} cannot be bound ({error.strerror}); stop what "
                "uses it, or set monitoring.port to another port or to 0 for a free one"
            ) from error
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._advertised_host = advertised_host or (
            socket.gethostname() if bare(host) in WILDCARDS else host
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """host:port to publish; for a wildcard host that is the advertised
        one, else the machine's name.
        """
        return joined(self._advertised_host, self._server.server_port)

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The one WSGI application: a path, an answer."""
        match environ["PATH_INFO"], self._targets:
            case "/metrics", _:
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            case "/healthz", _:
                wrong = self._health()
                return _reply(
                    start_response, "503 Service Unavailable" if wrong else "200 OK", wrong or "ok"
                )
            case "/sd", targets if targets is not None:
                body = to_http_sd(targets())
                return _reply(start_response, "200 OK", body, "application/json")
            case path, _:
                known = "/metrics, /healthz" + (", /sd" if self._targets else "")
                return _reply(
                    start_response, "404 Not Found", f"nothing at {path}; there is {known}"
                )


def _reply(
    start_response: StartResponse,
    status: str,
    body: str | bytes,
    kind: str = "text/plain; charset=utf-8",
) -> list[bytes]:
    content = body if isinstance(body, bytes) else f"{body}\n".encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(content)))])
    return [content]


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        """Bind without the reverse DNS look-up of http.server,
        which takes seconds where no DNS answers.
        """
        socketserver.TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_of(host: str) -> type[_Server]:
    return _Server6 if family_of(host) is socket.AF_INET6 else _Server


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the parent's name)
        """Say nothing: one line per scrape would drown the log."""
