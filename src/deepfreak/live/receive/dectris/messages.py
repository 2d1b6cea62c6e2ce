"""What a DECTRIS detector says, whichever protocol it speaks: a start, images, an end."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Metadata, Valid
from deepfreak.formats.headers import metadata_from

T = TypeVar("T")

MAX_FRAMES = 1_000_000_000  # of a series; more is taken for a damaged message
MAX_CHANNELS = 16
UNNUMBERED = 0  # the series_id of a message that says none
_MAX_NAME_LENGTH = 128
_MAX_VALUE_LENGTH = 64
_MAX_TRUTHS = 16

# What detectors name series and channels, and what is harmless in a path, a page and a log.
_NAME = re.compile(r"[A-Za-z0-9][\w .:+()-]*", re.ASCII)
_UNSAFE = re.compile(r"[^\w .:+()-]", re.ASCII)


class UnreadableFields(dict[str, str]):
    """The fields of a start message that cannot be read, and why: each costs only itself."""

    def read(self, field: str, read: Callable[[], T]) -> T | None:
        """Return what `read` returns; None where it raises `FrameError`, which is noted."""
        try:
            return read()
        except FrameError as error:
            self[field] = str(error)
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A series begins."""

    # series_id, unique_id: the detector's count of its series, which begins again when it is
    # restarted, and the name that Stream V2 gives a series
    series_id: int
    unique_id: str | None = None
    expected: int | None = None  # how many images there will be, None where that is not said
    shape: tuple[int, int] | None = None  # of each image, (slow, fast)
    dtype: str | None = None
    # names of an image's channels (thresholds), in their order
    channels: tuple[str, ...] = ()
    # the metadata of each image, as in `Frame`
    metadata: Metadata = field(default_factory=Metadata)
    # by channel [slow, fast], true where a pixel is missing
    masks: Mapping[str, Valid] = field(default_factory=dict, repr=False)
    simulated: bool = False  # whether our own simulation speaks here
    # what a person wants to know, as JSON values
    about: Mapping[str, Any] = field(default_factory=dict)
    # the fields that could not be read, and why
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def lacks(self) -> tuple[str, ...]:
        """The fields of `unread` that a verdict depends on: a mask, or the configuration."""
        return tuple(name for name in self.unread if name.startswith(("mask", "configuration")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image has been taken; its pixels stay in the message. `truth`, `sent`: see `Arrival`."""

    series_id: int
    unique_id: str | None = None
    number: int
    truth: Mapping[str, Any] | None = None
    sent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A series is over."""

    series_id: int
    unique_id: str | None = None


Message = Start | Image | End


def read_count(value: object, what: str, *, most: int = MAX_FRAMES) -> int:
    """Return a whole number from 0 to `most`; `FrameError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FrameError(f"expected {what} from 0 to {most}, found {shown(value)}")
    return value


def read_name(value: object, what: str) -> str:
    """Return a name of letters, digits and ` _.:+()-`; `FrameError` for anything else."""
    if not isinstance(value, str) or len(value) > _MAX_NAME_LENGTH or not _NAME.fullmatch(value):
        raise FrameError(
            f"expected {what} of at most {_MAX_NAME_LENGTH} letters, digits and _.:+-, "
            f"found {shown(value)}"
        )
    return value


def read_number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_text(value: object) -> str | None:
    """Return a text that fits in a line, None for anything else or an empty one."""
    if not isinstance(value, str):
        return None
    text = "".join(letter for letter in value[:_MAX_NAME_LENGTH] if letter.isprintable()).strip()
    return text or None


def deepfreak_fields(user_data: object) -> Mapping[str, object]:
    """Return what our own replay adds to a message: the map "deepfreak" in its user data."""
    if isinstance(user_data, dict):
        words = user_data.get("deepfreak")
        if isinstance(words, dict):
            return words
    return {}


def read_truth(words: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Return what is said to be known of an image, None where it is not said in a sensible way."""
    truth = words.get("truth")
    if not isinstance(truth, dict) or len(truth) > _MAX_TRUTHS:
        return None
    for key, value in truth.items():
        if not isinstance(key, str) or len(key) > _MAX_VALUE_LENGTH:
            return None
        is_text = isinstance(value, str) and len(value) <= _MAX_VALUE_LENGTH and value.isprintable()
        if not (is_text or isinstance(value, bool) or read_number(value) is not None):
            return None
    return dict(truth)


def read_sent(words: Mapping[str, object]) -> float | None:
    """Return when the image is said to have been sent, in seconds since 1970."""
    sent = read_number(words.get("sent"))
    return sent if sent is not None and sent > 0 else None


def start_words(start: Start) -> dict[str, Any]:
    """Return what our own replay adds to a start: what only a simulated detector needs to say."""
    words = {key: start.metadata.get(key) for key in ("pedestal", "gain")}
    return _said(words | {"simulated": start.simulated or None})


def image_words(image: Image) -> dict[str, Any]:
    """Return what our own replay adds to an image."""
    return _said({"truth": image.truth and dict(image.truth), "sent": image.sent})


def _said(words: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in words.items() if value is not None}
    return {"deepfreak": said} if said else {}


def read_metadata(
    table: Mapping[str, object],
    words: Mapping[str, object],
    *,
    saturation: str,
    pixel_size: str,
    wavelength: str,
    distance_m: float | None,
) -> Metadata:
    """Return the metadata of each frame, by their names in the message, where pixels are in m."""

    def number(key: str) -> float | None:
        return read_number(table.get(key))

    pixel_m = number(pixel_size)
    return metadata_from(
        saturation=number(saturation),
        beam_slow=number("beam_center_y"),
        beam_fast=number("beam_center_x"),
        pixel_size_mm=None if pixel_m is None else pixel_m * 1e3,
        distance_mm=None if distance_m is None else distance_m * 1e3,
        wavelength_A=number(wavelength),
        pedestal=read_number(words.get("pedestal")),
        gain=read_number(words.get("gain")),
    )


def read_about(
    table: Mapping[str, object], *, energy: str, detector: str, serial_number: str
) -> dict[str, Any]:
    """Return what a person wants to know of a series, by its name here."""
    numbers = {"count_time_s": "count_time", "frame_time_s": "frame_time", "energy_eV": energy}
    texts = {"detector": detector, "serial_number": serial_number, "sensor": "sensor_material"}
    found: dict[str, Any] = {name: read_text(table.get(key)) for name, key in texts.items()}
    found |= {name: read_number(table.get(key)) for name, key in numbers.items()}
    return {name: value for name, value in found.items() if value}


def shown(value: object) -> str:
    """Return `value` as it may stand in an error: short, on one line, without paths or markup."""
    match value:
        case str():
            return repr(_UNSAFE.sub("?", value[:40]))
        case bool() | None | float():
            return repr(value)
        case int():
            return repr(value) if abs(value) < 1 << 64 else "a huge number"
    return f"a value of type {type(value).__name__}"
