"""Frames to keep and unsure ones, on a ZeroMQ socket, for `indexamajig --zmq-input`.

::

    indexamajig --zmq-input=tcp://HOST:PORT --data-format=msgpack --peaks=msgpack ...
        with --zmq-subscribe=deepfreak    kind "publish": every reader gets every frame
        or   --zmq-request=next           kind "answer": each frame goes to one reader

Each of indexamajig's workers is a reader of its own: with more than one (`-j`), "answer" is what
shares the frames out between them.

A frame is MessagePack in the form of OM (OnDA Monitor)::

    detector_data      {type: "<f4", shape: [slow, fast], data}: counts, NaN where not valid, which
                       CrystFEL takes for bad pixels
    peak_list          {num_peaks, fs, ss, intensity}: lists; whole numbers are pixels' centres,
                       intensities are photons
    beam_energy        eV
    detector_distance  mm
    event_id           "SERIES//NUMBER"
    timestamp          seconds since 1970, of receipt
    source             "deepfreak"

and beside what OM sends: series, number, decision ("keep" or "unsure"), reasons, label, p_crystal.
`beam_energy` and `detector_distance` are missing where the frame does not say them. A CrystFEL
geometry names these as it names places in a file: `data = detector_data`, `peak_list = peak_list`,
`photon_energy = beam_energy eV`, `clen = detector_distance mm`.

CrystFEL compares a name that it looks for with as much of it as each key is long, so that no key
may be the beginning of another; and it takes every peak's numbers for floats without looking.
"""

from collections import deque
from typing import TYPE_CHECKING, Literal

import msgpack
import numpy as np
import zmq

from deepfreak.errors import InputError, OutputError
from deepfreak.formats.geometry.geometry import HC_EV_A
from deepfreak.live.messages import Hit

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame


def pack_hit(hit: Hit) -> bytes:
    """Return the message of a hit; `FrameError` where the frame cannot be decoded."""
    frame, outcome, peaks = hit.frame(), hit.outcome, hit.peaks
    message: dict[str, object] = {
        "detector_data": _detector_data(frame),
        "peak_list": {
            "num_peaks": len(peaks),
            "fs": (np.asarray(peaks.fast, np.float64) - 0.5).tolist(),
            "ss": (np.asarray(peaks.slow, np.float64) - 0.5).tolist(),
            "intensity": np.asarray(peaks.photons, np.float64).tolist(),
        },
        "event_id": _text(f"{outcome.series}//{outcome.number}"),
        "timestamp": float(outcome.received),
        "source": "deepfreak",
        "series": _text(outcome.series),
        "number": outcome.number,
        "decision": outcome.decision,
        "reasons": list(outcome.reasons),
        "label": outcome.label,
        "p_crystal": outcome.p_crystal,
    }
    if frame.wavelength_A is not None:
        message["beam_energy"] = float(HC_EV_A / frame.wavelength_A)
    if frame.distance_mm is not None:
        message["detector_distance"] = float(frame.distance_mm)
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def _detector_data(frame: "Frame") -> dict[bytes, object]:
    """Return the image as the package msgpack-numpy writes arrays."""
    image = frame.counts.astype("<f4")
    image[~frame.valid] = np.nan
    return {
        b"nd": True,
        b"type": "<f4",
        b"kind": b"",
        b"shape": list(image.shape),
        b"data": image.tobytes(),
    }


def _text(name: str) -> str:
    """Return `name` as UTF-8 can have it."""
    return name.encode("utf-8", "backslashreplace").decode()


# CrystFEL takes each part of a message for a frame, but drops those of at most 15 bytes.
MAX_TOPIC_LENGTH = 15
MAX_REQUEST_LENGTH = 1024  # bytes; a peer that sends more is cut off
_MAX_REQUESTS = 1000  # unanswered, and read in one go
_LINGER_MS = 1000  # for what is still on its way when the socket is closed


