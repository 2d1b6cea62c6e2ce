"""Payloads to frames: which decoder each kind of series needs."""

from collections import OrderedDict
from collections.abc import Callable

from deepfreak.errors import FrameError
from deepfreak.formats.finishing import finished
from deepfreak.formats.frame import Frame, OpenFile
from deepfreak.formats.options import ReadSettings
from deepfreak.live.messages import SeriesBegan

Decode = Callable[[bytes | memoryview, int], Frame]

# Of this many series a worker keeps what it needs to decode them, masks and open files included.
SERIES_KEPT = 4
# This many are remembered; older ones must be begun again.
SERIES_KNOWN = 1000


class Decoders:
    """The decoders of the series that frames come from now.

    `reading` is what the user gives beside a stream; files have it in their context. `open_file`
    opens files of frames: `open_frames`, or `open_guarded` where the process must survive what they
    hold.
    """

    def __init__(
        self, *, reading: ReadSettings | None = None, open_file: OpenFile | None = None
    ) -> None:
        self._reading, self._open_file = reading or ReadSettings(), open_file
        self._given = self._reading.load()
        self._began: dict[str, SeriesBegan] = {}
        self._open: OrderedDict[str, Decode] = OrderedDict()

    def __contains__(self, series: str) -> bool:
        return series in self._began

    def begin(self, began: SeriesBegan) -> None:
        """Take note of a series; one that is known is opened again."""
        self._began.pop(began.series, None)
        self._began[began.series] = began
        while len(self._began) > SERIES_KNOWN:
            self._began.pop(next(iter(self._began)))
        self._close(began.series)

    def forget(self, series: str) -> None:
        """Forget a series, so that it must begin again."""
        self._began.pop(series, None)
        self._close(series)

    def frame(self, series: str, payload: bytes | memoryview, number: int) -> Frame:
        """Return a frame."""
        decode = self._open.get(series)
        if decode is None:
            began = self._began.get(series)
            if began is None:
                raise FrameError("expected a frame of a series that has begun, found another")
            decode = self._open[series] = _decoder(began, self._reading.channel, self._open_file)
            while len(self._open) > SERIES_KEPT:
                self._close(next(iter(self._open)))
        self._open.move_to_end(series)
        frame = decode(payload, number)
        is_stream = series in self._began and self._began[series].kind.startswith("dectris")
        return finished(frame, self._given) if is_stream else frame

    def lacks(self, series: str) -> tuple[str, ...]:
        """Return what the last frame of a series was decoded without; see `SeriesBegan.lacks`."""
        began, decode = self._began.get(series), self._open.get(series)
        of_series = () if began is None else began.lacks
        return tuple(dict.fromkeys((*of_series, *getattr(decode, "lacks", ()))))

    def close(self) -> None:
        """Close all files."""
        for series in list(self._open):
            self._close(series)

    def _close(self, series: str) -> None:
        decode = self._open.pop(series, None)
        close = getattr(decode, "close", None)
        if close is not None:
            close()


def _decoder(began: SeriesBegan, channel: str | None, open_file: OpenFile | None) -> Decode:
    """Return what decodes the frames of a series; each kind is known here and to its source."""
    context, series = began.context, began.series
    match began.kind:
        case "file":
            from deepfreak.live.receive.folder import decode as files

            return files.decoder(context, series=series, open_file=open_file)
        case "shot":
            from deepfreak.live.receive import simulated

            return simulated.decoder(context, series=series)
        case "dectris-v1" | "dectris-v2" as kind:
            from deepfreak.live.receive.dectris import decode as stream

            return stream.decoder(kind, context, series=series, channel=channel)
    raise FrameError(f"expected a series of a known kind, found {began.kind:.40}")
