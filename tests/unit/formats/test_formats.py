import bz2
import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import read_frames
from deepfreak.formats.files import FORMATS
from deepfreak.preparation import prepare
from tests.unit.formats import made


def only(path, **options):
    frames = list(read_frames(path, **options))
    assert len(frames) == 1
    return frames[0]


def write(path, content):
    path.write_bytes(content)
    return path


def test_minicbf_gives_counts_gaps_and_metadata(tmp_path):
    counts = made.photons()
    counts[10:13], counts[50, 60], counts[51, 60] = -1, -2, 2_000_000
    frame = only(write(tmp_path / "a.cbf", made.cbf(counts)))
    np.testing.assert_array_equal(frame.counts, counts)
    np.testing.assert_array_equal(frame.valid, counts >= 0)  # an overload is no gap
    assert frame.saturation == 1_000_000
    assert frame.beam_center_px == (70.25, 60.5)
    metadata = (frame.pixel_size_mm, frame.distance_mm, frame.wavelength_A)
    assert metadata == pytest.approx((0.172, 80.0, 1.5))
    assert (frame.pedestal, frame.gain, frame.index) == (0, 1, 0)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_a_truncated_cbf_is_refused(tmp_path, kept):
    whole = made.cbf(made.photons())
    path = write(tmp_path / "a.cbf", whole[: int(len(whole) * kept)])
    with pytest.raises(FrameError, match="truncated") as error:
        list(read_frames(path))
    assert "\n" not in str(error.value)


def test_a_cbf_that_claims_more_pixels_than_it_has_bytes_is_refused_before_memory_is_taken(
    tmp_path,
):
    content = made.cbf(made.photons()).replace(b"Dimension: 150", b"Dimension: 90150")
    with pytest.raises(FrameError, match="compressed bytes"):
        list(read_frames(write(tmp_path / "a.cbf", content)))


def test_a_cbf_of_an_unknown_compression_is_refused(tmp_path):
    content = made.cbf(made.photons(), conversion="x-CBF_PACKED")
    with pytest.raises(FrameError, match="x-CBF_PACKED"):
        list(read_frames(write(tmp_path / "a.cbf", content)))


def test_an_uncompressed_imgcif_is_read(tmp_path):
    counts = made.photons()
    data = counts.astype("<i4").tobytes()
    content = made.cbf(counts, header="# a CCD\n", conversion="x-CBF_NONE", data=data)
    frame = only(write(tmp_path / "a.cbf", content))
    np.testing.assert_array_equal(frame.counts, counts)
    assert frame.saturation is None


def test_text_called_cbf_and_empty_files_are_refused(tmp_path):
    with pytest.raises(FrameError, match="expected a CBF image"):
        list(read_frames(write(tmp_path / "a.cbf", b"no image here\n" * 50)))
    with pytest.raises(FrameError, match="empty file"):
        list(read_frames(write(tmp_path / "b.cbf", b"")))
    with pytest.raises(FrameError):
        list(read_frames(write(tmp_path / "c.img", b"no image here\n" * 50)))


@pytest.mark.parametrize("order", ["little_endian", "big_endian"])
@pytest.mark.parametrize("type_", ["unsigned_short", "long_integer", "float"])
def test_smv_is_read_in_both_byte_orders_and_with_bytes_behind_the_image(tmp_path, order, type_):
    counts = made.photons()
    content = made.smv(counts, type_=type_, order=order, IMAGE_PEDESTAL=40, GAIN=2.5)
    frame = only(write(tmp_path / "a.img", content + b"tail"))
    np.testing.assert_array_equal(frame.counts, counts)
    assert (frame.pedestal, frame.gain) == (40, 2.5)


def test_nanobraggs_offset_and_beam_are_understood(tmp_path):
    content = made.smv(
        made.photons(), BEAMLINE="fake", ADC_OFFSET=40, BEAM_CENTER_X=6.0, BEAM_CENTER_Y=8.0
    )
    frame = only(write(tmp_path / "a.img", content))
    assert frame.pedestal == 40
    assert frame.beam_center_px == pytest.approx((70, 60))  # Y counts from the last row
    assert frame.valid.all()


def test_adscs_beam_has_x_along_the_slow_axis(tmp_path):
    content = made.smv(made.photons(), BEAM_CENTER_X=7.0, BEAM_CENTER_Y=6.0)
    assert only(write(tmp_path / "a.img", content)).beam_center_px == pytest.approx((70, 60))


def test_a_truncated_smv_is_refused(tmp_path):
    path = write(tmp_path / "a.img", made.smv(made.photons())[:-2])
    with pytest.raises(FrameError, match="truncated"):
        list(read_frames(path))


@pytest.mark.parametrize("suffix", [".mccd", ".tif", ".0001"])
def test_marccds_own_header_gives_bias_and_gain(tmp_path, suffix):
    counts = made.photons(mean=200).astype(np.uint16)
    frame = only(write(tmp_path / f"a{suffix}", made.mar(counts)))
    np.testing.assert_array_equal(frame.counts, counts)
    assert (frame.pedestal, frame.gain, frame.saturation) == (10, 2, 65000)
    assert frame.beam_center_px == (70.25, 60.5)
    assert (frame.pixel_size_mm, frame.distance_mm, frame.wavelength_A) == (0.079, 90.0, 1.033)


