import json

import h5py
import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.datasets.diffranet import export_diffranet, import_diffranet
from deepfreak.errors import DatasetError, OutputError
from tests.unit.datasets.diffranet.replica import (
    image,
    layout,
    names,
    packed,
    write_folder,
    write_zip,
)

FILES = layout()


def contents(path):
    with h5py.File(path) as file:
        return {
            "images": file["images"][:],
            "label": file["label"][:],
            "classes": list(file["label"].attrs["classes"]),
            "splits": {
                name: tuple(map(int, value)) for name, value in file["splits"].attrs.items()
            },
            "source": [name.decode() for name in file["source"][:]],
        }


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("prefix", ["", "download/DiffraNet/"])
def test_images_are_stored_by_split_class_and_name(tmp_path, as_zip, prefix):
    files = {prefix + name: pixels for name, pixels in reversed(FILES.items())}
    write = write_zip if as_zip else write_folder
    imported = import_diffranet(write(tmp_path / "in", files), tmp_path / "out")
    assert names(tmp_path / "out") == ["real_raw.h5", "synthetic.h5"]
    assert imported.counts["synthetic"] == {"train": 2, "validation": 1, "test": 2}
    synthetic = contents(tmp_path / "out/synthetic.h5")
    expected = [name for name in FILES if name.startswith("synthetic")]
    assert synthetic["source"] == [prefix + name for name in expected]
    np.testing.assert_array_equal(synthetic["images"], [FILES[name] for name in expected])
    assert synthetic["label"].tolist() == [0, 4, 1, 2, 3]
    assert synthetic["splits"] == {"train": (0, 2), "validation": (2, 1), "test": (3, 2)}
    real = contents(tmp_path / "out/real_raw.h5")
    assert real["classes"] == ["no-diffraction", "diffraction"]
    assert real["label"].tolist() == [0, 1, 1]
    assert real["splits"] == {"validation": (0, 2), "test": (2, 1)}


def test_an_imported_file_is_a_data_set_with_one_chunk_an_image(tmp_path):
    import_diffranet(write_zip(tmp_path / "in.zip", FILES), tmp_path / "out")
    with Dataset.open(tmp_path / "out/synthetic.h5") as data:
        assert len(data) == 5
        assert data.images.chunks == (1, 512, 512)
        assert data.manifest["variant"] == "synthetic"
        assert data.manifest["count"] == 5


def test_what_downloads_contain_beside_images_is_left_out(tmp_path):
    clutter = {
        "README.md": b"hello",
        "synthetic/.DS_Store": b"\0",
        "synthetic/train/1/.DS_Store": b"\0",
        "synthetic/train/1/Thumbs.db": b"\0",
        "synthetic/train/1/labels.txt": b"1",
        "__MACOSX/synthetic/train/1/._b.png": b"\0\5\x16\7",
        "figures/sample.png": image(99, (20, 20)),
    }
    imported = import_diffranet(write_zip(tmp_path / "in.zip", FILES | clutter), tmp_path / "out")
    assert imported.left_out == len(clutter)
    assert sum(imported.counts["synthetic"].values()) == 5


@pytest.mark.parametrize("form", ["PPM", "PNG", "BMP", "TIFF"])
def test_every_lossless_form_gives_the_same_pixels(tmp_path, form):
    name = f"synthetic/train/1/a.{'pgm' if form == 'PPM' else form.lower()}"
    import_diffranet(write_folder(tmp_path / "in", {name: packed(image(3), form)}), tmp_path / "o")
    np.testing.assert_array_equal(contents(tmp_path / "o/synthetic.h5")["images"][0], image(3))


PGM = b"P5\n# a comment\n512 512\n100\n" + image(0).tobytes()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("synthetic/train/1/bad.png", image(9, (512, 511)), "found 512 x 511"),
        ("synthetic/train/1/bad.png", packed(np.zeros((512, 512, 3), np.uint8)), "mode RGB"),
        ("synthetic/train/1/bad.png", packed(np.zeros((512, 512), np.uint16)), "mode I;16"),
        ("synthetic/train/1/bad.png", b"", "cannot be read as one"),
        ("synthetic/train/1/bad.png", b"<html>404", "cannot be read as one"),
        ("synthetic/train/1/bad.png", packed(image(9))[:9000], "damaged or truncated"),
        ("synthetic/train/1/bad.pgm", packed(image(9), "PPM")[:9000], "damaged or truncated"),
        ("synthetic/train/1/bad.pgm", PGM, "largest value than 255"),
        ("synthetic/train/1/bad.pgm", bytes(20 << 20), "at most 16 MiB, found 20 MiB"),
        ("synthetic/test/1/bad.png", FILES["synthetic/train/1/b.png"], "synthetic/train/1/b.png"),
        ("synthetic/train/2/bad.png", FILES["synthetic/train/1/b.png"], "two splits or classes"),
        ("synthetic/train/6/bad.png", image(9), "class folder 1 to 5 in synthetic, found '6'"),
        ("real_raw/test/3/bad.png", image(9), "class folder 1 to 2 in real_raw, found '3'"),
        ("synthetic/train/strong/bad.png", image(9), "found 'strong'"),
        ("synthetic/holdout/1/bad.png", image(9), "found 'holdout'"),
        ("synthetic/train/bad.png", image(9), "synthetic/SPLIT/CLASS"),
        ("synthetic/train/1/more/bad.png", image(9), "synthetic/SPLIT/CLASS"),
        ("other/synthetic/train/1/bad.png", image(9), "found two"),
    ],
)
def test_what_would_corrupt_results_is_refused_by_name_and_nothing_is_left(
    tmp_path, name, content, expected
):
    source = write_folder(tmp_path / "in", FILES | {name: content})
    with pytest.raises(DatasetError) as caught:
        import_diffranet(source, tmp_path / "out")
    assert expected in str(caught.value)
    assert "bad.p" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_twins_within_a_class_are_no_reason_to_refuse(tmp_path):
    twins = {f"synthetic/train/1/{i}.png": image(1) for i in range(2)}
    assert import_diffranet(write_folder(tmp_path / "in", twins), tmp_path / "out").counts == {
        "synthetic": {"train": 2}
    }


