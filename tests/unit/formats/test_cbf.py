"""CBF's checksums and marks, and the same marks in EDF, SMV and PGM."""

import base64
import hashlib

import numpy as np
import pytest

from deepfreak.errors import FrameWarning
from deepfreak.formats import open_frames, read_frames
from tests.unit.formats import made

SHAPE = (64, 80)


def with_checksum(counts, checksum):
    content = made.cbf(counts)
    if checksum is None:
        return content
    line = f"Content-MD5: {checksum}\r\n".encode()
    return content.replace(b"X-Binary-ID: 1\r\n", b"X-Binary-ID: 1\r\n" + line)


def read(path):
    with open_frames(path) as file:
        return [file.read(index) for index in range(file.count)]


def right(counts):
    digest = hashlib.md5(made.byte_offset(counts), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("kind", ["right", "absent", "empty"])
def test_a_right_or_absent_checksum_is_nothing_to_say(tmp_path, kind):
    counts = made.photons(SHAPE)
    checksum = {"right": right(counts), "absent": None, "empty": ""}[kind]
    (tmp_path / "a.cbf").write_bytes(with_checksum(counts, checksum))
    (frame,) = read(tmp_path / "a.cbf")
    assert frame.notes == ()


@pytest.mark.parametrize(
    "checksum", ["AAAAAAAAAAAAAAAAAAAAAA==", "x", "not base64 at all!", "9" * 5000]
)
def test_a_wrong_or_malformed_checksum_is_said_once_and_the_frame_is_read(tmp_path, checksum):
    counts = made.photons(SHAPE)
    (tmp_path / "a.cbf").write_bytes(with_checksum(counts, checksum))
    with pytest.warns(FrameWarning, match="Content-MD5") as said:
        (frame,) = list(read_frames(tmp_path / "a.cbf"))
    assert len(said) == 1
    assert len(str(said[0].message)) < 400 + len(str(tmp_path))
    np.testing.assert_array_equal(frame.counts, counts)


def test_one_flipped_byte_is_said(tmp_path):
    counts = made.photons(SHAPE)
    content = bytearray(with_checksum(counts, right(counts)))
    place = content.index(b"\x0c\x1a\x04\xd5") + 1000
    content[place] ^= 3
    (tmp_path / "a.cbf").write_bytes(bytes(content))
    (frame,) = read(tmp_path / "a.cbf")
    assert any("Content-MD5" in note for note in frame.notes)


def marked_cbf(path, image, detector):
    kind = {"u4": "unsigned 32-bit integer", "i4": "signed 32-bit integer"}[image.dtype.str[1:]]
    header = made.MINICBF.replace("PILATUS 300K", detector)
    content = made.cbf(
        image.view(np.int32), header=header, conversion="x-CBF_NONE", data=image.tobytes()
    )
    path.write_bytes(content.replace(b"signed 32-bit integer", kind.encode()))


@pytest.mark.parametrize("number", [1, 20, 800])
@pytest.mark.parametrize("mark", [0xFFFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("detector", ["EIGER 1M", "PILATUS 300K", "Nothing known"])
def test_the_marks_of_32_bits_are_missing_in_any_number(tmp_path, number, mark, detector):
    image = made.photons(SHAPE).astype(np.uint32)
    image.flat[np.random.default_rng(0).permutation(image.size)[:number]] = mark
    marked_cbf(tmp_path / "a.cbf", image, detector)
    (frame,) = read(tmp_path / "a.cbf")
    assert np.array_equal(~frame.valid, image == mark)


@pytest.mark.parametrize("convention", ["PILATUS_1.2", "SLS_1.0"])
def test_an_eigers_16_bits_are_missing_whatever_the_headers_dialect(tmp_path, convention):
    image = made.photons(SHAPE)
    image[7, :20] = 65535
    content = made.cbf(image, header=made.MINICBF.replace("PILATUS 300K", "EIGER 1M"))
    (tmp_path / "a.cbf").write_bytes(content.replace(b"PILATUS_1.2", convention.encode()))
    (frame,) = read(tmp_path / "a.cbf")
    assert np.array_equal(~frame.valid, image == 65535)


@pytest.mark.parametrize(
    ("dtype", "mark"),
    [
        ("uint32", 0xFFFFFFFF), ("uint32", 0xFFFFFFFE), ("int32", -(2**31)), ("int16", -32768),
        ("float32", np.nan), ("float32", np.inf), ("float64", np.nan),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["LowByteFirst", "HighByteFirst"])
def test_the_marks_in_an_edf_are_missing(tmp_path, dtype, mark, order):
    image = made.photons(SHAPE).astype(dtype)
    image[3, 4] = image[5, 6] = mark
    names = {
        "uint32": "UnsignedInteger", "int32": "SignedInteger", "int16": "SignedShort",
        "float32": "FloatValue", "float64": "DoubleValue",
    }  # fmt: skip
    header = (
        f"{{\nHeaderID = EH:000001:000000:000000;\nByteOrder = {order};\n"
        f"DataType = {names[dtype]};\n"
        f"Dim_1 = {SHAPE[1]};\nDim_2 = {SHAPE[0]};\nSize = {image.nbytes};\n"
    )
    stored = image.astype(image.dtype.newbyteorder("<" if order.startswith("Low") else ">"))
    content = header.ljust(510).encode() + b"}\n" + stored.tobytes()
    (tmp_path / "a.edf").write_bytes(content)
    (frame,) = read(tmp_path / "a.edf")
    assert frame.counts.dtype.isnative
    assert np.argwhere(~frame.valid).tolist() == [[3, 4], [5, 6]]
    assert np.array_equal(frame.counts[frame.valid], image[frame.valid])


def test_overloads_of_ccds_are_no_gaps(tmp_path):
    slow, fast = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = 50 + 4e5 * np.exp(-np.hypot(slow - 30, fast - 40) / 3)
    image = np.minimum(np.random.default_rng(0).poisson(light), 65535).astype(np.uint16)
    assert (image == 65535).sum() > 64
    (tmp_path / "a.img").write_bytes(made.smv(image, CCD_IMAGE_SATURATION=65535))
    (tmp_path / "b.img").write_bytes(made.smv(image))
    (tmp_path / "c.mccd").write_bytes(made.mar(image))
    head = f"P5 {SHAPE[1]} {SHAPE[0]} 65535\n".encode()
    (tmp_path / "d.pgm").write_bytes(head + image.astype(">u2").tobytes())
    for name in ("a.img", "b.img", "c.mccd", "d.pgm"):
        (frame,) = read(tmp_path / name)
        assert np.array_equal(frame.counts, image), name
        assert frame.valid.all(), name


@pytest.mark.parametrize("type_", ["unsigned_short", "long_integer", "float"])
@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
def test_smv_in_any_byte_order_is_native(tmp_path, type_, order):
    image = made.photons(SHAPE)
    (tmp_path / "a.img").write_bytes(made.smv(image, type_=type_, order=order))
    (frame,) = read(tmp_path / "a.img")
    assert frame.counts.dtype.isnative
    assert np.array_equal(frame.counts, image)
