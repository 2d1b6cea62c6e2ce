"""Stream V1, the older protocol: messages of several parts, JSON and blobs, by SIMPLON's manual.

A series begins with a header; its configuration, flat field, pixel mask and count-rate table follow
it where the detector is set to send them (`header_detail`). Shapes are given as (fast, slow).

The parts of a message travel on as one payload: how many there are, the length of each, all as
unsigned 4 byte integers, then the parts.
"""

import itertools
import json
import re
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Valid, require_shape
from deepfreak.live.receive.dectris.compression import Algorithm, CompressedArray, decode
from deepfreak.live.receive.dectris.messages import (
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
    read_number,
    read_sent,
    read_truth,
    shown,
    start_words,
)

Part = bytes | memoryview

MAX_PARTS = 16
MAX_JSON_LENGTH = 1 << 20
CHANNEL = "image"  # V1 has one channel, without a name

_WORD = struct.Struct("<I")
_DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float32", "float64"),
)
_ENCODING = re.compile(r"(?P<shuffle>bs(?P<bits>8|16|32|64)-?)?(?P<lz4>lz4)?(?P<order>[<>])")
_APPENDICES = ("dflatfield-1.0", "flatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0")


def read_message(parts: Sequence[Part]) -> Message:
    """Return what a message says, the pixels of an image not looked at."""
    if not 0 < len(parts) <= MAX_PARTS:
        raise FrameError(f"expected 1 to {MAX_PARTS} parts of a message, found {len(parts)}")
    first = _json(parts[0])
    series_id = read_count(first.get("series"), "the number of a series")
    match first.get("htype"):
        case "dheader-1.0":
            return _start(first, parts[1:], series_id)
        case "dimage-1.0":
            words = deepfreak_fields(_appendix(parts[4:]))
            return Image(
                series_id=series_id,
                number=read_count(first.get("frame"), "the number of a frame"),
                truth=read_truth(words),
                sent=read_sent(words),
            )
        case "dseries_end-1.0":
            return End(series_id=series_id)
        case kind:
            raise FrameError(f"expected a header, an image or a series' end, found {shown(kind)}")


def read_pixels(parts: Sequence[Part]) -> CompressedArray:
    """Return the pixels of an image; `FrameError` where the parts are not an image."""
    if len(parts) < 3:
        raise FrameError(f"expected at least 3 parts of an image, found {len(parts)}")
    about, blob = _json(parts[1]), memoryview(parts[2])
    encoding = about.get("encoding")
    match = _ENCODING.fullmatch(encoding) if isinstance(encoding, str) else None
    if about.get("htype") != "dimage_d-1.0" or match is None:
        raise FrameError(
            'expected an image\'s encoding such as "bs32-lz4<", "lz4<" or "<", '
            f"found {shown(encoding)}"
        )
    if match["shuffle"] and not match["lz4"]:
        raise FrameError(f"expected bitshuffle with lz4, found it alone: {shown(encoding)}")
    size = about.get("size")
    # some writers give the number as a text
    if isinstance(size, int | str) and size not in {len(blob), str(len(blob))}:
        raise FrameError(f"expected {shown(size)} bytes of pixels, found {len(blob)}: truncated")
    algorithm: Algorithm = "none"
    if match["lz4"]:
        algorithm = "bslz4" if match["shuffle"] else "lz4-block"
    return CompressedArray(
        shape=_shape(about.get("shape")),
        dtype=_dtype(about.get("type"), match["order"]),
        algorithm=algorithm,
        element_size=int(match["bits"] or 0) // 8,
        data=blob,
    )


def join(parts: Sequence[Part]) -> bytes:
    """Return the parts of a message as one payload."""
    lengths = [_WORD.pack(len(part)) for part in parts]
    return b"".join([_WORD.pack(len(parts)), *lengths, *parts])


