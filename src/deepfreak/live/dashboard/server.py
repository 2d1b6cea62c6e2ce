"""The server in a thread of its own, and limits for clients that hold connections unused."""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from deepfreak.errors import BackendError, InputError

START_S = 10.0
_MAX_HEADER_BYTES = 16 << 10
_KEEP_ALIVE_S = 10
_STOP_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a client may hold."""

    connections: int = 100  # further ones are closed at once, so that open ones continue
    head_s: float = 10.0  # seconds for the head of a request, also for that of the first one
    unread_s: float = 15.0  # seconds for reading what was sent


class _Connections:
    """The open connections of a server, by the address of their clients."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.open: dict[tuple[str, int], _LimitedConnection] = {}

    def protocol(self, inner: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
        """Return uvicorn's protocol `inner` with the limits around it."""
        return type("LimitedConnection", (_LimitedConnection,), {"inner": inner, "all": self})

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return `app`, which tells connections when a request's head has come and is answered."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            connection = self.open.get(scope.get("client") or ("", 0))
            if connection is None:
                await app(scope, receive, send)
                return
            connection.head_timer.stop()
            try:
                await app(scope, receive, send)
            finally:
                connection.head_timer.start()

        return limited


class _Timer:
    """Closes a connection after some seconds unless it is stopped before."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.stop()
        if not self._transport.is_closing():
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(self._seconds, self._transport.abort)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _LimitedConnection(asyncio.Protocol):
    """Passes on what asyncio tells the server's protocol, within limits.

    uvicorn waits indefinitely for the first request and for a client that does not read.
    """

    inner: type[asyncio.Protocol]
    all: _Connections
    head_timer: _Timer

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._inner = self.inner(*args, **kwargs)
        self._client = ("", 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        limits, peer = self.all.limits, transport.get_extra_info("peername")
        self.head_timer = _Timer(transport, limits.head_s)
        self._unread_timer = _Timer(transport, limits.unread_s)
        self._is_served = bool(peer) and len(self.all.open) < limits.connections
        if not self._is_served:
            transport.abort()
            return
        self._client = str(peer[0]), int(peer[1])
        self.all.open[self._client] = self
        self._inner.connection_made(transport)
        self.head_timer.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self.head_timer.stop()
        self._unread_timer.stop()
        if self._is_served:
            del self.all.open[self._client]
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()
        self._unread_timer.start()

    def resume_writing(self) -> None:
        self._unread_timer.stop()
        self._inner.resume_writing()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHandle:
    """A server that runs; `address` is where, such as http://127.0.0.1:8000."""

    address: str
    port: int
    _stop: Callable[[], None] = field(repr=False)

    def stop(self) -> None:
        """End it: pages lose their connection, the port is free when this returns."""
        self._stop()


class _Server(uvicorn.Server):
    """Tells another thread when it takes connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.ready.set()


def serve(
    app: FastAPI, *, host: str, port: int, limits: ConnectionLimits | None = None
) -> ServerHandle:
    """Serve `app` in a thread until `stop`; port 0 takes one that is free.

    Whether `host` may be bound is for `check_binding` to say. Raises `InputError` where the address
    is not one of this machine, or the port is taken; `BackendError` where the server does not
    start.
    """
    listener = _listen(host, port)
    bound = int(listener.getsockname()[1])
    connections = _Connections(limits or ConnectionLimits())
    config = uvicorn.Config(
        connections.middleware(app),
        http="h11",
        interface="asgi3",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        limit_concurrency=connections.limits.connections + 1,
    )
    config.load()
    config.http_protocol_class = connections.protocol(config.http_protocol_class)
    server = _Server(config)

    def in_thread() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            server.ready.set()
            listener.close()

    thread = threading.Thread(target=in_thread, name="deepfreak web", daemon=True)
    thread.start()
    if not server.ready.wait(START_S) or not server.started:
        server.should_exit = True
        raise BackendError("expected the web server to start, found that it did not: see the log")

    def stop() -> None:
        if thread.is_alive():
            publisher = app.state.publisher
            asyncio.run_coroutine_threadsafe(publisher.close(), server.loop).result(_STOP_S)
            server.should_exit = True
            thread.join()

    name = f"[{host}]" if ":" in host else host
    return ServerHandle(address=f"http://{name}:{bound}", port=bound, _stop=stop)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"expected a port of 0 to 65535, found {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"expected an address to serve on, found {host!r}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot serve on port {port} of {host}: {error.strerror or error}; choose another port"
        ) from error
    return listener
