import h5py
import numpy as np
import pytest

from deepfreak.errors import GeometryError
from deepfreak.formats import read_frames, read_mask
from tests.unit.formats import made

MASK = np.zeros((150, 130), np.int32)
MASK[5], MASK[9, 9] = 1, 7


def written(path):
    """Write `MASK` in the format of the suffix and return the path."""
    import fabio
    from PIL import Image

    match path.suffix:
        case ".npy":
            np.save(path, MASK)
        case ".cbf":
            path.write_bytes(made.cbf(MASK))
        case ".edf":
            fabio.edfimage.EdfImage(data=MASK.astype(np.uint8)).write(str(path))
        case ".tif":
            fabio.tifimage.TifImage(data=MASK.astype(np.uint8)).write(str(path))
        case ".msk":
            fabio.fit2dmaskimage.Fit2dMaskImage(data=(MASK != 0).astype(np.uint8)).write(str(path))
        case ".png":
            Image.fromarray(MASK.astype(np.uint8)).save(path)
        case ".h5":
            with h5py.File(path, "w") as file:
                file["entry/mask"] = MASK
                file["entry/image"] = np.ones((150, 130))
    return path


@pytest.mark.parametrize("suffix", [".npy", ".cbf", ".edf", ".tif", ".msk", ".png", ".h5"])
def test_masks_of_every_format_leave_out_what_is_not_zero(tmp_path, suffix):
    mask = read_mask(written(tmp_path / f"mask{suffix}"))
    np.testing.assert_array_equal(mask, MASK != 0)
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    frame = next(read_frames(tmp_path / "a.cbf", mask=mask))
    np.testing.assert_array_equal(frame.valid, MASK == 0)


def test_a_mask_of_another_size_is_refused(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons()))
    with pytest.raises(GeometryError, match="150 x 130, found one of 10 x 20"):
        next(read_frames(tmp_path / "a.cbf", mask=np.zeros((10, 20), bool)))


def test_files_that_are_no_masks_are_refused_in_one_line(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "line.npy", np.zeros(5))
    (tmp_path / "text.tif").write_text("no mask")
    (tmp_path / "empty.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in ("objects.npy", "line.npy", "text.tif", "empty.h5", "missing.npy"):
        with pytest.raises(GeometryError) as error:
            read_mask(tmp_path / name)
        assert "\n" not in str(error.value)