def test_the_dark_corners_of_a_ccd_are_missing_and_its_dark_pixels_are_not(tmp_path):
    counts = made.photons((256, 256), mean=30).astype(np.uint16)
    slow, fast = np.mgrid[:256, :256]
    outside = np.hypot(slow - 127.5, fast - 127.5) > 128
    counts[outside] = 0
    counts[120:123, 120:123] = 1
    frame = only(write(tmp_path / "a.mccd", made.mar(counts)))
    np.testing.assert_array_equal(frame.valid, ~outside)
    blank = np.zeros((256, 256), np.uint16)
    blank[::3, ::5] = 2
    assert only(write(tmp_path / "b.mccd", made.mar(blank))).valid.all()


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".gz", gzip.compress)])
def test_compressed_files_are_read_and_truncated_ones_refused(tmp_path, suffix, pack):
    counts = made.photons()
    packed = pack(made.cbf(counts))
    frame = only(write(tmp_path / f"a.cbf{suffix}", packed))
    np.testing.assert_array_equal(frame.counts, counts)
    assert frame.file == str(tmp_path / f"a.cbf{suffix}")
    with pytest.raises(FrameError, match="truncated"):
        list(read_frames(write(tmp_path / f"b.cbf{suffix}", packed[: len(packed) // 2])))


def test_edf_with_several_frames_and_dummy_values(tmp_path):
    import fabio

    counts = made.photons(mean=50).astype(np.float32)
    counts[3, 4], counts[5, 6] = -999, np.nan
    header = {"Dummy": "-999", "DDummy": "0.1", "Center_1": "60.5", "Center_2": "70.25"}
    image = fabio.edfimage.EdfImage(data=counts, header=header)
    image.append_frame(data=counts + 1, header=header)
    image.write(str(tmp_path / "a.edf"))
    frames = list(read_frames(tmp_path / "a.edf"))
    assert [frame.index for frame in frames] == [0, 1]
    assert frames[0].beam_center_px == (70.25, 60.5)
    assert not frames[0].valid[3, 4]
    assert not frames[0].valid[5, 6]
    assert np.count_nonzero(~frames[0].valid) == 2
    np.testing.assert_array_equal(frames[1].counts, counts + 1)


def test_an_edf_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path):
    sizes = "Dim_1 = 90000 ;\nDim_2 = 90000 ;\n"
    text = "{\nByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\n" + sizes
    path = write(tmp_path / "a.edf", text.ljust(510).encode() + b"}\n" + bytes(100))
    with pytest.raises(FrameError, match="90000 x 90000"):
        list(read_frames(path))


@pytest.mark.parametrize("suffix", [".pgm", ".png"])
def test_an_8_bit_picture_of_the_models_size_reaches_it_unchanged(tmp_path, suffix):
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    picture[200:300, 200:300] = 3  # even what looks like a shadow
    Image.fromarray(picture).save(tmp_path / f"a{suffix}")
    prepared = prepare(only(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(prepared.image, picture)
    assert prepared.valid.all()


def test_a_larger_8_bit_picture_is_binned_as_counts(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((1024, 1024), 20, np.uint8)).save(tmp_path / "a.pgm")
    prepared = prepare(only(tmp_path / "a.pgm"))
    assert (prepared.image == int(np.sqrt(4 * (400 - 10) + 10))).all()


def test_16_bit_pictures_hold_counts(tmp_path):
    from PIL import Image

    counts = (np.arange(12_000) % 4096).reshape(100, 120).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path / "a.png").counts, counts)
    header = b"P5\n# made here\n120 100\n4095\n"
    path = write(tmp_path / "a.pgm", header + counts.astype(">u2").tobytes())
    np.testing.assert_array_equal(only(path).counts, counts)


def test_colours_and_giant_pictures_are_refused(tmp_path):
    from PIL import Image

    Image.new("RGB", (200, 200)).save(tmp_path / "a.png")
    with pytest.raises(FrameError, match="gray"):
        list(read_frames(tmp_path / "a.png"))
    giant = b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4sIIBBBBB", 13, b"IHDR", 40000, 40000, 8, 0, 0, 0, 0
    )
    with pytest.raises(FrameError):
        list(read_frames(write(tmp_path / "b.png", giant + bytes(64))))


def test_nothing_that_is_pickled_is_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FrameError, match="allow_pickle"):
        list(read_frames(tmp_path / "a.npy"))


def test_readers_say_nothing_on_the_terminal(tmp_path, capfd):
    path = write(tmp_path / "a.mccd.bz2", bz2.compress(made.mar(made.photons().astype(np.uint16))))
    only(path)
    with pytest.raises(FrameError):
        only(write(tmp_path / "b.mccd", made.mar(made.photons().astype(np.uint16))[:-500]))
    assert capfd.readouterr() == ("", "")


def test_the_manual_lists_every_format_and_its_module():
    table = (Path(__file__).parents[3] / "docs/frames.md").read_text()
    for each in FORMATS:
        module = Path(each.read_image.__code__.co_filename)
        place = "hdf5/" if module.parent.name == "hdf5" else module.name
        assert re.search(rf"^\|.*{each.name.split(',')[0]}.*\| `{place}`", table, re.MULTILINE)
