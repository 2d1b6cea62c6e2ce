"""A reader of CBOR (RFC 8949) that interprets nothing: what came, no more.

General decoders turn tags into objects on their own: regular expressions, decimals, dates, mails,
references that make a value contain itself. A message from a network must not choose what runs
here. So tags stay `Tagged`, whatever they say; who needs one asks for it by number. Byte strings
stay where they are in the message, without a copy.

Typed arrays (RFC 8746) are plain, or under DECTRIS's tag for compressed bytes::

    40 [[slow, fast], 69 bytes]                          uint16, little-endian, row-major
    40 [[slow, fast], 69 (56500 ["bslz4", 2, bytes])]    the same, compressed
"""

import struct
from dataclasses import dataclass
from typing import Any

import cbor2
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import require_shape
from deepfreak.live.receive.dectris.compression import Algorithm, CompressedArray, as_algorithm

MAX_DEPTH = 16
MAX_ITEMS = 50_000  # a start message has about a hundred
MAX_TEXT_LENGTH = 1 << 20

_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_BREAK = 0xFF


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value under a tag."""

    number: int
    value: object


def read_item(message: bytes | memoryview) -> object:
    """Return the one item that `message` holds.

    It consists of int, float, str, bool, None, `memoryview` for byte strings, list, dict with texts
    as keys, and `Tagged`. Raises `FrameError` where it is no CBOR, is too short or too long, is
    nested too deeply or has too many items, or uses what no detector writes: other keys than texts,
    the same key twice, strings in parts.
    """
    reader = _Reader(memoryview(message).cast("B"))
    item = reader.item(0)
    if reader.place != reader.end:
        left = reader.end - reader.place
        raise FrameError(f"expected the end of the CBOR message, found {left} more bytes")
    return item


class _Reader:
    """A place in a message."""

    __slots__ = ("_items", "_message", "end", "place")

    def __init__(self, message: memoryview) -> None:
        self._message = message
        self._items = 0
        self.place = 0
        self.end = len(message)

    def item(self, depth: int) -> object:
        """Return the item at this place, inside of `depth` others, and go behind it."""
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise FrameError(
                f"expected CBOR nested to {MAX_DEPTH} with {MAX_ITEMS} items at most, found more"
            )
        start = self._take(1)[0]
        major, short = start >> 5, start & 0x1F
        if major == 7:
            return self._simple(short)
        if short == 31 and major in {4, 5}:
            return self._array(None, depth) if major == 4 else self._map(None, depth)
        value = self._argument(short)
        item: object
        match major:
            case 0:
                item = value
            case 1:
                item = -1 - value
            case 2:
                item = self._take(value)
            case 3:
                item = self._text(value)
            case 4:
                item = self._array(value, depth)
            case 5:
                item = self._map(value, depth)
            case _:
                item = Tagged(value, self.item(depth + 1))
        return item

    def _argument(self, short: int) -> int:
        if short < 24:
            return short
        size = _SIZES.get(short)
        if size is None:
            raise FrameError("expected CBOR, found a length that it does not have")
        return int.from_bytes(self._take(size), "big")

    def _simple(self, short: int) -> object:
        if short in _FLOATS:
            value: float = _FLOATS[short].unpack(self._take(_FLOATS[short].size))[0]
            return value
        if short not in _SIMPLE:
            raise FrameError("expected a CBOR value, found a simple one without a meaning")
        return _SIMPLE[short]

    def _text(self, length: int) -> str:
        if length > MAX_TEXT_LENGTH:
            raise FrameError(f"expected a text of at most {MAX_TEXT_LENGTH} bytes, found {length}")
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise FrameError("expected CBOR text in UTF-8, found other bytes") from error

    def _array(self, length: int | None, depth: int) -> list[object]:
        self._require_room(length or 0)
        items: list[object] = []
        while len(items) != length and not self._at_break(length):
            items.append(self.item(depth + 1))
        return items

    def _map(self, length: int | None, depth: int) -> dict[str, object]:
        self._require_room(2 * (length or 0))
        items: dict[str, object] = {}
        while len(items) != length and not self._at_break(length):
            key = self.item(depth + 1)
            if not isinstance(key, str) or key in items:
                raise FrameError("expected different texts as the keys of a CBOR map, found others")
            items[key] = self.item(depth + 1)
        return items

    def _at_break(self, length: int | None) -> bool:
        """Return whether a container without a length ends here."""
        if length is not None or self.place >= self.end or self._message[self.place] != _BREAK:
            return False
        self.place += 1
        return True

    def _require_room(self, items: int) -> None:
        if items > self.end - self.place:
            raise FrameError(f"expected {items} more CBOR items, found the message's end")

    def _take(self, length: int) -> memoryview:
        place = self.place
        if length > self.end - place:
            raise FrameError(
                f"expected {length} more bytes of CBOR, found {self.end - place}: "
                "the message is truncated"
            )
        self.place = place + length
        return self._message[place : place + length]


ROW_MAJOR = 40
COLUMN_MAJOR = 1040
COMPRESSED = 56500

# RFC 8746, table 1; 76 is reserved, 83 and 87 (16 byte floats) no detector writes
_DTYPES = {
    64 + place: name
    for place, name in enumerate((
        "u1", ">u2", ">u4", ">u8", "u1", "<u2", "<u4", "<u8",
        "i1", ">i2", ">i4", ">i8", None, "<i2", "<i4", "<i8",
        ">f2", ">f4", ">f8", None, "<f2", "<f4", "<f8",
    ))
    if name is not None
}  # fmt: skip
_TAGS = {np.dtype(name): tag for tag, name in _DTYPES.items() if tag != 68}


def read_array(item: object) -> CompressedArray:
    """Return a two-dimensional typed array; its data are looked at when it is decoded."""
    match item:
        case Tagged(number=40 | 1040 as order, value=[[int(slow), int(fast)], Tagged() as typed]):
            require_shape((slow, fast))
        case _:
            raise FrameError(
                "expected a typed array of two dimensions (CBOR tag 40), found something else"
            )
    name = _DTYPES.get(typed.number)
    if name is None:
        raise FrameError(f"expected a typed array (CBOR tags 64 to 86), found tag {typed.number}")
    algorithm: Algorithm = "none"
    element_size = 0
    match typed.value:
        case memoryview() as data:
            pass
        case Tagged(number=56500, value=[kind, int(element_size), memoryview() as data]):
            algorithm = as_algorithm(kind)
        case _:
            raise FrameError(
                "expected the bytes of a typed array, plain or under CBOR tag 56500, "
                "found something else"
            )
    return CompressedArray(
        shape=(slow, fast),
        dtype=np.dtype(name),
        column_major=order == COLUMN_MAJOR,
        algorithm=algorithm,
        element_size=element_size,
        data=data,
    )


def as_tag(coded: CompressedArray) -> cbor2.CBORTag:
    """Return what CBOR's writer makes a typed array of; `FrameError` where there is no such."""
    if coded.dtype not in _TAGS:
        raise FrameError(f"expected pixels of a type that CBOR has, found {coded.dtype}")
    data: Any = bytes(coded.data)
    if coded.algorithm != "none":
        data = cbor2.CBORTag(COMPRESSED, [coded.algorithm, coded.element_size, data])
    typed = cbor2.CBORTag(_TAGS[coded.dtype], data)
    order = COLUMN_MAJOR if coded.column_major else ROW_MAJOR
    return cbor2.CBORTag(order, [list(coded.shape), typed])