def split(payload: Part) -> list[memoryview]:
    """Return the parts that `join` made a payload of; `FrameError` where it did not."""
    view = memoryview(payload).cast("B")
    words = len(view) // _WORD.size
    count = _WORD.unpack_from(view)[0] if words else 0
    if not 0 < count <= MAX_PARTS or count >= words:
        raise FrameError(f"expected the parts of a message, found {len(view)} other bytes")
    ends = [(count + 1) * _WORD.size]
    for index in range(count):
        ends.append(ends[-1] + _WORD.unpack_from(view, (index + 1) * _WORD.size)[0])
    if ends[-1] != len(view):
        raise FrameError(f"expected parts of {ends[-1]} bytes in all, found {len(view)}")
    return [view[start:stop] for start, stop in itertools.pairwise(ends)]


def encode_start(start: Start) -> list[bytes]:
    """Return the parts of a series' header: the mask of its first channel, if any, among them."""
    known = start.metadata
    slow, fast = start.shape or (0, 0)
    beam_slow, beam_fast = known.get("beam_center_px", (0.0, 0.0))
    config: dict[str, Any] = {
        "beam_center_x": beam_fast,
        "beam_center_y": beam_slow,
        "bit_depth_image": np.dtype(start.dtype or "uint16").itemsize * 8,
        "count_time": start.about.get("count_time_s", 0.0),
        "description": start.about.get("detector", ""),
        "detector_distance": known.get("distance_mm", 0.0) / 1e3,
        "detector_number": start.about.get("serial_number", ""),
        "frame_time": start.about.get("frame_time_s", 0.0),
        "ntrigger": 1,
        "photon_energy": start.about.get("energy_eV", 0.0),
        "sensor_material": start.about.get("sensor", ""),
        "wavelength": known.get("wavelength_A", 0.0),
        "x_pixel_size": known.get("pixel_size_mm", 0.0) / 1e3,
        "x_pixels_in_detector": fast,
        "y_pixel_size": known.get("pixel_size_mm", 0.0) / 1e3,
        "y_pixels_in_detector": slow,
    }
    if start.expected is not None:
        config["nimages"] = start.expected
    if "saturation" in known:
        config["countrate_correction_count_cutoff"] = known["saturation"]
    mask = next(iter(start.masks.values()), None)
    detail = "basic" if mask is None else "all"
    header = {"htype": "dheader-1.0", "series": start.series_id, "header_detail": detail}
    parts = [_text(header), _text(config)]
    if mask is not None:
        about = {"htype": "dpixelmask-1.0", "shape": [fast, slow], "type": "uint32"}
        parts += [_text(about), mask.astype("<u4").tobytes()]
    words = start_words(start)
    return [*parts, _text(words)] if words else parts


def encode_image(image: Image, pixels: CompressedArray) -> list[bytes]:
    """Return the parts of an image message."""
    shuffle = f"bs{8 * pixels.element_size}-" if pixels.algorithm == "bslz4" else ""
    encoding = {"none": "", "bslz4": "lz4", "lz4-block": "lz4"}.get(pixels.algorithm)
    if encoding is None:
        raise FrameError("expected pixels for Stream V1 in none, bslz4 or lz4-block, found lz4")
    order = ">" if pixels.dtype.str[0] == ">" else "<"
    slow, fast = pixels.shape
    about = {
        "htype": "dimage_d-1.0",
        "shape": [fast, slow],
        "type": pixels.dtype.name,
        "encoding": shuffle + encoding + order,
        "size": len(pixels.data),
    }
    first = {"htype": "dimage-1.0", "series": image.series_id, "frame": image.number, "hash": ""}
    times = {"htype": "dconfig-1.0", "start_time": 0, "stop_time": 0, "real_time": 0}
    parts = [_text(first), _text(about), bytes(pixels.data), _text(times)]
    words = image_words(image)
    return [*parts, _text(words)] if words else parts


def encode_end(end: End) -> list[bytes]:
    """Return the parts of a series' end."""
    return [_text({"htype": "dseries_end-1.0", "series": end.series_id})]


