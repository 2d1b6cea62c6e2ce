import numpy as np
import pytest

from deepfreak.preparation import shadow

SLOW, FAST = np.mgrid[:512, :512]
RADIUS = np.hypot(SLOW - 256, FAST - 256)
EVERYWHERE = np.ones((512, 512), bool)


def poisson(expected):
    return np.random.default_rng(0).poisson(expected).astype(np.float32)


@pytest.mark.parametrize("level", [20, 300, 20_000])
def test_a_beamstop_and_its_arm_are_found(level):
    stop = (RADIUS < 20) | ((np.abs(SLOW - FAST) < 7) & (SLOW > 256))
    background = level * (0.3 + np.exp(-((RADIUS / 200) ** 2)))
    photons = poisson(np.where(stop, 0.05 * background, background))
    valid = EVERYWHERE.copy()
    valid[300:310] = False  # a gap runs through the arm
    found = shadow(photons, valid)
    # all but the arm's end near the edge of the image, and little beside it
    assert found[stop & valid & (RADIUS < 220)].mean() > 0.9
    assert np.count_nonzero(found & ~stop) < 0.25 * np.count_nonzero(stop)


@pytest.mark.parametrize("level", [0.5, 20, 300, 20_000])
@pytest.mark.parametrize("ring", [60, 100, 150, 220])
@pytest.mark.parametrize("width", [10, 20, 40])
def test_the_empty_middle_of_a_solvent_ring_is_no_shadow(level, ring, width):
    expected = level * (0.2 + np.exp(-(((RADIUS - ring) / width) ** 2) / 2))
    assert not shadow(poisson(expected), EVERYWHERE).any()


@pytest.mark.parametrize("length", [3, 20, 60])
@pytest.mark.parametrize("level", [100, 1e4, 1e6])
def test_the_dark_around_a_bright_middle_is_no_shadow(length, level):
    assert not shadow(poisson(5 + level * np.exp(-RADIUS / length)), EVERYWHERE).any()


def test_bragg_spots_cast_no_shadows_between_them():
    photons = poisson(np.full((512, 512), 8.0))
    photons[::37, ::41] = 60_000
    assert not shadow(photons, EVERYWHERE).any()


def test_a_blank_frame_has_no_shadow():
    noise = np.random.default_rng(0).normal(0, 3, (512, 512)).astype(np.float32)
    assert not shadow(noise, EVERYWHERE).any()