class CrystFELSocket:
    """A `HitSink` that sends each frame to the readers there are, and never waits for one.

    `sent` counts frames handed to ZeroMQ for a reader; those on their way to one that crashes are
    lost. `dropped` counts frames not sent: there was no reader, or it was too slow and the queue
    full. Exact for "answer", and for "publish" with one reader. With several, a frame for which one
    has no room still goes to the others; ZeroMQ reports the first such frame only, so that the
    count is a lower bound, and the frame is in `sent` as well. Raises `InputError` where the topic
    is longer than CrystFEL can take; `OutputError` where the address cannot be listened on.
    """

    def __init__(
        self,
        address: str,  # where to listen, such as "tcp://127.0.0.1:5002"; port * is any free one
        *,
        # "publish" for readers that subscribe to `topic`, "answer" for readers that ask
        kind: Literal["publish", "answer"],
        topic: str = "deepfreak",
        # the most frames that wait in memory for a reader ("publish": for each reader)
        queue: int = 16,
    ) -> None:
        if len(topic.encode()) > MAX_TOPIC_LENGTH:
            raise InputError(
                f"expected a topic of at most {MAX_TOPIC_LENGTH} bytes, found {topic!r:.40}: "
                "CrystFEL would take a longer one for a frame"
            )
        if queue < 1:
            raise InputError(f"expected a queue of at least 1 frame, found {queue}")
        self.sent = self.dropped = 0
        self._context = zmq.Context()
        self._readers: _SubscribedReaders | _RequestingReaders
        try:
            socket = self._context.socket(zmq.XPUB if kind == "publish" else zmq.ROUTER)
            socket.set_hwm(queue)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_LENGTH)
            if kind == "publish":
                self._readers = _SubscribedReaders(socket, topic.encode())
            else:
                self._readers = _RequestingReaders(socket, queue)
            socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OutputError(
                f"cannot listen on {address}: {error.strerror}; expected such as "
                "tcp://127.0.0.1:5002"
            ) from error
        self._socket = socket
        # where it listens, with the port that it got
        self.address: str = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def keep(self, hit: Hit) -> None:
        """Send a frame, or count it as dropped; without a reader it is not even decoded."""
        if not self._readers.present():
            self.dropped += 1
            return
        sent, dropped = self._readers.offer(pack_hit(hit))
        self.sent += sent
        self.dropped += dropped

    def answer(self) -> None:
        """Give waiting frames to readers that have asked meanwhile; `keep` does so as well.

        It costs a few microseconds, and lets readers have the last frames before a pause.
        """
        self.sent += self._readers.serve()

    def close(self) -> None:
        """Stop listening; frames without a request count as dropped."""
        self.answer()
        self.dropped += self._readers.waiting()
        self._context.destroy(linger=_LINGER_MS)


class _SubscribedReaders:
    """Readers that want every frame."""

    def __init__(self, socket: zmq.Socket[bytes], topic: bytes) -> None:
        self._socket = socket
        self._topic = topic
        self._count = 0
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # tell of each one that comes and goes

    def present(self) -> bool:
        for _ in range(_MAX_REQUESTS):
            try:
                said = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if self._topic.startswith(said[1:]):  # what a subscription names is a beginning
                change = {b"\x01": 1, b"\x00": -1}.get(said[:1], 0)
                self._count = max(0, self._count + change)
        return self._count > 0

    def offer(self, message: bytes) -> tuple[int, int]:
        """Return whether a reader got the frame, and whether one had no room for it."""
        if self._send(message, lossy=False):
            return 1, 0
        if self._count == 1:
            return 0, 1
        # one that hangs does not keep the others from getting it
        self._send(message, lossy=True)
        return 1, 1

    def serve(self) -> int:
        self.present()
        return 0

    def waiting(self) -> int:
        return 0

    def _send(self, message: bytes, *, lossy: bool) -> bool:
        """Return whether there was room for all readers; if not, `lossy` sends to the others."""
        self._socket.setsockopt(zmq.XPUB_NODROP, 0 if lossy else 1)
        try:
            self._socket.send_multipart([self._topic, message], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class _RequestingReaders:
    """Readers that ask for the next frame, and get one that no other gets."""

    def __init__(self, socket: zmq.Socket[bytes], queue: int) -> None:
        self._socket = socket
        self._queue = queue
        # readers that have asked, in their order; one that asks without end counts once
        self._requests: dict[bytes, None] = {}
        self._frames: deque[bytes] = deque()
        self._known = False
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # say when a reader has gone

    def present(self) -> bool:
        """Return whether anybody has ever asked: the next request may come at any time."""
        for _ in range(_MAX_REQUESTS):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if len(parts) != 3 or parts[1]:
                continue  # a REQ socket sends an empty part before its request
            if len(self._requests) < _MAX_REQUESTS:
                self._requests[parts[0]] = None
                self._known = True
        return self._known

    def offer(self, message: bytes) -> tuple[int, int]:
        """Queue a frame behind those that wait; return how many were sent, how many dropped."""
        self._frames.append(message)
        sent, dropped = self.serve(), 0
        while len(self._frames) > self._queue:
            self._frames.popleft()  # the oldest: feedback is about now
            dropped += 1
        return sent, dropped

    def serve(self) -> int:
        self.present()
        sent = 0
        while self._frames and self._requests:
            reader = next(iter(self._requests))
            del self._requests[reader]
            try:
                self._socket.send_multipart([reader, b"", self._frames[0]], zmq.NOBLOCK)
            except zmq.ZMQError:  # that reader has gone; the next one gets the frame
                continue
            self._frames.popleft()
            sent += 1
        return sent

    def waiting(self) -> int:
        return len(self._frames)
