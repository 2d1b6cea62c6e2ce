"""From a message to a `Frame`."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.frames.frame import Counts, Frame, Valid
from deepfreak.frames.measured import missing_by_reason
from deepfreak.live.dectris import cbor_v2, json_v1
from deepfreak.live.dectris.compression import CodedArray, decode
from deepfreak.live.dectris.messages import Start


def decoder(
    kind: Literal["dectris-v2", "dectris-v1"],
    context: bytes,
    *,
    series: str,
    channel: str | None = None,
) -> Callable[[bytes | memoryview, int], Frame]:
    """Return the function that makes a frame of an image's payload and its number.

    Parameters
    ----------
    context
        What `receive` says of the series when it begins: a start message of Stream V2 for both
        kinds, with what is known; empty where nothing is.
    series
        Its name, which the frames get as their file.
    channel
        Which of several (thresholds) to take; None: the first that the detector announced.

    Raises
    ------
    FrameError
        The context is no start message or has no such channel; for the function: the payload is no
        image, or not one of this series.
    """
    start = _read_context(context)
    if kind == "dectris-v1":
        channel = json_v1.CHANNEL
    elif start.channels:
        channel = start.channels[0] if channel is None else channel
        _require_channel(channel, start.channels)
    mask = start.masks.get(channel) if channel is not None else None
    measured = None if mask is None else ~mask

    def read(payload: bytes | memoryview, number: int) -> Frame:
        coded = _pixels(kind, payload, channel)
        if start.shape is not None and coded.shape != start.shape:
            raise FrameError(
                f"expected an image of {start.shape} pixels, as the series' start says, "
                f"found {coded.shape}"
            )
        counts = decode(coded)
        return Frame(
            file=series,
            index=number,
            counts=counts,
            valid=_valid(counts, measured),
            simulated=start.simulated,
            **({"gain": 1.0} | start.facts),
        )

    return read


def _read_context(context: bytes) -> Start:
    if not context:
        return Start(series_id=0)
    start = cbor_v2.read_message(context)
    if not isinstance(start, Start):
        raise FrameError("expected the start message of a series, found another one")
    return start


def _require_channel(channel: str, channels: tuple[str, ...]) -> None:
    if channel not in channels:
        raise FrameError(
            f"expected one of the detector's channels, {', '.join(channels):.200}, "
            f"found {channel:.60}"
        )


def _pixels(kind: str, payload: bytes | memoryview, channel: str | None) -> CodedArray:
    if kind == "dectris-v1":
        return json_v1.read_pixels(json_v1.split(payload))
    return cbor_v2.read_pixels(payload, channel)


def _valid(counts: Counts, measured: Valid | None) -> Valid:
    """Return where `counts` hold a measurement.

    The rule is that of `measured`: the detector's mask decides, without one the values do. A
    difference of two thresholds is signed, and its negative values are measurements.
    """
    if measured is not None:
        if counts.shape != measured.shape:
            raise FrameError(f"expected an image of {measured.shape} pixels, found {counts.shape}")
        return measured if counts.dtype.kind != "f" else measured & np.isfinite(counts)
    unsigned = counts.dtype.kind == "u"
    missing = missing_by_reason(counts, counting=unsigned, gaps=False)
    valid = np.ones(counts.shape, dtype=np.bool_)
    for where in missing.values():
        valid &= ~where
    return valid
