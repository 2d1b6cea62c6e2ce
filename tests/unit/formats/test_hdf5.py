import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import find_files, open_frames, read_frames
from deepfreak.preparation import prepare
from tests.unit.formats import made


def stack(n=3, shape=(150, 130), dtype=np.uint16):
    return np.stack([made.photons(shape, seed=i) for i in range(n)]).astype(dtype)


def write(path, **data):
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name.replace("__", "/")] = values
    return path


def test_a_master_gives_the_frames_of_its_linked_files_in_order(tmp_path):
    frames = stack(5, dtype=np.uint32)
    mask = np.zeros((150, 130), np.uint32)
    mask[7] = 1
    mask[9, 9] = 8
    frames[:, 20, 20] = 2**32 - 1  # an overload, which the mask calls good
    read = list(read_frames(made.eiger(tmp_path, frames, mask=mask)))
    assert [frame.index for frame in read] == [0, 1, 2, 3, 4]
    for frame, counts in zip(read, frames, strict=True):
        np.testing.assert_array_equal(frame.counts, counts)
        assert not frame.valid[7].any()
        assert not frame.valid[9, 9]
        assert frame.valid[20, 20]
        assert np.count_nonzero(~frame.valid) == 131
    first = read[0]
    assert first.beam_center_px == (70.25, 60.5)
    assert (first.pixel_size_mm, first.distance_mm) == (pytest.approx(0.075), 120.0)
    assert first.wavelength_A == 0.9


def test_frames_up_to_a_missing_linked_file_are_read_and_its_name_is_told(tmp_path):
    master = made.eiger(tmp_path, stack(6), files=3)
    (tmp_path / "run_data_000002.h5").unlink()
    with open_frames(master) as file:
        assert file.count == 3
        assert file.read(1).index == 1
        with pytest.raises(FrameError, match=r"run_data_000002\.h5"):
            file.read(2)


