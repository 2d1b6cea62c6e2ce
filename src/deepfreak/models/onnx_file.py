"""What an ONNX file may hold, checked before onnxruntime builds anything from it; and a cut of it.

Such a file is a protocol buffer: numbered fields, some of which hold further ones. The runtime
follows whatever it knows, among it what no network of ours needs: weights in other files, loops,
functions, and operators of other libraries. So every field is looked up here, and one that is not
known is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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

# Each is looked at and costs memory of its own. What ships has 5,000.
MAX_FIELDS = 200_000

# Numbers that a cut looks for: a model's graph, its operators, what these take and give, and of its
# weights and outputs the number of their name.
GRAPH_OF_MODEL, NODE_OF_GRAPH = 7, 1
TAKEN, GIVEN = 1, 2
NAMED = {5: 8, 12: 1}

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MAX_VARINT_LENGTH = 10


def check_onnx(content: bytes) -> None:
    """Check that a file holds a plain network: operators in a row, and their weights.

    Raises
    ------
    ModelError
        It holds something else, or is cut off.
    """
    pending: list[tuple[memoryview, Fields]] = [(memoryview(content), MODEL)]
    count = 0
    while pending:
        message, known = pending.pop()
        for number, value, _ in _fields(message):
            count += 1
            if count > MAX_FIELDS:
                raise ModelError(
                    f"expected at most {MAX_FIELDS:,} fields of ONNX in a network of ours, found "
                    "more: do not use this file"
                )
            if number not in known:
                raise ModelError(
                    f"expected operators and weights only, found field {number} of ONNX, which no "
                    "network of ours has: do not use this file"
                )
            within = known[number]
            if within is None:
                continue
            if value is None:
                raise _broken()
            pending.append((value, within))


def cut_to(content: bytes, output: str) -> bytes:
    """Return a file that `check_onnx` passed, cut to what leads to one of its outputs.

    onnxruntime computes what leads to the others too, whichever it is asked for.

    Raises
    ------
    ModelError
        The file is broken where `check_onnx` does not look.
    """
    model = list(_fields(memoryview(content)))
    graph = [
        field
        for part in model
        if part.number == GRAPH_OF_MODEL and part.value is not None
        for field in _fields(part.value)
    ]
    needed = {output.encode()}
    operators: list[memoryview] = []
    # they stand in the order in which they are computed
    for field in reversed(graph):
        if field.number == NODE_OF_GRAPH and needed & _texts(field.value, GIVEN):
            operators.append(field.whole)
            needed |= _texts(field.value, TAKEN)
    rest = [
        field.whole
        for field in graph
        if field.number != NODE_OF_GRAPH
        and (field.number not in NAMED or needed & _texts(field.value, NAMED[field.number]))
    ]
    body = b"".join([*reversed(operators), *rest])
    others = [part.whole for part in model if part.number != GRAPH_OF_MODEL]
    start = _as_varint(GRAPH_OF_MODEL << 3 | BYTES) + _as_varint(len(body))
    return b"".join([*others, start, body])


class _Field(NamedTuple):
    """A field's number, its content, which is None for a number, and all its bytes."""

    number: int
    value: memoryview | None
    whole: memoryview


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield each field of a message."""
    place = 0
    while place < len(message):
        begin = place
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, place = _varint(message, place)
            yield _Field(number, None, message[begin:place])
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in {EIGHT_BYTES, FOUR_BYTES}:
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise _broken()
        if length > len(message) - place:
            raise _broken()
        value = message[place : place + length] if kind == BYTES else None
        place += length
        yield _Field(number, value, message[begin:place])


def _texts(message: memoryview | None, number: int) -> set[bytes]:
    """Return what the fields of this number hold."""
    return {
        bytes(field.value)
        for field in _fields(message if message is not None else memoryview(b""))
        if field.number == number and field.value is not None
    }


def _as_varint(value: int) -> bytes:
    """Return what `_varint` reads."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


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
