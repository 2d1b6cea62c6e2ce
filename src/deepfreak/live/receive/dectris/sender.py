"""Sending like a detector: the other side of Stream V2 and V1."""

import time
from collections.abc import Mapping
from typing import Any, Literal, Self

import zmq
from numpy.typing import NDArray

from deepfreak.errors import InputError
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.compression import Algorithm, CompressedArray, encode
from deepfreak.live.receive.dectris.messages import End, Image, Start

Protocol = Literal["v1", "v2"]
Compression = Literal["none", "bslz4", "lz4"]

# Pixels of an image: of its only channel, or of each; [slow, fast], or compressed before.
Pixels = NDArray[Any] | CompressedArray | Mapping[str, NDArray[Any] | CompressedArray]
# A whole message: of one part, or of several.
Encoded = bytes | list[bytes]


def encode_pixels(
    counts: NDArray[Any], *, protocol: Protocol = "v2", compression: Compression = "bslz4"
) -> CompressedArray:
    """Return an image's pixels as they are sent, for use in many messages."""
    algorithm: Algorithm = compression
    if protocol == "v1" and compression == "lz4":
        algorithm = "lz4-block"
    return encode(counts, algorithm)


def encode_image(
    number: int,
    pixels: Pixels,
    *,
    start: Start,  # the series' start; its channels name those of `pixels`
    protocol: Protocol = "v2",
    compression: Compression = "bslz4",
    # truth, sent: as in `messages.Arrival`; only we say such, in the image's user data
    truth: Mapping[str, Any] | None = None,
    sent: float | None = None,
) -> Encoded:
    """Return the message of an image."""
    image = Image(
        series_id=start.series_id, unique_id=start.unique_id, number=number, truth=truth, sent=sent
    )
    channel = next(iter(start.channels), json_v1.CHANNEL)
    by_channel = pixels if isinstance(pixels, Mapping) else {channel: pixels}
    coded = {
        name: one
        if isinstance(one, CompressedArray)
        else encode_pixels(one, protocol=protocol, compression=compression)
        for name, one in by_channel.items()
    }
    if protocol == "v2":
        return cbor_v2.encode_image(image, coded)
    return json_v1.encode_image(image, coded[channel])


class StreamSender:
    """Sends as a detector does: to those that listen, and drops for those that cannot keep up."""

    def __init__(
        self,
        # `tcp://HOST:PORT` to wait at for listeners; with `*` as the port, one that is free
        address: str,
        *,
        protocol: Protocol = "v2",
        # how many messages wait for a listener before further ones are dropped
        high_water: int = 1000,
        compression: Compression = "bslz4",
    ) -> None:
        self.protocol, self.compression = protocol, compression
        self._start: Start | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, high_water)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(
                f"expected a free address such as tcp://127.0.0.1:31001, found {address:.60}: "
                f"{error.strerror}"
            ) from error
        # where it waits, with its port
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def wait(self, within_s: float) -> bool:
        """Return whether a listener can take a message within `within_s` seconds."""
        return bool(self._socket.poll(int(within_s * 1000), zmq.POLLOUT))

    def start(self, start: Start, *, within_s: float = 0.0) -> bool:
        """Begin a series; return whether a listener took the message in time."""
        self._start = start
        encode_start = cbor_v2.encode_start if self.protocol == "v2" else json_v1.encode_start
        return self.wait(within_s) and self.send(encode_start(start))

    def image(
        self,
        number: int,
        # counts, compressed pixels, those of several channels by name, or a whole message
        pixels: Pixels | Encoded,
        *,
        truth: Mapping[str, Any] | None = None,
        sent: float | None = None,  # when it leaves, in seconds since 1970; now, if None
    ) -> bool:
        """Send an image of the series; return whether it was taken, as it is dropped if not."""
        if isinstance(pixels, bytes | list):
            return self.send(pixels)
        return self.send(
            encode_image(
                number,
                pixels,
                start=self._series(),
                protocol=self.protocol,
                compression=self.compression,
                truth=truth,
                sent=time.time() if sent is None else sent,
            )
        )

    def end(self, *, within_s: float = 0.0) -> bool:
        """End the series; return whether a listener took the message in time."""
        start = self._series()
        end = End(series_id=start.series_id, unique_id=start.unique_id)
        encode_end = cbor_v2.encode_end if self.protocol == "v2" else json_v1.encode_end
        return self.wait(within_s) and self.send(encode_end(end))

    def send(self, encoded: Encoded) -> bool:
        """Send a message as it is; return whether it was taken."""
        parts = [encoded] if isinstance(encoded, bytes) else encoded
        try:
            self._socket.send_multipart(parts, flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, *, within_s: float = 0.0) -> None:
        """Stop; messages on their way get `within_s` seconds to reach their listener."""
        if not self._socket.closed:
            self._socket.close(linger=int(within_s * 1000))
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(within_s=1.0)

    def _series(self) -> Start:
        if self._start is None:
            raise InputError("expected the start of a series before its images, found none")
        return self._start
