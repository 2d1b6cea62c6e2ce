import csv
import json
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deepfreak.datasets import Dataset
from deepfreak.datasets.real_images.crop import ByHand
from deepfreak.datasets.real_images.labels import choose_test, read_labels, series_of
from deepfreak.datasets.real_images.real_set import (
    brightened,
    brightening,
    mean_of,
    prepare_real_set,
)
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError, FrameError
from deepfreak.formats import find_files, read_frames
from deepfreak.preparation import Window, prepare


def write_frames(folder, *, series=5, each=2, side=1024):
    """Write 16-bit frames with a dark bar across, and labels: every second one diffracts."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    slow, fast = np.mgrid[:side, :side]
    light = 60 * np.exp(-((np.hypot(slow - side / 2, fast - side / 2) / side) ** 2))
    light[side // 2 - 20 : side // 2 + 20] = 0.5
    rows = []
    for name in range(series):
        for number in range(each):
            file = folder / f"run{name}_{number:03d}.png"
            Image.fromarray(rng.poisson(light).astype(np.uint16)).save(file)
            rows.append((file.name, ["no-diffraction", "diffraction"][number % 2]))
    return write_csv(folder.parent / "labels.csv", rows)


def write_csv(path, rows, columns=("file", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    labels = write_frames(folder / "frames")
    files = find_files([folder / "frames"])
    return prepare_real_set(files, labels, folder / "real.h5", target_mean=20.0, examples=1)


def test_both_variants_are_data_sets_of_two_classes(made):
    for path in (made.raw, made.preprocessed):
        with Dataset.open(path) as data:
            assert data.classes == ("no-diffraction", "diffraction")
            assert data.images.shape == (10, 512, 512)
            assert Counter(data.labels.tolist()) == {0: 5, 1: 5}
            assert data.manifest["variant"] == path.stem
    assert made.raw.name == "real_raw.h5"


def test_preprocessed_pixels_are_raw_ones_times_the_sets_one_constant(made):
    with h5py.File(made.raw) as raw, h5py.File(made.preprocessed) as preprocessed:
        expected = np.minimum(np.rint(raw["images"][:] * made.constant), 255)
        np.testing.assert_array_equal(preprocessed["images"][:], expected)
        assert json.loads(preprocessed.attrs["manifest"])["constant"] == made.constant
        valid = preprocessed["valid"][:].astype(bool)
        assert preprocessed["images"][:][valid].mean() == pytest.approx(made.mean)
    assert made.mean == pytest.approx(20, abs=0.3)


def test_the_bar_is_not_on_the_images(made):
    # PNG does not say where the beam is: each series is a setup
    assert [setup.count for setup in made.setups] == [2] * 5
    assert all(setup.shadow[505:520].all() for setup in made.setups)
    assert all(setup.window is not None for setup in made.setups)
    with h5py.File(made.raw) as raw:
        valid = raw["valid"][:].astype(bool)
        assert valid.mean() > 0.8
        # 0.5 photons and the pedestal of 10 would give 3
        rows = [image[mask].min() for image, mask in zip(raw["images"][:], valid, strict=True)]
        assert min(rows) >= 4


def test_an_image_is_what_prepare_makes_of_its_frame_and_window(made):
    with h5py.File(made.raw) as raw:
        name, index = raw["source"][3].decode().split("#")
        (frame,) = read_frames(Path(name))
        manifest = json.loads(raw.attrs["manifest"])
        crop = manifest["crops"][0]
        assert all({**other, **crop} == crop for other in manifest["crops"])
        window = Window(factor=crop["factor"], origin=tuple(crop["origin"]))
        np.testing.assert_array_equal(raw["images"][3], prepare(frame, window=window).image)
        assert index == "0"


def test_series_stay_on_one_side_of_the_split(made):
    with h5py.File(made.raw) as raw:
        sources = [name.decode().split("_")[0] for name in raw["source"][:]]
        spans = {name: tuple(map(int, span)) for name, span in raw["splits"].attrs.items()}
    assert spans == {"validation": (0, 8), "test": (8, 2)} == made.splits
    assert not set(sources[:8]) & set(sources[8:])


def test_the_same_seed_gives_the_same_file_contents(made, tmp_path):
    labels = made.raw.parent / "labels.csv"
    files = find_files([made.raw.parent / "frames"])
    again = prepare_real_set(files, labels, tmp_path / "real.h5", target_mean=20.0)
    with h5py.File(made.raw) as first, h5py.File(again.raw) as second:
        assert first.attrs["manifest"] == second.attrs["manifest"]
        np.testing.assert_array_equal(first["source"][:], second["source"][:])


def test_what_is_given_by_hand_is_taken(made, tmp_path):
    by_hand = ByHand(shadow=(0, 0, 5, 5), origin=(20, 30))
    files = [made.raw.parent / "frames/run0_000.png"]
    labels = write_csv(tmp_path / "l.csv", [("run0_000.png", "1")])
    done = prepare_real_set(
        files, labels, tmp_path / "real.h5", target_mean=20.0, by_hand=by_hand, test_part=0
    )
    (setup,) = done.setups
    assert setup.window == Window(factor=1, origin=(20, 30))
    assert np.count_nonzero(setup.shadow) == 25
    for wrong in (ByHand(shadow=(5, 5, 5, 9)), ByHand(origin=(2000, 0)), ByHand(origin=(-1, 0))):
        with pytest.raises(FrameError, match="expected a "):
            prepare_real_set(
                files, labels, tmp_path / "x.h5", target_mean=20.0, by_hand=wrong, test_part=0
            )
    assert not list(tmp_path.glob("x*"))


def test_an_unreadable_frame_is_named_and_nothing_is_left(tmp_path):
    labels = write_frames(tmp_path / "frames", series=1, side=600)
    bad = tmp_path / "frames/run0_001.png"
    bad.write_bytes(bad.read_bytes()[:20_000])
    with pytest.raises(FrameError, match="run0_001.png: "):
        prepare_real_set(
            find_files([tmp_path / "frames"]), labels, tmp_path / "real.h5", target_mean=20.0
        )
    assert not list(tmp_path.glob("*real*"))


FILES = [Path("a/x_1.cbf"), Path("a/y_1.cbf"), Path("b/y_1.cbf")]


def labels_of(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return read_labels(path, FILES)


def test_labels_are_words_or_digits_for_files_or_frames(tmp_path):
    labels = labels_of(
        tmp_path,
        "label,file,frame\n1,x_1.cbf,\nNo-Diffraction,a/y_1.cbf,0\ndiffraction,a/y_1.cbf,3\n",
    )
    assert labels.of(FILES[0], 7) == 1
    assert labels.of(FILES[1], 0) == 0
    assert labels.of(FILES[1], 3) == 1
    with pytest.raises(DatasetError, match="label for frame 1 of a/y_1.cbf, found none"):
        labels.of(FILES[1], 1)
    with pytest.raises(DatasetError, match="which has 3"):
        labels.check_frames(dict.fromkeys(FILES, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found nothing"),
        ("name,label\n", "found name, label"),
        ("file,label\nabsent.cbf,1\n", "line 2: 'absent.cbf' is not among the frames"),
        ("file,label\ny_1.cbf,1\n", "names several files"),
        ("file,label\nx_1.cbf,maybe\n", "found 'maybe'"),
        ("file,label\nx_1.cbf\n", "found ''"),
        ("file,label,frame\nx_1.cbf,1,-2\n", "found '-2'"),
        ("file,label\nx_1.cbf,1\na/x_1.cbf,0\n", "line 3: a second label"),
    ],
)
def test_wrong_labels_are_refused_with_their_line(tmp_path, text, expected):
    with pytest.raises(DatasetError) as caught:
        labels_of(tmp_path, text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("a/x_00001.cbf", "a/x"),
        ("x_00001.cbf.bz2", "x"),
        ("Cr8F.0026", "Cr8F"),
        ("run_data_000003.h5", "run_data"),
        ("0001.cbf", "0001.cbf"),
        ("plain.cbf", "plain.cbf"),
    ],
)
def test_a_series_is_a_name_without_its_last_number(name, series):
    assert series_of(Path(name)) == series


def test_single_frames_are_split_as_the_paper_did():
    labels = [0] * 200 + [1] * 257
    test = choose_test(labels, [str(i) for i in range(457)], part=0.2, rng=np.random.default_rng(0))
    assert sum(test) == 91
    assert sum(test[:200]) == 40


@given(
    sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40),
    part=st.floats(0, 1),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_a_split_divides_no_source_and_comes_near_its_part(sizes, part, seed):
    sources = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
    labels = [i % 2 for i in range(len(sources))]
    test = choose_test(labels, sources, part=part, rng=np.random.default_rng(seed))
    sides = {}
    for source, is_test in zip(sources, test, strict=True):
        assert sides.setdefault(source, is_test) == is_test
    assert abs(sum(test) - part * len(test)) <= max(sizes) + 1
    again = choose_test(labels, sources, part=part, rng=np.random.default_rng(seed))
    assert test == again


def test_the_constant_brings_the_rounded_and_clipped_mean_to_the_target():
    image = np.random.default_rng(0).poisson(12, 100_000).astype(np.uint8)
    image[:500] = 200
    constant, mean = brightening(np.bincount(image, minlength=256), 23.4)
    assert brightened(image, constant).mean() == pytest.approx(mean)
    assert mean == pytest.approx(23.4, abs=0.2)
    assert brightened(image, constant).max() == 255


def test_black_images_have_no_constant():
    with pytest.raises(DatasetError, match="all black"):
        brightening(np.eye(1, 256, dtype=np.int64)[0], 23.4)


def test_the_mean_of_a_set_is_that_of_all_its_pixels(made):
    with h5py.File(made.raw) as raw:
        assert mean_of(made.raw) == pytest.approx(raw["images"][:].mean())


def test_shadows_of_real_frames_are_cropped_away_where_there_is_room(shared, tmp_path):
    names = ["ceria_Pilatus2M.hdf5", "snc_newhead_00001.img.bz2", "in16c_010001.cbf"]
    files = [shared / "real" / name for name in names]
    if not all(file.is_file() for file in files):
        pytest.skip("needs measured frames in ../shared/real: too large for the repository")
    labels = write_csv(tmp_path / "l.csv", [(name, int(name[0] != "c")) for name in names])
    done = prepare_real_set(files, labels, tmp_path / "r.h5", target_mean=23.4, test_part=0)
    ceria, snc, in16c = done.setups
    for setup in (ceria, snc):
        top, left = setup.window.origin
        side = SIZE * setup.window.factor
        assert setup.shadow.any()
        assert not setup.shadow[max(top, 0) : top + side, max(left, 0) : left + side].any()
    # a stop in the middle of 619 x 487 pixels leaves no room
    assert in16c.window is None