def test_an_empty_set_is_refused(tmp_path):
    source = write_folder(tmp_path / "in", {"synthetic/train/1/.DS_Store": b"x", "a.png": image(1)})
    with pytest.raises(DatasetError, match="found none among 2 files"):
        import_diffranet(source, tmp_path / "out")


def test_existing_files_stay_without_overwrite(tmp_path):
    source = write_zip(tmp_path / "in.zip", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/real_raw.h5").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        import_diffranet(source, tmp_path / "out")
    assert names(tmp_path / "out") == ["real_raw.h5"]
    import_diffranet(source, tmp_path / "out", overwrite=True)
    assert h5py.is_hdf5(tmp_path / "out/real_raw.h5")


def test_exporting_what_was_imported_and_importing_it_again_changes_nothing(tmp_path):
    import_diffranet(write_zip(tmp_path / "in.zip", FILES), tmp_path / "first")
    counts = export_diffranet(sorted((tmp_path / "first").iterdir()), tmp_path / "folders")
    assert counts == {"real_raw": 3, "synthetic": 5}
    import_diffranet(tmp_path / "folders", tmp_path / "second")
    for name in ("synthetic.h5", "real_raw.h5"):
        first, second = contents(tmp_path / "first" / name), contents(tmp_path / "second" / name)
        for key in ("classes", "splits"):
            assert first[key] == second[key]
        for key in ("images", "label"):
            np.testing.assert_array_equal(first[key], second[key])


def own_file(path, labels, splits=None, classes=("blank", "no-crystal", "weak", "good", "strong")):
    with h5py.File(path, "w") as file:
        file["images"] = np.stack([image(seed) for seed in range(len(labels))])
        file["label"] = np.array(labels, np.uint8)
        file["label"].attrs["classes"] = list(classes)
        file.attrs["manifest"] = json.dumps({})
        if splits:
            file.create_group("splits").attrs.update(splits)
    return path


def test_a_file_without_splits_becomes_one_training_set(tmp_path):
    export_diffranet([own_file(tmp_path / "own.h5", [4, 0, 4])], tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.pgm"))
    assert found == [f"synthetic/train/{name}.pgm" for name in ("1/1", "5/0", "5/2")]
    header = b"P5\n512 512\n255\n"
    assert (tmp_path / "out" / found[0]).read_bytes() == header + image(1).tobytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"splits": {"train": (0, 2), "test": (1, 2)}}, "overlap"),
        ({"splits": {"train": (0, 2)}}, "expected splits of 3 images, found 2"),
        ({"splits": {"holdout": (0, 3)}}, "found 'holdout'"),
        ({"classes": ("a", "b", "c", "d", "e")}, "found a, b, c, d, e"),
    ],
)
def test_what_diffranets_folders_cannot_hold_is_refused(tmp_path, arguments, expected):
    with pytest.raises(DatasetError, match=expected):
        export_diffranet([own_file(tmp_path / "own.h5", [4, 0, 4], **arguments)], tmp_path / "out")
    assert names(tmp_path) == ["own.h5"]


def test_two_files_of_one_variant_are_refused(tmp_path):
    files = [own_file(tmp_path / name, [1]) for name in ("a.h5", "b.h5")]
    with pytest.raises(DatasetError, match="both synthetic"):
        export_diffranet(files, tmp_path / "out")


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        export_diffranet([own_file(tmp_path / "own.h5", [1])], tmp_path / "out")
    assert names(tmp_path / "out") == ["mine"]
    assert names(tmp_path) == ["out", "own.h5"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def start(total):
        assert total == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_diffranet([own_file(tmp_path / "own.h5", [1])], tmp_path / "out", start=start)
    with pytest.raises(KeyboardInterrupt):
        export_diffranet(
            [tmp_path / "own.h5"], tmp_path / "out", start=lambda _: lambda _: interrupt()
        )
    assert names(tmp_path) == ["own.h5"]


def interrupt():
    raise KeyboardInterrupt
