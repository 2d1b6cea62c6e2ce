"""Counting spots: against cases worked out by hand."""

import time

import numpy as np
import pytest

from deepfreak.physics.detector import Detector, sin_theta
from deepfreak.physics.exposure import background_photons, bragg_photons, count_spots, truth_of
from deepfreak.physics.recipe import load_recipe


def plain(readout: float = 0.0, side: int = 32) -> Detector:
    return Detector(
        image_size=(side, side),
        pixel_size_mm=1.0,
        distance_mm=50.0,
        response={"kind": "ccd", "readout_noise_adu": readout},
    )


def flat(value: float) -> np.ndarray:
    return np.full((32, 32), value, np.float32)


@pytest.mark.parametrize(
    ("photons", "background", "readout", "expected"),
    [
        # sigma is sqrt(9 x 100) = 30
        (89.0, 100.0, 0.0, (0, 0)),
        (91.0, 100.0, 0.0, (1, 0)),
        (151.0, 100.0, 0.0, (1, 1)),
        # sqrt(9 x (100 + 300)) = 60
        (179.0, 100.0, 300**0.5, (0, 0)),
        (181.0, 100.0, 300**0.5, (1, 0)),
        # nothing else there: sigma is one photon
        (2.9, 0.0, 0.0, (0, 0)),
        (3.1, 0.0, 0.0, (1, 0)),
        (5.1, 0.0, 0.0, (1, 1)),
    ],
)
def test_sigma_is_that_of_nine_pixels(
    photons: float, background: float, readout: float, expected: tuple[int, int]
) -> None:
    bragg = flat(0)
    bragg[10, 20] = photons * 0.6
    bragg[11, 20] = photons * 0.4
    found = count_spots(bragg, flat(background), plain(readout), 1.0)
    assert found[:2] == expected


def test_equal_neighbours_are_one_spot_and_separate_ones_two() -> None:
    bragg = flat(0)
    bragg[5:7, 5:7] = 50
    assert count_spots(bragg, flat(1), plain(), 1.0).above_5_sigma == 1
    bragg[9, 9] = 50
    assert count_spots(bragg, flat(1), plain(), 1.0).above_5_sigma == 2


def test_spots_at_the_edges_are_counted() -> None:
    bragg = flat(0)
    bragg[0, 0] = bragg[31, 31] = bragg[0, 31] = 50
    assert count_spots(bragg, flat(1), plain(), 1.0).above_5_sigma == 3


def test_the_finest_spacing_is_that_of_the_outermost_clear_spot() -> None:
    detector = plain()
    bragg = flat(0)
    bragg[16, 20] = bragg[16, 26] = 1000
    bragg[16, 30] = 10  # above 3 sigma, not 5
    found = count_spots(bragg, flat(1), detector, 1.2)
    assert (found.above_3_sigma, found.above_5_sigma) == (3, 2)
    assert found.d_min_A == pytest.approx(1.2 / (2 * sin_theta(detector)[16, 26]))


def test_without_spots_there_is_no_spacing() -> None:
    assert count_spots(flat(0), flat(5), plain(), 1.0) == (0, 0, None)


def test_a_shot_has_more_spots_the_more_crystal_it_met_and_none_without() -> None:
    from dataclasses import replace

    experiment = load_recipe(
        "diffranet",
        changes=["crystal.structure.cell=[60,70,80,90,90,90]", "crystal.mosaic_domains=5"],
    )
    shot = next(s for s in (experiment.draw(seed=1, index=i) for i in range(50)) if s.label == 4)
    bragg, background = bragg_photons(shot), background_photons(shot)
    whole = truth_of(shot, bragg=bragg, background=background)
    few = truth_of(shot, bragg=bragg * np.float32(1e-3), background=background)
    assert whole.spots_3sigma >= whole.spots_5sigma > few.spots_5sigma
    assert whole.d_min_A is not None
    assert whole.d_min_A >= experiment.d_min_A
    assert whole.cell == pytest.approx((60, 70, 80, 90, 90, 90))
    none = truth_of(
        replace(shot, crystal_volume_mm3=0.0), bragg=np.zeros_like(bragg), background=background
    )
    assert (none.spots_3sigma, none.d_min_A, none.cell) == (0, None, None)


def test_counting_takes_little_time() -> None:
    rng = np.random.default_rng(0)
    bragg = rng.exponential(20, (512, 512)).astype(np.float32)
    background = np.full((512, 512), 100, np.float32)
    detector = plain(3.0, side=512)
    count_spots(bragg, background, detector, 1.0)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        count_spots(bragg, background, detector, 1.0)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.03
