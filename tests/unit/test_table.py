import h5py
import numpy as np
import pytest

from deepfreak.datasets.randomised.table import is_table, read_table
from deepfreak.errors import DatasetError


def write(path, change=lambda _: None):
    with h5py.File(path, "w") as file:
        numbers = file.create_dataset("numbers", data=np.arange(8.0).reshape(4, 2))
        numbers.attrs["names"] = ["a", "b"]
        file["label"] = np.array([1, 0, -1, 1], np.int8)
        text = h5py.string_dtype()
        file.create_dataset("family", data=["ccd", "ccd", "eiger", "eiger"], dtype=text)
        file["visible"] = np.array([20, 0, 5, 12], np.uint16)
        file["zingers"] = np.array([0, 9, 0, 1], np.int32)
        file.create_dataset("kind", data=["crystal", "ice", "crystal", "crystal"], dtype=text)
        change(file)
    return path


def test_a_table_is_read_with_its_names_labels_and_families(tmp_path):
    path = write(tmp_path / "t.h5", lambda file: file.attrs.update(manifest='{"seed": 3}'))
    table = read_table(path)
    assert is_table(path)
    assert len(table) == 4
    assert table.names == ("a", "b")
    assert table.numbers[3].tolist() == [6.0, 7.0]
    assert table.label.tolist() == [1, 0, -1, 1]
    assert table.family.tolist() == ["ccd", "ccd", "eiger", "eiger"]
    assert table.visible.tolist() == [20, 0, 5, 12]
    assert table.zingers.tolist() == [0, 9, 0, 1]
    assert table.kind.tolist() == ["crystal", "ice", "crystal", "crystal"]
    assert table.manifest == {"seed": 3}


def replaced(name, data):
    def change(file):
        del file[name]
        if data is not None:
            file[name] = data

    return change


@pytest.mark.parametrize(
    "change",
    [
        replaced("label", None),
        replaced("label", np.zeros(3, np.int8)),
        replaced("label", np.zeros(4, np.int64)),
        replaced("label", np.full(4, 2, np.int8)),
        replaced("numbers", np.zeros(4)),
        replaced("numbers", np.zeros((4, 2))),  # without names
        replaced("visible", np.zeros(4)),
        replaced("zingers", None),
        replaced("kind", np.zeros(4)),
        replaced("family", np.zeros(4)),
        lambda file: file["numbers"].attrs.update(names=["a"]),
        lambda file: file["numbers"].attrs.update(names=["a", "a"]),
        lambda file: file["numbers"].write_direct(np.full((4, 2), np.nan)),
        lambda file: file.attrs.update(manifest="[]"),
        lambda file: file.attrs.update(manifest="{"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, change):
    path = write(tmp_path / "t.h5", change)
    with pytest.raises(DatasetError) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_table_is_told_from_one(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert not is_table(tmp_path / "a.h5")
    assert not is_table(tmp_path / "none.h5")
    for name in ("a.h5", "none.h5"):
        with pytest.raises(DatasetError, match="expected a table of evidence"):
            read_table(tmp_path / name)
