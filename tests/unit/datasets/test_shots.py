"""Series of shots into files."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfreak.datasets import shots
from deepfreak.datasets.shots import choose_shots, write_shots
from deepfreak.encoding import to_8_bits
from deepfreak.errors import BackendError, InputError, OutputError
from deepfreak.formats import read_frames
from deepfreak.formats.shot_metadata import metadata_of
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import scatter, simulate
from deepfreak.physics.gpu import batch
from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Return a small, quick experiment with a beam off the middle."""
    changes = [
        "crystal.structure.cell=[40, 50, 60, 90, 90, 90]",
        "crystal.mosaic_domains=5",
        "detector.image_size=[96, 128]",
        "detector.beam_center_px=[40.5, 75.25]",
        "detector.distance_mm=60",
    ]
    return load_recipe("diffranet", changes=changes)


@pytest.mark.parametrize("form", ["smv", "cbf", "tiff", "h5"])
def test_counts_are_those_whose_root_generate_stores(
    experiment: Experiment, form: Any, tmp_path: Path
) -> None:
    chosen = choose_shots(experiment, seed=3, count=3, first=5)
    assert len({shot.label for shot in chosen}) > 1
    write_shots(chosen, tmp_path, form=form)
    run = json.loads((tmp_path / "shots.json").read_text())
    for shot, record in zip(chosen, run["shots"], strict=True):
        frame = list(read_frames(tmp_path / record["file"]))[record["frame"]]
        expected, _ = simulate(shot)
        np.testing.assert_array_equal(to_8_bits(frame.counts.astype(np.uint16)), expected)
        assert shot.photons == 0 or frame.counts.max() > 255
        assert frame.distance_mm == pytest.approx(60)
        assert frame.beam_center_px == pytest.approx((40.5, 75.25), abs=1e-3)
        if form != "h5":  # whose reader tells wavelengths only where all frames share one
            assert frame.wavelength_A == pytest.approx(shot.wavelength_A, rel=1e-9)


@pytest.mark.parametrize("form", ["pgm", "png"])
def test_pictures_are_the_images_of_generate(
    experiment: Experiment, form: Any, tmp_path: Path
) -> None:
    chosen = choose_shots(experiment, seed=3, count=2)
    write_shots(chosen, tmp_path, form=form)
    for shot in chosen:
        with Image.open(tmp_path / f"shot_{shot.index:06d}.{form}") as picture:
            np.testing.assert_array_equal(np.asarray(picture), simulate(shot)[0])


@pytest.mark.parametrize("form", ["tiff", "h5"])
def test_noiseless_files_hold_expected_photons(
    experiment: Experiment, form: Any, tmp_path: Path
) -> None:
    (shot,) = choose_shots(experiment, seed=3, count=1, only="strong")
    write_shots([shot], tmp_path, form=form, noiseless=True)
    (file,) = (path for path in tmp_path.iterdir() if path.suffix != ".json")
    (frame,) = read_frames(file)
    np.testing.assert_array_equal(frame.counts, scatter(shot))


@pytest.mark.parametrize("form", ["pgm", "png", "smv", "cbf"])
def test_whole_numbers_cannot_hold_expected_photons(
    experiment: Experiment, form: Any, tmp_path: Path
) -> None:
    chosen = choose_shots(experiment, seed=0, count=1)
    with pytest.raises(InputError, match=f"{form} cannot hold expected photons"):
        write_shots(chosen, tmp_path / "new", form=form, noiseless=True)
    assert not (tmp_path / "new").exists()


def test_the_truth_stands_beside_the_files(experiment: Experiment, tmp_path: Path) -> None:
    chosen = choose_shots(experiment, seed=3, count=2, first=4)
    assert write_shots(chosen, tmp_path, form="cbf") == tmp_path / "shots.json"
    run = json.loads((tmp_path / "shots.json").read_text())
    assert experiment_from(run["experiment"]) == experiment
    assert (run["seed"], run["images"], run["backend"]) == (3, "counts", "cpu")
    for shot, record in zip(chosen, run["shots"], strict=True):
        assert record["file"] == f"shot_{shot.index:06d}.cbf"
        assert (record["index"], record["class"]) == (shot.index, shot.class_name)
        assert record["truth"]["wavelength_A"] == shot.wavelength_A
        assert record["truth"]["crystal_volume_mm3"] == shot.crystal_volume_mm3
        np.testing.assert_array_equal(record["truth"]["orientation"], shot.orientation)


