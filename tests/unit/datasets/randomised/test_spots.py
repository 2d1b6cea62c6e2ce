"""Photons of spots on a canvas, and their significance."""

import math

import numpy as np
import pytest

from deepfreak.datasets.randomised.spots import (
    FWHM,
    ONE_BLOB,
    Canvas,
    Spots,
    factor_for,
)


def spot(slow=40.3, fast=52.8, photons=1000.0, covariance=(1.0, 1.0, 0.0), blobs=ONE_BLOB):
    return Spots(
        slow=np.array([slow]),
        fast=np.array([fast]),
        photons=np.array([photons]),
        covariance=np.array([covariance]),
        blobs=np.asarray(blobs, np.float64),
    )


def drawn(spots, shape=(90, 100)):
    canvas = np.zeros(shape, np.float32)
    spots.add_to(canvas)
    return canvas


def moments(image):
    """Return the middle of an image's light, and its variances and covariance."""
    slow, fast = np.indices(image.shape) + 0.5
    weight = image / image.sum()
    middle = np.array([(slow * weight).sum(), (fast * weight).sum()])
    slow, fast = slow - middle[0], fast - middle[1]
    return middle, np.array(
        [(slow**2 * weight).sum(), (fast**2 * weight).sum(), (slow * fast * weight).sum()]
    )


TILTED = (16.0, 5.0, 7.0)
TWO = [[-2.0, 3.0, 0.75, 1.0], [6.0, -9.0, 0.25, 2.0]]


@pytest.mark.parametrize(
    ("covariance", "blobs"),
    [
        ((0.0, 0.0, 0.0), ONE_BLOB),
        ((0.02, 0.02, 0.0), ONE_BLOB),
        ((4.0, 4.0, 0.0), ONE_BLOB),
        (TILTED, ONE_BLOB),
        ((0.02, 60.0, 0.0), ONE_BLOB),
        (TILTED, TWO),
    ],
)
def test_no_photon_of_a_spot_on_the_canvas_is_lost(covariance, blobs):
    image = drawn(spot(covariance=covariance, blobs=blobs))
    assert image.sum() == pytest.approx(1000, rel=1e-4)


@pytest.mark.parametrize("covariance", [(2.0, 2.0, 0.0), TILTED, (0.5, 40.0, -1.0)])
def test_light_has_the_place_and_the_widths_it_was_given(covariance):
    middle, found = moments(drawn(spot(covariance=covariance)))
    assert middle == pytest.approx([40.3, 52.8], abs=0.01)
    # a pixel widens by its own variance
    assert found == pytest.approx(np.add(covariance, [1 / 12, 1 / 12, 0]), rel=0.02, abs=0.02)


def test_a_round_spot_is_the_integral_over_each_pixel():
    sigma = 0.4
    image = drawn(spot(covariance=(sigma**2, sigma**2, 0.0)))
    edges = [(k - 40.3) / sigma / math.sqrt(2) for k in (39, 40, 41)]
    shares = np.diff([math.erf(each) for each in edges]) / 2
    column = (
        math.erf((53 - 52.8) / sigma / math.sqrt(2)) + math.erf(0.8 / sigma / math.sqrt(2))
    ) / 2
    assert image[39:41, 52] == pytest.approx(1000 * shares * column, rel=1e-3)


def test_a_spot_much_smaller_than_a_pixel_lies_in_one():
    image = drawn(spot(slow=40.5, fast=52.5, covariance=(0.0, 0.0, 0.0)))
    assert image[40, 52] == pytest.approx(1000, rel=1e-4)


def test_blobs_lie_where_they_are_put():
    image = drawn(spot(covariance=(1.0, 1.0, 0.0), blobs=TWO))
    middle, _ = moments(image)
    assert middle == pytest.approx([40.3, 52.8], abs=0.01)
    assert image[34:43, 50:62].sum() == pytest.approx(750, rel=0.02)


@pytest.mark.parametrize("place", [(-1.0, 50.0), (-30.0, 50.0), (89.5, 99.5), (400.0, 1e6)])
def test_what_lies_off_the_canvas_is_left_out(place):
    wide = drawn(spot(*place, covariance=(9.0, 9.0, 0.0)))
    whole = drawn(spot(place[0] + 200, place[1] + 200, covariance=(9.0, 9.0, 0.0)), (500, 500))
    assert wide == pytest.approx(whole[200:290, 200:300], abs=1e-3)


def test_adding_keeps_what_is_there():
    canvas = np.full((90, 100), 2.0, np.float32)
    spot().add_to(canvas)
    assert canvas == pytest.approx(2 + drawn(spot()), rel=1e-6)


def test_noise_pixels_are_those_of_the_matched_filter():
    """Of light p (sum 1) over even noise, the filter's noise is that of 1 / sum(p^2) pixels."""
    for covariance in ((2.0, 2.0, 0.0), TILTED, (4.0, 30.0, -5.0)):
        image = drawn(spot(photons=1.0, covariance=covariance)).astype(np.float64)
        found = spot(covariance=covariance).noise_pixels(0.0)
        assert found == pytest.approx(1 / (image**2).sum(), rel=0.05)


def test_point_spread_adds_to_the_variance():
    wide = spot(covariance=(1.0 + 4.0, 1.0 + 4.0, 0.0))
    assert spot().noise_pixels(2 * FWHM) == pytest.approx(wide.noise_pixels(0.0))


def test_clear_photons_have_a_ratio_of_seven():
    background = np.full((90, 100), 3.0, np.float32)
    for noise in (0.0, 2.0):
        canvas = Canvas(shape=(90, 100), pixel_mm=0.1, noise_photons=noise, psf_px=1.0)
        S = spot().clear_photons(background, canvas)
        B = spot().noise_pixels(1.0) * (3 + noise**2)
        assert 2 * (np.sqrt(S + B) - np.sqrt(B)) == pytest.approx(7)


def test_as_many_spots_are_clear_as_are_asked_for():
    rng = np.random.default_rng(0)
    photons, needed = rng.exponential(1, 200), rng.uniform(10, 100, 200)
    for count in (1, 8, 77, 200):
        factor = factor_for(photons, needed, count)
        assert np.count_nonzero(factor * photons >= needed * (1 - 1e-12)) == count
    assert factor_for(photons, needed, 999) == factor_for(photons, needed, 200)
