"""Devices as settings, their bad pixels, and their recipes."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from deepfreak.errors import RecipeError
from deepfreak.physics.detector import (
    CCD,
    BadPixels,
    Detector,
    Modules,
    PhotonCounting,
    gaps,
    hot_pixels,
    missing_pixels,
)
from deepfreak.physics.noise import detect
from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of


def detector(**settings: Any) -> Detector:
    """Return 200 x 300 pixels."""
    size: dict[str, Any] = {"image_size": (200, 300), "pixel_size_mm": 0.1, "distance_mm": 50.0}
    return Detector(**(size | settings))


def even_light(photons: float) -> np.ndarray:
    return np.full((200, 300), photons, dtype=np.float32)


def test_a_response_without_kind_is_a_ccd() -> None:
    table = {"image_size": (4, 4), "pixel_size_mm": 1, "distance_mm": 1}
    make = TypeAdapter(Detector).validate_python
    assert make(table | {"response": {"psf_fwhm_mm": 0.1}}).response == CCD(psf_fwhm_mm=0.1)
    counting = make(table | {"response": {"kind": "photon-counting"}}).response
    assert counting == PhotonCounting(kind="photon-counting")
    with pytest.raises(ValueError, match="kind is one of ccd, photon-counting"):
        make(table | {"response": {"kind": "film"}})


def test_dead_time_needs_the_exposure() -> None:
    with pytest.raises(ValueError, match="dead_time_ns needs count_time_s"):
        PhotonCounting(kind="photon-counting", dead_time_ns=100)
    device = PhotonCounting(kind="photon-counting", dead_time_ns=100, count_time_s=0.01)
    assert device.dead_share == pytest.approx(1e-5)


def test_more_than_sixteen_bits_are_rejected() -> None:
    with pytest.raises(ValueError, match="65535"):
        CCD(saturation_value=70000)


def test_bad_pixels_are_the_same_in_every_shot_and_as_many_as_asked_for() -> None:
    bad = BadPixels(dead_fraction=0.02, hot_fraction=0.01, seed=3)
    device = detector(bad_pixels=bad)
    shots = [detect(even_light(100), device, np.random.default_rng(i)) for i in range(2)]
    for shot in shots:
        np.testing.assert_array_equal(shot == 0, missing_pixels(device))
        np.testing.assert_array_equal(shot == 65025, hot_pixels(device))
    assert missing_pixels(device).mean() == pytest.approx(0.02, rel=0.1)
    assert hot_pixels(device).mean() == pytest.approx(0.01, rel=0.1)
    other = detector(bad_pixels=BadPixels(dead_fraction=0.02, hot_fraction=0.01, seed=4))
    assert (missing_pixels(other) != missing_pixels(device)).any()


def test_hot_pixels_report_their_own_value_also_without_light() -> None:
    bad = BadPixels(hot_fraction=0.01, hot_value=7)
    device = detector(bad_pixels=bad, response=PhotonCounting(kind="photon-counting"))
    dark = detect(even_light(0), device, np.random.default_rng(0))
    np.testing.assert_array_equal(dark, 7 * hot_pixels(device))


def test_gaps_report_nothing_not_even_a_pedestal() -> None:
    device = detector(
        modules=Modules(rows=2, module_size=(95, 300), gap=(10, 0)),
        response=CCD(adc_offset_adu=10, readout_noise_adu=1, psf_fwhm_mm=0.2),
    )
    counts = detect(even_light(50), device, np.random.default_rng(0))
    np.testing.assert_array_equal(missing_pixels(device), gaps(device))
    assert (counts[gaps(device)] == 0).all()
    assert (counts[~gaps(device)] > 0).all()


def test_more_bad_pixels_than_pixels_are_rejected() -> None:
    with pytest.raises(ValueError, match="at most 1 together"):
        BadPixels(dead_fraction=0.6, hot_fraction=0.6)


def test_everything_of_a_detector_stands_in_a_recipe() -> None:
    table = settings_of(load_recipe("diffranet"))
    table["detector"] = {
        "image_size": [40, 62],
        "pixel_size_mm": 0.1,
        "distance_mm": 50,
        "modules": {"columns": 2, "module_size": [40, 30], "gap": [0, 2]},
        "obstacles": [
            {"kind": "beamstop", "radius_mm": 1, "edge_mm": 0.1},
            {"kind": "bar", "width_mm": 0.5, "arm": True, "angle_deg": 45},
            {"kind": "half-plane", "beyond_mm": 2, "transmission": 0.3},
            {"kind": "shadow", "corners_mm": [[0, 0], [0, 1], [1, 0]], "distance_mm": 20},
        ],
        "response": {"kind": "photon-counting", "dead_time_ns": 120, "count_time_s": 0.005},
        "bad_pixels": {"dead_fraction": 0.001},
    }
    experiment = experiment_from(table)
    assert experiment_from(settings_of(experiment)) == experiment
    del table["detector"]["modules"], table["detector"]["distance_mm"]
    table["detector"]["panels"] = [
        {"image_size": [40, 30], "origin_mm": [50, 2, 3]},
        {"first": [0, 32], "image_size": [40, 30], "origin_mm": [50, 2, 8], "fast_axis": [1, 0, 1]},
    ]
    for obstacle in table["detector"]["obstacles"]:
        obstacle["distance_mm"] = 30
    experiment = experiment_from(table)
    assert experiment_from(settings_of(experiment)) == experiment


def test_a_recipe_for_a_strange_device_ends_in_one_line() -> None:
    table = settings_of(load_recipe("diffranet"))
    table["detector"]["response"]["kind"] = "film"
    with pytest.raises(RecipeError, match="detector.response: kind is one of ccd, photon-counting"):
        experiment_from(table)


@pytest.mark.parametrize(
    ("photons", "message"),
    [
        (even_light(-1), "between 0 and 1e"),
        (even_light(np.nan), "found nan"),
        (even_light(np.inf), "found inf"),
        (np.zeros((3, 4), dtype=np.float32), r"found shape \(3, 4\)"),
    ],
)
def test_what_is_no_number_of_photons_is_rejected(photons: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect(photons, detector(), np.random.default_rng(0))
