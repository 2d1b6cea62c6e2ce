"""A detector's stream over ZeroMQ as a source of frames."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from deepfreak.errors import FrameError, InputError
from deepfreak.live.messages import Event, Trouble
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.messages import Image
from deepfreak.live.receive.dectris.series import SeriesTracker
from deepfreak.live.receive.frame_accounting import FrameAccounting

MAX_MESSAGE = 256 << 20  # bytes, of each part

_TICK_MS = 100
_ADDRESS = re.compile(r"tcp://(?:[\w.-]+|\*|\[[0-9A-Fa-f:.%\w]+\]):(?:\d{1,5}|\*)", re.ASCII)


class StreamSource:
    """Receives from a detector; a `FrameSource`.

    It connects again by itself whenever the connection is lost. Raises `InputError` where it is not
    an address, or it is in use.
    """

    def __init__(
        self,
        # `tcp://HOST:PORT` to connect to (a detector listens on port 31001 for Stream V2 and on
        # 9999 for V1), or with `bind:` before it, the address at which to wait for one
        address: str,
        *,
        # "auto" tells V1 and V2 apart by each message
        protocol: Literal["auto", "v1", "v2"] = "auto",
        # how many messages ZeroMQ keeps for us; with more the detector waits, or drops them
        high_water: int = 100,
        # bytes of a message's part; a detector that sends more is disconnected
        max_message: int = MAX_MESSAGE,
        answer_s: float = 3.0,  # seconds until a detector that does not answer is warned of
    ) -> None:
        binds = address.startswith("bind:")
        endpoint = address.removeprefix("bind:")
        if not _ADDRESS.fullmatch(endpoint):
            raise InputError(f"expected an address such as tcp://HOST:31001, found {address:.60}")
        self._protocol = protocol
        self._conversation = SeriesTracker()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, high_water)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_message)
        # a detector whose network is gone says nothing: ask after 10 s, give up after 15 s more
        self._socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self._socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
        self._socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
        self._socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
        )
        try:
            (self._socket.bind if binds else self._socket.connect)(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(
                f"expected an address to {'wait' if binds else 'listen'} at, found {endpoint}: "
                f"{error.strerror}"
            ) from error
        bound = self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.address = bound if binds else endpoint
        self._link = _Connection(
            self.address, answer_s=None if binds else answer_s, lost=self._conversation.lost
        )

    def resume(self, accounting: FrameAccounting) -> None:
        """Take what was received before; see `ResumableSource`."""
        self._conversation.resume(accounting)

    def events(self) -> Iterator[Event | None]:
        """Yield what the detector says, without end; see `FrameSource`.

        A message that cannot be understood becomes a `Trouble`.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll(_TICK_MS))
                if self._monitor in ready:
                    yield from self._link.changes(self._monitor)
                if self._socket in ready:
                    yield from self._receive()
                if not ready:
                    if self._link.abandoned:
                        self._connect_again()
                    yield self._link.silence()
        finally:
            self.close()

    def close(self) -> None:
        """Free the sockets; nothing happens when they are."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
            self._context.term()

    def _connect_again(self) -> None:
        """Connect where ZeroMQ does not, as after a message that was too large.

        What had been received until then must have been taken before.
        """
        with suppress(zmq.ZMQError):  # it may have left by itself
            self._socket.disconnect(self.address)
        self._socket.connect(self.address)
        self._link.abandoned = False

    def _receive(self) -> Iterator[Event]:
        """Yield what the next message means."""
        parts = self._socket.recv_multipart(copy=False)
        received, since = time.time(), time.monotonic()
        sender = parts[0].get(zmq.SRCFD)
        # a connection that was lost meanwhile may have had the same descriptor
        yield from self._link.changes(self._monitor)
        try:
            buffers = [part.buffer for part in parts]
            yield from self._understood(buffers, received, since, sender=sender)
        except FrameError as error:
            yield Trouble(message=f"rejected message: {error}")
        except Exception as error:  # noqa: BLE001 - no message may end a run in beam time
            yield Trouble(message=f"rejected message: it led to {type(error).__name__}")

    def _understood(
        self, parts: Sequence[memoryview], received: float, since: float, *, sender: int
    ) -> list[Event]:
        protocol = self._protocol
        if protocol == "auto":
            protocol = "v1" if len(parts) > 1 or bytes(parts[0][:1]) == b"{" else "v2"
        payload: bytes | memoryview = b""
        if protocol == "v1":
            message = json_v1.read_message(parts)
            if isinstance(message, Image):
                payload = json_v1.join(parts)
        elif len(parts) == 1:
            message = cbor_v2.read_message(parts[0])
            payload = parts[0]
        else:
            raise FrameError(f"expected a message of Stream V2 in one part, found {len(parts)}")
        return self._conversation.events(
            message, protocol, payload, received=received, since=since, sender=sender
        )


class _Connection:
    """Whether there is a detector at the other end, and the messages when that changes."""

    def __init__(
        self, address: str, *, answer_s: float | None, lost: Callable[[int], None]
    ) -> None:
        # whether the connection was lost and ZeroMQ does not make it again: it takes a peer that
        # breaks its rules for one not to talk to
        self.abandoned = False
        self._lost_sender = lost
        self._address = address
        self._waits = answer_s is None
        self._peers = 0
        self._lost = False
        # no warning where the detector connects to us
        self._patience = None if answer_s is None else time.monotonic() + answer_s

    def changes(self, monitor: zmq.Socket[bytes]) -> Iterator[Event]:
        """Yield the messages of the monitor's events."""
        while monitor.poll(0):
            message = recv_monitor_message(monitor)
            event = message["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self._lost_sender(message["value"])
            if event == zmq.EVENT_CONNECT_RETRIED:
                self.abandoned = False
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._peers += 1
                self.abandoned = False
                self._patience = None
                if self._lost:
                    self._lost = False
                    yield Trouble(message=f"connected again with {self._address}")
            elif event == zmq.EVENT_DISCONNECTED and self._peers:
                self._peers -= 1
                self.abandoned = not self._waits
                if not self._peers:
                    self._lost = True
                    yield Trouble(message=f"connection lost with {self._address}")

    def silence(self) -> Trouble | None:
        """Return once, after a while, that there is no answer yet."""
        if self._patience is None or time.monotonic() < self._patience:
            return None
        self._patience = None
        return Trouble(message=f"expected a detector at {self._address}, nothing answers yet")
