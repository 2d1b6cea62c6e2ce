"""The server in a thread of its own, patient with slow clients but not for ever."""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from deepfreak.errors import BackendError, InputError

START_S = 10.0
MAX_CONNECTIONS = 100
_MAX_HEADER_BYTES = 16 << 10
_KEEP_ALIVE_S = 10
_STOP_S = 2


class _Patience:
    """A timer that does something unless it is told in time that it is no longer needed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, at_last: Callable[[], None]) -> None:
        """Do this after so many seconds; what was to be done before is not."""
        self.end()
        self._timer = self._loop.call_later(self._seconds, at_last)

    def end(self) -> None:
        """Do nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on clients who hold a connection and do not use it.

    uvicorn waits for ever for the first request, and for a reader that does not read. Where there
    are `MAX_CONNECTIONS` already, a new one is closed at once: those that are open go on.
    """

    # In seconds: to send a request's head, and to take what has been written.
    head_s = 10.0
    unread_s = 15.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._head = _Patience(self.loop, self.head_s)
        self._unread = _Patience(self.loop, self.unread_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self.connections.discard(self)
            transport.abort()
            return
        self._head.begin(self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head.end()
        super().connection_lost(exc)
        self._unread.end()

    def data_received(self, data: bytes) -> None:
        """Take data; once a request's head is whole, its answer may take its time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head.end()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._head.begin(self.transport.abort)

    def pause_writing(self) -> None:
        """Begin to wait for a reader."""
        super().pause_writing()
        self._unread.begin(self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, it reads."""
        self._unread.end()
        super().resume_writing()


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


def serve(app: FastAPI, *, host: str, port: int) -> ServerHandle:
    """Serve `app` in a thread until `stop`; port 0 takes one that is free.

    Whether `host` may be bound is for `check_binding` to say.

    Raises
    ------
    InputError
        The address is not one of this machine, or the port is taken.
    BackendError
        The server does not start.
    """
    listener = _listen(host, port)
    bound = int(listener.getsockname()[1])
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        limit_concurrency=MAX_CONNECTIONS + 1,
    )
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
