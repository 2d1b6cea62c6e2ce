"""Our CBOR reader against a general one, and what it refuses."""

import math
import tracemalloc

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfreak.errors import FrameError
from deepfreak.live.receive.dectris.cbor_items import MAX_DEPTH, Tagged, read_item

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def plain(item: object) -> object:
    """Byte strings as bytes."""
    if isinstance(item, memoryview):
        return bytes(item)
    if isinstance(item, list):
        return [plain(inner) for inner in item]
    if isinstance(item, dict):
        return {key: plain(inner) for key, inner in item.items()}
    return item


@given(values)
@settings(max_examples=150)
def test_what_a_general_writer_writes_is_read_back(value: object) -> None:
    assert plain(read_item(cbor2.dumps(value))) == value


@given(values)
@settings(max_examples=60)
def test_containers_without_a_length_are_read_alike(value: object) -> None:
    assert plain(read_item(cbor2.dumps(value, indefinite_containers=True))) == value


def test_floats_of_all_sizes_are_read() -> None:
    assert read_item(bytes.fromhex("f93e00")) == 1.5
    assert read_item(bytes.fromhex("fa3fc00000")) == 1.5
    assert read_item(bytes.fromhex("fb3ff8000000000000")) == 1.5
    assert math.isnan(read_item(bytes.fromhex("f97e00")))


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 28, 29, 30, 35, 36, 37, 258, 260, 43000])
def test_no_tag_is_interpreted(tag: int) -> None:
    item = read_item(cbor2.dumps(cbor2.CBORTag(tag, "(a+)+$")))
    assert item == Tagged(tag, "(a+)+$")


def test_a_shared_reference_does_not_make_a_list_that_holds_itself() -> None:
    # 28 marks the list, 29 refers to it from inside
    item = read_item(bytes.fromhex("d81c81d81d00"))
    assert item == Tagged(28, [Tagged(29, 0)])


def test_byte_strings_are_not_copied() -> None:
    message = cbor2.dumps({"data": b"x" * 1000})
    (data,) = read_item(message).values()
    assert np.shares_memory(np.frombuffer(data, "u1"), np.frombuffer(message, "u1"))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x5a\xff\xff\xff\xff",  # 4 GB of bytes
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",  # an array of 2^63 items
        b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x7a\x7f\xff\xff\xff",
        b"\x81" * (MAX_DEPTH + 2) + b"\x00",
        b"\xc1" * 100_000 + b"\x00",
        b"\x9f" * 100_000,
        b"\x99\xff\xff" + b"\x00" * 65535,
        b"\x9f\x00",  # no end
        b"\x5f\x41a\xff",  # bytes in parts
        b"\x62\xff\xfe",  # no UTF-8
        b"\xa1\x01\x02",  # a key that is no text
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\x1c",
        b"\xf8\x20",
        b"\xff",
        b"\x00\x00",
    ],
)
def test_what_lies_is_refused_in_one_line_without_memory(message: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        read_item(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert peak < 10 << 20
