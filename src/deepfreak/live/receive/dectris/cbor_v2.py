"""Stream V2: one CBOR map a message, by DECTRIS's "Stream V2" of their public documentation."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import cbor2
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import MAX_PIXELS, Valid, require_shape
from deepfreak.live.receive.dectris.cbor_items import Tagged, as_tag, read_array, read_item
from deepfreak.live.receive.dectris.compression import CompressedArray, decode, encode
from deepfreak.live.receive.dectris.messages import (
    MAX_CHANNELS,
    UNNUMBERED,
    End,
    Image,
    Message,
    Start,
    UnreadableFields,
    deepfreak_fields,
    image_words,
    read_about,
    read_count,
    read_metadata,
    read_name,
    read_number,
    read_sent,
    read_truth,
    shown,
    start_words,
)

SELF_DESCRIBED = 55799
TIME_BASE_HZ = 100_000_000

_MAX_MASKED = 2 * MAX_PIXELS  # in all channels together


def read_message(payload: bytes | memoryview) -> Message:
    """Return what a message says, the pixels of an image not looked at."""
    message = _map(payload)
    unique = message.get("series_unique_id")
    unique_id = None if unique is None else read_name(unique, "a series_unique_id")
    series_id = _series_id(message.get("series_id", UNNUMBERED), unique_id)
    match message.get("type"):
        case "start":
            return _start(message, series_id, unique_id)
        case "image":
            words = deepfreak_fields(message.get("user_data"))
            return Image(
                series_id=series_id,
                unique_id=unique_id,
                number=read_count(message.get("image_id"), "an image_id"),
                truth=read_truth(words),
                sent=read_sent(words),
            )
        case "end":
            return End(series_id=series_id, unique_id=unique_id)
        case kind:
            raise FrameError(f"expected a start, image or end, found {shown(kind)}")


def read_pixels(payload: bytes | memoryview, channel: str | None) -> CompressedArray:
    """Return the pixels of one channel of an image message, the first if None."""
    data = _map(payload).get("data")
    if not isinstance(data, dict) or not 0 < len(data) <= MAX_CHANNELS:
        raise FrameError(f"expected an image of 1 to {MAX_CHANNELS} channels, found {_many(data)}")
    if channel is None:
        channel = next(iter(data))
    if channel not in data:
        known = ", ".join(data)
        raise FrameError(f"expected channel {channel:.60} in the image, found {shown(known)}")
    return read_array(data[channel])


def encode_start(start: Start, *, mask_dtype: str = "<u4", dated: bool = True) -> bytes:
    """Return the start message of a series.

    Detectors send masks of 32 bits; to keep one, 8 are enough. Without a date, equal series have
    equal messages.
    """
    known = start.metadata
    slow, fast = start.shape or (0, 0)
    beam_slow, beam_fast = known.get("beam_center_px", (0.0, 0.0))
    wavelength = known.get("wavelength_A", 0.0)
    pixel_m = known.get("pixel_size_mm", 0.0) / 1e3
    masks = {name: as_tag(encode(mask.astype(mask_dtype))) for name, mask in start.masks.items()}
    message = {
        "type": "start",
        "beam_center_x": float(beam_fast),
        "beam_center_y": float(beam_slow),
        "channels": list(start.channels),
        "count_time": float(start.about.get("count_time_s", 0.0)),
        "countrate_correction_enabled": False,
        "detector_description": str(start.about.get("detector", "")),
        "detector_serial_number": str(start.about.get("serial_number", "")),
        "detector_translation": [0.0, 0.0, known.get("distance_mm", 0.0) / 1e3],
        "flatfield_enabled": False,
        "frame_time": float(start.about.get("frame_time_s", 0.0)),
        "image_size_x": fast,
        "image_size_y": slow,
        "incident_energy": float(start.about.get("energy_eV", 0.0)),
        "incident_wavelength": float(wavelength),
        "pixel_mask": masks,
        "pixel_mask_enabled": bool(masks),
        "pixel_size_x": pixel_m,
        "pixel_size_y": pixel_m,
        "sensor_material": str(start.about.get("sensor", "")),
        "series_id": start.series_id,
        "virtual_pixel_interpolation_enabled": False,
    }
    if dated:
        message["arm_date"] = cbor2.CBORTag(0, _now())
    if start.expected is not None:
        message["number_of_images"] = start.expected
    if start.dtype is not None:
        message["image_dtype"] = start.dtype
    if "saturation" in known:
        # the documentation has a whole number here
        message["saturation_value"] = int(known["saturation"])
    return _encoded(message, start.unique_id, start_words(start))


def encode_image(image: Image, pixels: Mapping[str, CompressedArray]) -> bytes:
    """Return the image message with the pixels of each channel."""
    message: dict[str, Any] = {
        "type": "image",
        "data": {channel: as_tag(coded) for channel, coded in pixels.items()},
        "image_id": image.number,
        "real_time": [0, TIME_BASE_HZ],
        "series_date": cbor2.CBORTag(0, _now()),
        "series_id": image.series_id,
        "start_time": [0, TIME_BASE_HZ],
        "stop_time": [0, TIME_BASE_HZ],
    }
    return _encoded(message, image.unique_id, image_words(image))


def encode_end(end: End) -> bytes:
    """Return the end message of a series."""
    return _encoded({"type": "end", "series_id": end.series_id}, end.unique_id, {})


def _encoded(message: dict[str, Any], unique_id: str | None, user_data: dict[str, Any]) -> bytes:
    if unique_id is not None:
        message["series_unique_id"] = unique_id
    if user_data:
        message["user_data"] = user_data
    return bytes(cbor2.dumps(cbor2.CBORTag(SELF_DESCRIBED, message)))


def _map(payload: bytes | memoryview) -> dict[str, object]:
    item = read_item(payload)
    if isinstance(item, Tagged) and item.number == SELF_DESCRIBED:
        item = item.value
    if not isinstance(item, dict):
        raise FrameError(
            "expected a CBOR map, as all messages of Stream V2 are, found another item"
        )
    return item


def _series_id(found: object, unique_id: str | None) -> int:
    """Return the series_id, which only a series without a unique id needs."""
    try:
        return read_count(found, "a series_id")
    except FrameError:
        if unique_id is None:
            raise
        return UNNUMBERED


def _start(message: Mapping[str, object], series_id: int, unique_id: str | None) -> Start:
    unread = UnreadableFields()
    shape = unread.read("image size", lambda: _shape(message))
    words = deepfreak_fields(message.get("user_data"))
    expected = message.get("number_of_images")
    distance_m = read_number(message.get("detector_distance"))
    translation = message.get("detector_translation")
    if not distance_m and isinstance(translation, list) and len(translation) == 3:
        distance_m = read_number(translation[2])
    dtype = message.get("image_dtype")
    return Start(
        series_id=series_id,
        unique_id=unique_id,
        expected=None
        if expected is None
        else unread.read("number of images", lambda: read_count(expected, "a number_of_images")),
        shape=shape,
        dtype=None
        if dtype is None
        else unread.read("image type", lambda: read_name(dtype, "an image_dtype")),
        channels=unread.read("channels", lambda: _channels(message.get("channels", []))) or (),
        metadata=read_metadata(
            message,
            words,
            saturation="saturation_value",
            pixel_size="pixel_size_x",
            wavelength="incident_wavelength",
            distance_m=None if distance_m is None else abs(distance_m),
        ),
        masks=_masks(message.get("pixel_mask"), shape, unread),
        simulated=words.get("simulated") is True,
        about=read_about(
            message,
            energy="incident_energy",
            detector="detector_description",
            serial_number="detector_serial_number",
        ),
        unread=unread,
    )


def _shape(message: Mapping[str, object]) -> tuple[int, int] | None:
    fast, slow = message.get("image_size_x"), message.get("image_size_y")
    if not fast or not slow:
        return None
    shape = read_count(slow, "an image_size_y"), read_count(fast, "an image_size_x")
    require_shape(shape)
    return shape


def _channels(channels: object) -> tuple[str, ...]:
    if not isinstance(channels, list) or len(channels) > MAX_CHANNELS:
        raise FrameError(
            f"expected a list of at most {MAX_CHANNELS} channels, found {_many(channels)}"
        )
    return tuple(read_name(channel, "the name of a channel") for channel in channels)


def _masks(
    masks: object, shape: tuple[int, int] | None, unread: UnreadableFields
) -> dict[str, Valid]:
    """Return the masks that can be read; one that cannot costs no other one."""
    if masks is None:
        return {}
    if not isinstance(masks, dict) or len(masks) > MAX_CHANNELS:
        unread["mask"] = (
            f"expected the pixel masks of at most {MAX_CHANNELS} channels, found {_many(masks)}"
        )
        return {}
    coded: dict[str, CompressedArray] = {}
    several = len(masks) > 1
    fields = {name: f"mask of {shown(name)}" if several else "mask" for name in masks}
    for channel, item in masks.items():
        array = unread.read(fields[channel], partial(_coded_mask, channel, item, shape))
        if array is not None:
            coded[channel] = array
    pixels = sum(math.prod(array.shape) for array in coded.values())
    if pixels > _MAX_MASKED:
        unread["mask"] = f"expected masks of at most {_MAX_MASKED} pixels, found {pixels}"
        return {}
    found: dict[str, Valid] = {}
    for channel, array in coded.items():
        mask = unread.read(fields[channel], partial(decode, array))
        if mask is not None:
            found[channel] = np.asarray(mask != 0)
    return found


def _coded_mask(channel: str, item: object, shape: tuple[int, int] | None) -> CompressedArray:
    read_name(channel, "the name of a channel")
    coded = read_array(item)
    if shape is not None and coded.shape != shape:
        raise FrameError(f"expected a pixel mask of {shape} pixels, found {coded.shape}")
    return coded


def _many(value: object) -> str:
    return str(len(value)) if isinstance(value, list | dict) else shown(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
