"""Writing results, also when the disk is full."""

import resource

import h5py
import numpy as np
import pytest

from deepfreak.errors import OutputError
from deepfreak.storage.files import whole_hdf5, written_whole


def fill(path):
    rng = np.random.default_rng(0)
    with whole_hdf5(path, overwrite=False) as (file, check):
        for number in range(12):
            group = file.create_group(f"entry/of/some/depth_{number}")
            group.attrs["NX_class"] = "NXdetector"
            text = h5py.string_dtype()
            group.create_dataset("series", data=["run-1"] * 40, dtype=text)
            group["number"] = rng.integers(0, 99, 500)
            group["number"].attrs["units"] = "m"
            group.create_dataset(
                "data", data=rng.integers(0, 99, (4, 20, 30)), chunks=(1, 20, 30), compression=4
            )
        check()


def test_a_disk_that_is_full_at_any_byte_ends_the_writing_in_one_line_and_nothing_else(tmp_path):
    fill(tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in np.linspace(0, size - 1, 60).astype(int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), limits[1]))
        try:
            with pytest.raises(OutputError, match="File too large"):
                fill(tmp_path / "cut.h5")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.h5"]
    with h5py.File(tmp_path / "whole.h5") as file:
        assert len(file["entry/of/some"]) == 12


def _write_half(path):
    with written_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_file_whose_writing_failed_does_not_appear(tmp_path):
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        _write_half(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