def _start(first: Mapping[str, object], parts: Sequence[Part], series_id: int) -> Start:
    config: Mapping[str, object] = {}
    unread = UnreadableFields()
    if first.get("header_detail") != "none" and parts:
        config = unread.read("configuration", lambda: _json(parts[0])) or {}
        rest = parts[1:]
    else:
        rest = parts
    shape = None
    fast, slow = config.get("x_pixels_in_detector"), config.get("y_pixels_in_detector")
    if fast and slow:
        shape = unread.read("image size", lambda: _shape([fast, slow]))
    masks: dict[str, Valid] = {}
    # each of them has two parts; what is left is the user's
    while len(rest) >= 2 and (about := _appendix(rest[:1])).get("htype") in _APPENDICES:
        if about["htype"] == "dpixelmask-1.0":
            mask = unread.read("mask", partial(_mask, about, rest[1], shape))
            if mask is not None:
                masks[CHANNEL] = mask
        rest = rest[2:]
    words = deepfreak_fields(_appendix(rest))
    return Start(
        series_id=series_id,
        expected=unread.read("number of images", lambda: _expected(config)),
        shape=shape,
        channels=(CHANNEL,),
        metadata=read_metadata(
            config,
            words,
            saturation="countrate_correction_count_cutoff",
            pixel_size="x_pixel_size",
            wavelength="wavelength",
            distance_m=read_number(config.get("detector_distance")),
        ),
        masks=masks,
        simulated=words.get("simulated") is True,
        about=read_about(
            config, energy="photon_energy", detector="description", serial_number="detector_number"
        ),
        unread=unread,
    )


def _expected(config: Mapping[str, object]) -> int | None:
    """Return the number of images of a series: of each trigger, times the triggers."""
    images = config.get("nimages")
    if images is None:
        return None
    triggers = config.get("ntrigger")
    found = read_count(images, "a number of images")
    if triggers is not None:
        found *= read_count(triggers, "a number of triggers")
    return read_count(found, "images times triggers")


def _mask(about: Mapping[str, object], blob: Part, shape: tuple[int, int] | None) -> Valid:
    coded = CompressedArray(
        shape=_shape(about.get("shape")), dtype=_dtype(about.get("type"), "<"), data=blob
    )
    if shape is not None and coded.shape != shape:
        raise FrameError(f"expected a pixel mask of {shape} pixels, found {coded.shape}")
    return np.asarray(decode(coded) != 0)


def _shape(shape: object) -> tuple[int, int]:
    """Return (slow, fast) of what V1 gives as [fast, slow]."""
    if not isinstance(shape, list) or len(shape) != 2:
        raise FrameError(f"expected the shape of an image, [fast, slow], found {shown(shape)}")
    fast, slow = (read_count(length, "the length of an image") for length in shape)
    require_shape((slow, fast))
    return slow, fast


def _dtype(name: object, order: str) -> np.dtype[Any]:
    if not isinstance(name, str) or name not in _DTYPES:
        raise FrameError(f"expected pixels of type uint16, uint32 or such, found {shown(name)}")
    return np.dtype(name).newbyteorder(cast("Any", order))


def _appendix(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the JSON map in the first of `parts`, an empty one where there is none."""
    if not parts or parts[0][:1] != b"{":
        return {}
    try:
        return _json(parts[0])
    except FrameError:
        return {}


def _json(part: Part) -> dict[str, Any]:
    if len(part) > MAX_JSON_LENGTH:
        raise FrameError(f"expected JSON of at most {MAX_JSON_LENGTH} bytes, found {len(part)}")
    try:
        # NaN and infinities, which some writers send, are numbers that nobody knows
        found = json.loads(bytes(part), parse_constant=_unknown)
    except (ValueError, RecursionError) as error:
        raise FrameError("expected JSON, as Stream V1 sends, found other bytes") from error
    if not isinstance(found, dict):
        raise FrameError("expected a JSON map, as Stream V1 sends, found another value")
    return found


def _unknown(constant: str) -> None:
    del constant


def _text(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode()