def test_an_executor_changes_no_byte(experiment: Experiment, tmp_path: Path) -> None:
    chosen = choose_shots(experiment, seed=1, count=5)
    write_shots(chosen, tmp_path / "a", form="h5")
    done: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        write_shots(chosen, tmp_path / "b", form="h5", executor=executor, advance=done.append)
    assert done == [1] * 5
    for name in ("shots.h5", "shots.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_files_that_exist_are_refused_before_any_is_written(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose_shots(experiment, seed=0, count=3)
    (tmp_path / "shot_000002.cbf").write_text("precious")

    def render(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    with monkeypatch.context() as patched:
        patched.setattr(shots, "_render", render)
        with pytest.raises(OutputError, match=r"shot_000002\.cbf exists already"):
            write_shots(chosen, tmp_path, form="cbf")
    assert [path.name for path in tmp_path.iterdir()] == ["shot_000002.cbf"]
    write_shots(chosen, tmp_path, form="cbf", overwrite=True)
    assert len(list(tmp_path.glob("*.cbf"))) == 3


def test_previews_are_drawn_beside_the_images(experiment: Experiment, tmp_path: Path) -> None:
    drawn = []

    def draw(path: Path, image: Any, header: Any, overwrite: bool) -> None:
        drawn.append((path.name, image.dtype, header.index, overwrite))

    chosen = choose_shots(experiment, seed=0, count=2)
    write_shots(chosen, tmp_path, form="h5", draw_preview=draw)
    assert drawn == [
        ("shot_000000_rings.png", np.uint16, 0, False),
        ("shot_000001_rings.png", np.uint16, 1, False),
    ]


def test_shots_of_a_class_keep_their_numbers(experiment: Experiment) -> None:
    weak = choose_shots(experiment, seed=2, count=4, first=3, only="weak")
    every = choose_shots(experiment, seed=2, count=weak[-1].index - 2, first=3)
    assert [shot for shot in every if shot.class_name == "weak"] == weak
    assert every[0].index == 3


def test_an_unknown_class_names_those_there_are(experiment: Experiment) -> None:
    with pytest.raises(InputError, match="blank, no-crystal, weak, good, strong, found brilliant"):
        choose_shots(experiment, seed=0, count=1, only="brilliant")


def test_a_class_that_never_comes_ends_the_search(experiment: Experiment) -> None:
    table = settings_of(experiment)
    table["beam"]["pulse_energy_rms"] = 0
    with pytest.raises(InputError, match="expected 2 shots of class blank, found 0 among 100"):
        choose_shots(experiment_from(table), seed=0, count=2, only="blank", max_draws_a_shot=50)


def test_without_a_gpu_its_backend_is_refused_in_one_line(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "missing_on_this_machine", lambda: "needs an NVIDIA GPU")
    chosen = choose_shots(experiment, seed=0, count=1)
    with pytest.raises(BackendError, match="needs an NVIDIA GPU") as caught:
        write_shots(chosen, tmp_path / "new", form="cbf", backend="gpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_headers_know_the_response_and_the_spindle(experiment: Experiment) -> None:
    table = settings_of(experiment)
    table["detector"]["response"] = {"kind": "photon-counting", "count_time_s": 0.1}
    table["crystal"]["spindle"] |= {"start_deg": 5.0, "range_deg": 0.2}
    counting = metadata_of(experiment_from(table).draw(seed=0, index=0))
    assert (counting.exposure_s, counting.pedestal) == (0.1, 0.0)
    assert (counting.start_deg, counting.range_deg) == (5.0, 0.2)
    integrating = metadata_of(experiment.draw(seed=0, index=0))
    assert (integrating.exposure_s, integrating.pedestal) == (1.0, 10.0)


def test_panels_along_the_beam_are_refused(experiment: Experiment) -> None:
    table = settings_of(experiment)
    table["detector"] = {
        "image_size": [96, 128],
        "pixel_size_mm": 0.172,
        "panels": [
            {"image_size": [96, 128], "origin_mm": [10.0, 30.0, 0.0], "slow_axis": [1.0, 0.0, 0.0]}
        ],
    }
    shot = replace(experiment.draw(seed=0, index=0), experiment=experiment_from(table))
    with pytest.raises(InputError, match="faces the beam"):
        metadata_of(shot)
