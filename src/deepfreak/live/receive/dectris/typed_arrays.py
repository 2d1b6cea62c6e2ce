"""Typed arrays of CBOR (RFC 8746), plain or under DECTRIS's tag for compressed bytes.

::

    40 [[slow, fast], 69 bytes]                          uint16, little-endian, row-major
    40 [[slow, fast], 69 (56500 ["bslz4", 2, bytes])]    the same, compressed
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import require_shape
from deepfreak.live.receive.dectris.cbor_items import Tagged
from deepfreak.live.receive.dectris.compression import Algorithm, CompressedArray, as_algorithm

if TYPE_CHECKING:
    import cbor2

ROW_MAJOR = 40
COLUMN_MAJOR = 1040
COMPRESSED = 56500

# RFC 8746, table 1; 76 is reserved, 83 and 87 (16 byte floats) no detector writes
_DTYPES = {
    64: "u1",
    65: ">u2",
    66: ">u4",
    67: ">u8",
    68: "u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: "i1",
    73: ">i2",
    74: ">i4",
    75: ">i8",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    80: ">f2",
    81: ">f4",
    82: ">f8",
    84: "<f2",
    85: "<f4",
    86: "<f8",
}
_TAGS = {np.dtype(name): tag for tag, name in _DTYPES.items() if tag != 68}


def read_array(item: object) -> CompressedArray:
    """Return a two-dimensional typed array; its data are looked at when it is decoded.

    Raises
    ------
    FrameError
        It is no such array, or no frame can have its size.
    """
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


def as_tag(coded: CompressedArray) -> "cbor2.CBORTag":
    """Return what CBOR's writer makes a typed array of; `FrameError` where there is no such."""
    import cbor2

    if coded.dtype not in _TAGS:
        raise FrameError(f"expected pixels of a type that CBOR has, found {coded.dtype}")
    data: Any = bytes(coded.data)
    if coded.algorithm != "none":
        data = cbor2.CBORTag(COMPRESSED, [coded.algorithm, coded.element_size, data])
    typed = cbor2.CBORTag(_TAGS[coded.dtype], data)
    order = COLUMN_MAJOR if coded.column_major else ROW_MAJOR
    return cbor2.CBORTag(order, [list(coded.shape), typed])
