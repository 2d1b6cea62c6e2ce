"""What an ONNX file may hold, checked before onnxruntime builds anything from it.

Such a file is a protocol buffer: numbered fields, some of which hold further ones. The runtime
follows whatever it knows, also what DeepFreak's networks do not need: weights in other files,
loops, functions, and operators of other libraries. So every field is looked up here, and an unknown
one is rejected.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from deepfreak.errors import ModelError

Fields = Mapping[int, Any]

# Numbers are those of onnx.proto. None: data in which nothing is looked up.
DATA = None
TENSOR: Fields = dict.fromkeys(
    (1, 2, 4, 5, 7, 8, 9, 10, 11),  # dims, type, numbers, name, raw bytes; no place elsewhere
    DATA,
)
ATTRIBUTE: Fields = {
    **dict.fromkeys((1, 2, 3, 4, 7, 8, 20), DATA),  # name, numbers, text, type; no graph
    5: TENSOR,
}
NODE: Fields = {
    **dict.fromkeys((1, 2, 3, 4), DATA),  # inputs, outputs, name, operator; no domain
    5: ATTRIBUTE,
}
GRAPH: Fields = {
    **dict.fromkeys((2, 11, 12, 13), DATA),  # name, inputs, outputs, shapes
    1: NODE,
    5: TENSOR,
}
MODEL: Fields = {
    **dict.fromkeys((1, 2, 3, 8, 14), DATA),  # versions, producer, metadata; no functions
    7: GRAPH,
}

# Each costs time and memory of its own; the compact network has 5,000.
MAX_FIELDS = 200_000

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MAX_VARINT_LENGTH = 10


def check_onnx(content: bytes) -> None:
    """Raise `ModelError` unless a file holds a whole, plain network: operators and weights."""
    pending: list[tuple[memoryview, Fields]] = [(memoryview(content), MODEL)]
    count = 0
    while pending:
        message, known = pending.pop()
        for number, value in _fields(message):
            count += 1
            if count > MAX_FIELDS:
                raise ModelError(
                    f"expected at most {MAX_FIELDS:,} fields of ONNX in a network, found more: do "
                    "not use this file"
                )
            if number not in known:
                raise ModelError(
                    f"expected operators and weights only, found field {number} of ONNX, which no "
                    "network of DeepFreak has: do not use this file"
                )
            within = known[number]
            if within is None:
                continue
            if value is None:
                raise _broken()
            pending.append((value, within))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield number and content of each field of a message; the content of a number is None."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, place = _varint(message, place)
            yield number, None
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in {EIGHT_BYTES, FOUR_BYTES}:
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise _broken()
        if length > len(message) - place:
            raise _broken()
        yield number, message[place : place + length] if kind == BYTES else None
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number that begins at `place`, seven bits a byte, and where it ends."""
    value = 0
    for index, byte in enumerate(message[place : place + MAX_VARINT_LENGTH]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise _broken()


def _broken() -> ModelError:
    return ModelError(
        "expected an ONNX file that deepfreak made, found something else or half of one"
    )
