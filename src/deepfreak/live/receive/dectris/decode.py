"""From a message to a `Frame`."""

from typing import Literal

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Frame, Valid
from deepfreak.formats.measured import missing_by_reason
from deepfreak.live.receive.dectris import cbor_v2, json_v1
from deepfreak.live.receive.dectris.compression import decode
from deepfreak.live.receive.dectris.messages import Start


class StreamDecoder:
    """Makes a frame of an image's payload and its number; `decoder` returns one."""

    def __init__(
        self,
        kind: Literal["dectris-v2", "dectris-v1"],
        start: Start,
        *,
        series: str,
        channel: str | None,
        mask: Valid | None,
    ) -> None:
        # "mask" if the mask does not fit the last frame, which is then without it
        self.lacks: tuple[str, ...] = ()
        self._kind, self._start, self._series, self._channel = kind, start, series, channel
        self._measured = None if mask is None else ~mask

    def __call__(self, payload: bytes | memoryview, number: int) -> Frame:
        """Return the frame; `FrameError` where the payload is not an image of this series."""
        start, measured = self._start, self._measured
        if self._kind == "dectris-v1":
            coded = json_v1.read_pixels(json_v1.split(payload))
        else:
            coded = cbor_v2.read_pixels(payload, self._channel)
        if start.shape is not None and coded.shape != start.shape:
            raise FrameError(
                f"expected an image of {start.shape} pixels, as the series' start says, "
                f"found {coded.shape}"
            )
        fits = measured is None or measured.shape == coded.shape
        self.lacks = () if fits else ("mask",)
        counts = decode(coded)
        return Frame(
            file=self._series,
            index=number,
            counts=counts,
            valid=_valid(counts, measured if fits else None),
            simulated=start.simulated,
            **({"gain": 1.0} | start.metadata),
        )


def decoder(
    kind: Literal["dectris-v2", "dectris-v1"],
    # what the source gives with `SeriesBegan`: a start message of Stream V2 for both kinds, with
    # what is known; empty where nothing is
    context: bytes,
    *,
    series: str,  # its name, which the frames get as their file
    # which of several (thresholds) to take; None: the first that the detector announced
    channel: str | None = None,
) -> StreamDecoder:
    """Return what makes frames of a series; `FrameError` for anything else."""
    start = cbor_v2.read_message(context) if context else Start(series_id=0)
    if not isinstance(start, Start):
        raise FrameError("expected the start message of a series, found another one")
    if kind == "dectris-v1":
        channel = json_v1.CHANNEL
    elif start.channels:
        channel = start.channels[0] if channel is None else channel
        if channel not in start.channels:
            raise FrameError(
                f"expected one of the detector's channels, {', '.join(start.channels):.200}, "
                f"found {channel:.60}"
            )
    # the only mask is that of the only channel, though the start names none
    only = next(iter(start.masks)) if len(start.masks) == 1 and not start.channels else None
    mask = start.masks.get(channel or only or "")
    return StreamDecoder(kind, start, series=series, channel=channel, mask=mask)


def _valid(counts: Counts, measured: Valid | None) -> Valid:
    """Return where `counts` hold a measurement.

    The rule is that of `measured`: the detector's mask decides, without one the values do. A
    difference of two thresholds is signed, and its negative values are measurements.
    """
    if measured is not None:
        return measured if counts.dtype.kind != "f" else measured & np.isfinite(counts)
    unsigned = counts.dtype.kind == "u"
    valid = np.ones(counts.shape, dtype=np.bool_)
    for where in missing_by_reason(counts, counting=unsigned, gaps=False).values():
        valid &= ~where
    return valid
