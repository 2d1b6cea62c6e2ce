"""Round trips of compressed arrays, both decompressors, and arrays with false headers."""

import ctypes
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.live.receive.dectris import compression
from deepfreak.live.receive.dectris.compression import ALGORITHMS, CompressedArray, decode, encode

SHAPES = [(1, 1), (3, 5), (129, 257)]


def spots(shape: tuple[int, int], dtype: str = "<u2") -> np.ndarray:
    return np.random.default_rng(1).poisson(2.0, shape).astype(dtype)


@pytest.fixture(params=["direct", "by HDF5"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by HDF5":
        monkeypatch.setattr(compression, "_library", lambda: None)
    elif compression._library() is None:
        pytest.skip("this hdf5plugin does not export its functions: HDF5 itself is used")
    return request.param


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<u4", ">u4", "<i4", "<f4", "<u8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_come_back_in_the_machines_byte_order(
    way: str, algorithm: str, dtype: str, shape: tuple[int, int]
) -> None:
    array = spots(shape, dtype)
    back = decode(encode(array, algorithm))
    np.testing.assert_array_equal(back, array)
    assert back.dtype.isnative
    assert back.flags["C_CONTIGUOUS"]
    assert back.flags["WRITEABLE"]


@pytest.mark.parametrize("algorithm", ["lz4", "lz4-block"])
@pytest.mark.parametrize("size", [1, 14, 15, 16, 269, 270, 271, 5000])
def test_what_cannot_be_compressed_comes_back(algorithm: str, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, size), dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(noise, algorithm)), noise)


def test_columns_come_first_where_it_is_said() -> None:
    array = spots((3, 5))
    coded = replace(encode(array.T, "none"), shape=(3, 5), column_major=True)
    np.testing.assert_array_equal(decode(coded), array)


def test_the_frame_of_hdf5_filters_is_written() -> None:
    array = spots((129, 257))
    for algorithm in ("bslz4", "lz4"):
        total, block = struct.unpack_from(">QI", encode(array, algorithm).data)
        assert total == array.nbytes
        assert block in {8192, array.nbytes}


def lying(coded: CompressedArray) -> dict[str, CompressedArray]:
    data = bytes(coded.data)
    header = struct.Struct(">QI")
    total, block = header.unpack_from(data)
    rest = data[12:]

    def claims(new_total: int, new_block: int) -> CompressedArray:
        return replace(coded, data=header.pack(new_total, new_block) + rest)

    return {
        "truncated": replace(coded, data=data[:-1]),
        "header only": replace(coded, data=data[:12]),
        "nothing": replace(coded, data=b""),
        "longer": replace(coded, data=data + b"\0"),
        "2 GB claimed": claims(2 << 30, block),
        "2^64 claimed": claims(2**64 - 1, block),
        "less claimed": claims(total - 2, block),
        "no blocks": claims(total, 0),
        "blocks of 1": claims(total, 1),
        "blocks of 4 GB": claims(total, 2**32 - 1),
        "odd blocks": claims(total, 8191),
        "other blocks": claims(total, 4096),
        "long first block": replace(coded, data=data[:12] + b"\x7f\xff\xff\xff" + data[16:]),
        "empty first block": replace(coded, data=data[:12] + b"\0\0\0\0" + data[16:]),
        "another shape": replace(coded, shape=(coded.shape[0] + 1, coded.shape[1])),
        "negative shape": replace(coded, shape=(-coded.shape[0], coded.shape[1])),
        "a huge shape": replace(coded, shape=(1 << 32, 1 << 32)),
        "64 Mpx": replace(coded, shape=(8192, 8192)),
    }


@pytest.mark.parametrize("algorithm", ["bslz4", "lz4"])
@pytest.mark.parametrize("lie", sorted(lying(encode(spots((129, 257)), "bslz4"))))
def test_lies_are_refused_before_anything_is_allocated(way: str, algorithm: str, lie: str) -> None:
    coded = lying(encode(spots((129, 257)), algorithm))[lie]
    if algorithm == "lz4" and lie == "blocks of 4 GB":
        decode(coded)  # a block may be longer than the data: HDF5's filter writes 1 GB
        return
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        decode(coded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < 2 << 20


@pytest.mark.parametrize("element", [0, 3, 8, 16, 1 << 40, -2])
def test_bitshuffle_of_other_elements_is_refused_or_stays_inside(element: int) -> None:
    coded = replace(encode(spots((24, 40)), "bslz4"), element_size=element)
    if element == 8:
        assert decode(coded).shape == (24, 40)  # possible, if wrong
    else:
        with pytest.raises(FrameError):
            decode(coded)


@pytest.mark.parametrize("algorithm", ["bslz4", "lz4", "lz4-block"])
def test_flipped_bytes_never_do_more_than_damage_the_image(algorithm: str) -> None:
    coded = encode(spots((64, 64)), algorithm)
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(700):
        data = np.frombuffer(coded.data, dtype=np.uint8).copy()
        at = rng.integers(0, data.size, 4)
        data[at] = rng.integers(0, 256, 4)
        try:
            assert decode(replace(coded, data=data.tobytes())).shape == (64, 64)
        except FrameError:
            refused += 1
    assert refused > 50


def test_nothing_is_written_behind_the_image() -> None:
    """A block that holds more than it says must not run over what comes after."""
    library = compression._library()
    if library is None:
        pytest.skip("this hdf5plugin does not export its functions: HDF5 itself is used")
    whole = encode(np.full((1, 4096), 7, dtype=np.uint8), "lz4-block")
    room = np.zeros(4096 + 64, dtype=np.uint8)
    with pytest.raises(FrameError):
        compression._undo_lz4(whole.data, room[:4000])
    assert not room[4000:].any()
    assert isinstance(library, ctypes.CDLL)