def test_a_virtual_stack_whose_source_is_missing_gives_no_blank_frames(tmp_path):
    made.eiger(tmp_path, stack(2), files=1)
    layout = h5py.VirtualLayout((2, 150, 130), np.uint16)
    layout[:] = h5py.VirtualSource(
        tmp_path / "run_data_000001.h5", "entry/data/data", (2, 150, 130)
    )
    with h5py.File(tmp_path / "virtual.nxs", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    assert len(list(read_frames(tmp_path / "virtual.nxs"))) == 2
    (tmp_path / "run_data_000001.h5").unlink()
    with pytest.raises(
        FrameError, match="expected run_data_000001.h5 for the images at /entry/data/data"
    ):
        list(read_frames(tmp_path / "virtual.nxs"))


def test_data_files_are_not_counted_besides_their_master(tmp_path):
    master = made.eiger(tmp_path, stack(4))
    other = tmp_path / "other_data_000001.h5"
    with h5py.File(other, "w") as file:
        file["entry/data/data"] = stack(1)
    assert find_files([tmp_path]) == [other, master]
    assert find_files([*sorted(tmp_path.iterdir()), tmp_path]) == [other, master]
    linked = tmp_path / "run_data_000001.h5"
    assert find_files([linked]) == [linked]


@pytest.mark.parametrize(
    "place",
    [
        "entry/data/data",
        "images",
        "data/data",
        "entry_1/data_1/data",
        "entry_1/instrument_1/detector_1/data",
        "anything/at/all",
    ],
)
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_stacks_are_found_where_programs_put_them(tmp_path, place, kind):
    frames = stack(2, dtype=kind)
    path = write(tmp_path / "a.cxi", **{place: frames, "other/mask": np.ones((150, 130), np.uint8)})
    read = [frame.counts for frame in read_frames(path)]
    np.testing.assert_array_equal(read, frames)


def test_a_single_image_is_a_frame(tmp_path):
    assert len(list(read_frames(write(tmp_path / "a.h5", data=stack(1)[0])))) == 1


def test_images_in_a_group_each_are_frames(tmp_path):
    path = write(tmp_path / "a.h5", **{f"tag-{i}__data": image for i, image in enumerate(stack(3))})
    assert len(list(read_frames(path))) == 3


def test_several_candidates_are_named(tmp_path):
    path = write(tmp_path / "a.h5", first=stack(2), second=stack(3))
    with pytest.raises(FrameError, match=r"/first, /second"):
        list(read_frames(path))


def test_a_file_without_images_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", energies=np.arange(1000.0), label=np.zeros((99, 99)))
    with pytest.raises(FrameError, match="found no data set of images"):
        list(read_frames(path))


@pytest.mark.parametrize(
    "shape",
    [
        (2, 8, 64, 64),
        (2, 32, 185, 388),
        (16, 512, 128),
        (2, 2048, 128),
        (2, 4096, 1024),
        (1480, 1552),
        (2, 2, 2, 64, 64),
    ],
)
def test_raw_modules_without_a_geometry_are_refused_in_one_line(tmp_path, shape):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("entry_1/data_1/data", shape=shape, dtype=np.int16, chunks=True)
    with pytest.raises(FrameError, match="raw modules.*--geometry") as error:
        list(read_frames(tmp_path / "a.h5"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shape", [(2, 512, 1024), (2, 512, 512), (2, 2048, 2048), (2, 1, 150, 130)]
)
def test_assembled_images_are_not_taken_for_modules(tmp_path, shape):
    path = write(tmp_path / "a.h5", data=np.ones(shape, np.uint16))
    assert [frame.counts.shape for frame in read_frames(path)] == [shape[-2:]] * 2


def test_cxis_mask_leaves_out_bad_pixels_but_no_saturated_ones(tmp_path):
    mask = np.zeros((2, 150, 130), np.uint16)
    mask[:, 3, 3], mask[:, 4, 4], mask[1, 5, 5] = 0x200, 0x2, 0x8
    path = write(
        tmp_path / "a.cxi",
        **{
            "entry_1/instrument_1/detector_1/data": stack(2, dtype=np.float32),
            "entry_1/instrument_1/detector_1/mask": mask,
        },
    )
    first, second = read_frames(path)
    assert np.argwhere(~first.valid).tolist() == [[3, 3]]
    assert np.argwhere(~second.valid).tolist() == [[3, 3], [5, 5]]


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = made.eiger(tmp_path, stack(1), files=1, mask=np.zeros((10, 10)))
    with pytest.raises(FrameError, match="mask of the frame's size"):
        list(read_frames(path))


def test_the_largest_value_of_an_unknown_detector_is_a_gap_as_an_area_and_else_an_overload(
    tmp_path,
):
    frames = stack(2)
    frames[0, 10:14] = 65535
    frames[1, 10, 10] = 65535
    gap, overload = read_frames(write(tmp_path / "a.h5", data=frames))
    assert not gap.valid[10:14].any()
    assert overload.valid.all()


def test_a_compression_that_is_not_installed_is_named(tmp_path):
    path = made.without_its_filter(tmp_path / "a.h5", stack(2), code=32199)
    with pytest.raises(FrameError, match="filter 32199"):
        list(read_frames(path))


def test_a_frame_that_cannot_be_decompressed_does_not_spoil_the_others(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", data=stack(3), chunks=(1, 150, 130), compression="gzip", fletcher32=True
        )
        chunk = data.id.get_chunk_info(1)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + 40] = bytes(40)
    path.write_bytes(raw)
    with open_frames(path) as file:
        assert file.read(0).index == 0
        with pytest.raises(FrameError, match="cannot be read"):
            file.read(1)
        assert file.read(2).index == 2


def test_our_own_images_reach_the_model_unchanged(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 512, 512), dtype=np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = images
        file["label"] = np.zeros(2, np.uint8)
        file["label"].attrs["classes"] = ["blank", "strong"]
    for frame, image in zip(read_frames(tmp_path / "a.h5"), images, strict=True):
        np.testing.assert_array_equal(prepare(frame).image, image)


def test_8_bit_counts_of_a_detector_are_no_square_roots(tmp_path):
    path = made.eiger(tmp_path, stack(1, dtype=np.uint8), files=1)
    assert next(read_frames(path)).pedestal == 0
