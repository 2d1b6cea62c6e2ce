"""TIFF of every kind gives all of its frames, or an error."""

import struct
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from deepfreak.errors import FrameError
from deepfreak.formats import open_frames
from tests.unit.formats import made

SHAPE = (64, 80)


def stack(n=5, dtype=np.uint16):
    return np.stack([made.photons(SHAPE, seed=i) for i in range(n)]).astype(dtype)


def read(path):
    with open_frames(path) as file:
        return [file.read(index) for index in range(file.count)]


def same(frames, images):
    assert len(frames) == len(images)
    for frame, image in zip(frames, images, strict=True):
        assert frame.counts.dtype.isnative
        np.testing.assert_array_equal(frame.counts, image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32])
def test_all_pages_of_a_stack_are_frames(tmp_path, big, order, dtype):
    images = stack(dtype=dtype)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big, byteorder=order) as tiff:
        for image in images:
            tiff.write(image, contiguous=False, photometric="minisblack")
    same(read(tmp_path / "a.tif"), images)


@pytest.mark.parametrize(("big", "imagej"), [(False, False), (True, False), (False, True)])
def test_frames_behind_one_directory_are_all_read(tmp_path, big, imagej):
    images = stack()
    tifffile.imwrite(
        tmp_path / "a.tif", images, bigtiff=big, imagej=imagej, photometric="minisblack"
    )
    same(read(tmp_path / "a.tif"), images)
    raw = (tmp_path / "a.tif").read_bytes()
    if imagej:  # ImageJ itself writes only the first directory of long stacks
        first = struct.unpack_from("<I" if raw[:2] == b"II" else ">I", raw, 4)[0]
        order = "<" if raw[:2] == b"II" else ">"
        entries = struct.unpack_from(order + "H", raw, first)[0]
        cut = bytearray(raw)
        struct.pack_into(order + "I", cut, first + 2 + 12 * entries, 0)
        (tmp_path / "b.tif").write_bytes(cut)
        same(read(tmp_path / "b.tif"), images)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_pages_are_read(tmp_path, compression):
    images = stack(3)
    first, *others = [Image.fromarray(image) for image in images]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others, compression=compression)
    same(read(tmp_path / "a.tif"), images)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("big", [False, True])
def test_tiled_pages_are_read(tmp_path, compression, tile, big):
    images = stack(3)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big) as tiff:
        for image in images:
            tiff.write(image, compression=compression, tile=tile, contiguous=False)
    same(read(tmp_path / "a.tif"), images)


def test_pages_of_several_sizes_are_refused_in_one_line(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for size in (64, 48):
            tiff.write(np.zeros((size, 80), np.uint16))
    with pytest.raises(FrameError, match="pages of one size"):
        read(tmp_path / "a.tif")


def test_small_copies_of_a_page_are_no_frames(tmp_path):
    images = stack(2)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for image in images:
            tiff.write(image, contiguous=False)
        tiff.write(images[0, ::2, ::2], subfiletype=1)
    same(read(tmp_path / "a.tif"), images)


@pytest.mark.timing
@pytest.mark.parametrize("big", [False, True])
def test_a_directory_that_points_to_itself_is_refused_at_once(tmp_path, big):
    tifffile.imwrite(tmp_path / "a.tif", stack(1)[0], bigtiff=big)
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    number, entry, offset, head = ("<Q", 20, "<Q", 8) if big else ("<H", 12, "<I", 4)
    first = struct.unpack_from(offset, raw, head)[0]
    entries = struct.unpack_from(number, raw, first)[0]
    struct.pack_into(offset, raw, first + struct.calcsize(number) + entry * entries, first)
    (tmp_path / "b.tif").write_bytes(raw)
    start = time.process_time()
    with pytest.raises(FrameError, match="points back"):
        read(tmp_path / "b.tif")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("kind", ["pages", "one directory", "zlib"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_no_frame_of_a_truncated_file_is_made_up(tmp_path, big, kind, share):
    images = stack()
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big) as tiff:
        if kind == "one directory":
            tiff.write(images, photometric="minisblack")
        else:
            for image in images:
                tiff.write(image, contiguous=False, compression="zlib" if kind == "zlib" else None)
    raw = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(raw[: int(share * len(raw))])
    errors = 0
    try:
        with open_frames(tmp_path / "b.tif") as file:
            for index in range(file.count):
                try:
                    np.testing.assert_array_equal(file.read(index).counts, images[index])
                except FrameError:
                    errors += 1
    except FrameError:
        errors += 1
    assert errors, "a truncated file was read without a word"


@pytest.mark.parametrize("text", ["", "# Detector: Eiger 1M\n", "# Detector: PILATUS3 6M\n"])
@pytest.mark.parametrize(
    ("dtype", "mark"),
    [(np.uint32, 0xFFFFFFFF), (np.uint32, 0xFFFFFFFE), (np.int32, -1), (np.int32, -2)],
)
@pytest.mark.parametrize("number", [1, 500])
def test_the_marks_of_counters_are_missing_in_any_number(tmp_path, text, dtype, mark, number):
    image = stack(1, dtype)[0]
    image.flat[np.random.default_rng(0).permutation(image.size)[:number]] = mark
    tifffile.imwrite(tmp_path / "a.tif", image, description=text)
    (frame,) = read(tmp_path / "a.tif")
    assert np.array_equal(~frame.valid, image == mark)
    assert frame.gain == 1.0


def test_an_eigers_16_bits_are_missing_and_another_cameras_are_overloads(tmp_path):
    image = stack(1)[0]
    image[5, 5] = image[9, 9] = 0xFFFF
    for text, lost in (("# Detector: Dectris EIGER2 1M\n", 2), ("", 0)):
        tifffile.imwrite(tmp_path / f"{lost}.tif", image, description=text)
        (frame,) = read(tmp_path / f"{lost}.tif")
        assert (~frame.valid).sum() == lost


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_missing(tmp_path, value):
    image = stack(1, np.float32)[0]
    image[3, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", image)
    (frame,) = read(tmp_path / "a.tif")
    assert np.argwhere(~frame.valid).tolist() == [[3, 4]]


def test_colours_are_no_detector_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 80, 3), np.uint8), photometric="rgb")
    with pytest.raises(FrameError, match="colours"):
        read(tmp_path / "a.tif")
