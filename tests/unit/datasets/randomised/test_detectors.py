from dataclasses import replace

import numpy as np
import pytest

from deepfreak.datasets.randomised.detectors import draw_detector
from deepfreak.datasets.randomised.faults import Nuisances
from deepfreak.datasets.randomised.geometry import Geometry
from deepfreak.datasets.randomised.models import FAMILIES, MODELS
from deepfreak.datasets.randomised.modules import grid, place
from deepfreak.datasets.randomised.readout import draw_photons, gaussian_taps, spread
from deepfreak.datasets.randomised.recording import frame_places, record
from deepfreak.datasets.randomised.visibility import visible_spots
from deepfreak.evidence import find_evidence
from deepfreak.evidence.candidates import poisson_z

NONE = Nuisances(**dict.fromkeys(Nuisances.__dataclass_fields__, False))
SHAPES = {
    "PILATUS 300K": (619, 487),
    "PILATUS 1M": (1043, 981),
    "PILATUS 2M": (1679, 1475),
    "PILATUS 6M": (2527, 2463),
    "Dectris EIGER 1M": (1065, 1030),
    "Dectris EIGER 4M": (2167, 2070),
    "Dectris EIGER 9M": (3269, 3110),
    "Dectris EIGER 16M": (4371, 4150),
    "Dectris EIGER2 4M": (2162, 2068),
    "Dectris EIGER2 9M": (3262, 3108),
    "Dectris EIGER2 16M": (4362, 4148),
    "Rayonix MX340-HS 4x4": (1920, 1920),
    "MarCCD 165": (2048, 2048),
    "ADSC Quantum 315 binned": (3072, 3072),
    "MAXIPIX 5x1": (256, 1296),
    "Lambda 750K": (516, 1556),
}


def scene(shape, rng, *, level=3.0, spots=60, photons=200.0, sigma=0.9):
    """Return a flat background, spots of the same light, and their places."""
    places = rng.uniform(8, np.array(shape) - 8, (spots, 2))
    light = np.zeros(shape, np.float32)
    for slow, fast in places:
        i, j = int(slow), int(fast)
        rows, columns = np.arange(i - 5, i + 6), np.arange(j - 5, j + 6)
        shape_of = np.exp(-0.5 * ((rows[:, None] + 0.5 - slow) / sigma) ** 2) * np.exp(
            -0.5 * ((columns + 0.5 - fast) / sigma) ** 2
        )
        part = light[max(i - 5, 0) : i + 6, max(j - 5, 0) : j + 6]
        part += (photons * shape_of / shape_of.sum())[: part.shape[0], : part.shape[1]]
    return np.full(shape, level, np.float32), light, places[:, 0], places[:, 1]


def taken(detector, background, light, seed=0):
    return record(
        detector,
        background,
        light,
        np.random.default_rng(seed),
        geometry=Geometry(
            wavelength_A=1.0,
            distance_mm=150.0,
            pixel_mm=detector.pixel_mm,
            beam_center_px=(detector.shape[0] / 2, detector.shape[1] / 2),
            polarization=0.0,
        ),
    )


def small(family, seed=0, nuisances=None):
    """Return the device of a family with the fewest pixels."""
    model = min(
        MODELS[family],
        key=lambda one: one.layout.module[0] * one.layout.module[1] * len(one.layout.centers),
    )
    return draw_detector(
        np.random.default_rng(seed), family=family, model=model, nuisances=nuisances
    )


def test_models_have_the_makers_sizes():
    rng = np.random.default_rng(0)
    built = {model.name: model.layout for family in FAMILIES for model in MODELS[family]}
    for name, shape in SHAPES.items():
        placed = place(built[name], assembled=True, tilt_deg=0, shift_px=0, rng=rng)
        assert placed.shape == shape, name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_records_frames_that_evidence_reads(family):
    for seed in range(3):
        detector = small(family, seed)
        rng = np.random.default_rng(seed)
        recorded = taken(detector, *scene(detector.shape, rng)[:2])
        frame = recorded.frame
        assert frame.counts.shape == detector.frame_shape
        assert frame.counts.dtype == detector.dtype
        assert recorded.usable.any()
        assert np.isfinite(recorded.level).all()
        if not detector.assembled:
            assert frame.beam_center_px is None
        find_evidence(frame)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_chance_gives_the_same_bytes(family):
    made = []
    for _ in range(2):
        detector = small(family, 5)
        made.append(taken(detector, *scene(detector.shape, np.random.default_rng(1))[:2]).frame)
    assert made[0].counts.tobytes() == made[1].counts.tobytes()
    assert (made[0].valid == made[1].valid).all()
    assert made[0].beam_center_px == made[1].beam_center_px


@pytest.mark.parametrize("name", Nuisances.__dataclass_fields__)
def test_a_nuisance_left_out_leaves_the_others(name):
    whole = small("SLAC-XFEL", 3)
    less = small("SLAC-XFEL", 3, replace(Nuisances(), **{name: False}))
    assert less.gain == whole.gain
    assert less.model == whole.model
    assert less.header == whole.header
    if name not in {"hot_pixels", "tilted_modules"}:
        assert (less.faults.hot == whole.faults.hot).all()
    if name == "hot_pixels":
        assert len(less.faults.hot) == 0
        assert (less.faults.noisy == whole.faults.noisy).all()


@pytest.mark.parametrize("family", ["PILATUS", "JUNGFRAU", "MarCCD", "MPCCD", "small CCD"])
def test_counts_are_what_is_expected_of_them(family):
    detector = small(family, 2, NONE)
    background = np.full(detector.shape, 6.0, np.float32)
    recorded = taken(detector, background, np.zeros_like(background))
    inner = recorded.usable & (np.abs(recorded.light - 6) < 0.01)
    assert inner.mean() > 0.5
    off = (
        recorded.frame.counts[inner].astype(float) - recorded.level[inner]
    ) / recorded.detector.gain
    assert abs(off.mean()) < 0.02
    # point spread takes variance from pixels, never adds to it
    variance = 6 + detector.noise_photons**2 + 1 / 12 / recorded.detector.gain**2
    assert off.var() < 1.05 * variance
    if detector.counting:
        assert off.var() > 0.95 * variance


def test_what_is_cut_off_at_zero_is_expected():
    detector = replace(small("MarCCD", 2, NONE), lowest=0.0)
    static = np.full_like(detector.faults.static, 0.5)
    detector = replace(detector, faults=replace(detector.faults, static=static))
    background = np.zeros(detector.shape, np.float32)
    recorded = taken(detector, background, background)
    assert recorded.frame.counts.min() == 0
    counts = recorded.frame.counts[recorded.usable].astype(float)
    sigma = detector.gain * detector.noise_photons
    # rounding of what is cut off adds at most a quarter of a count
    assert counts.mean() == pytest.approx(
        recorded.level[recorded.usable].mean(), abs=0.1 * sigma + 0.1
    )
    assert recorded.level.max() > 0.5


def test_photons_are_poisson_deviates():
    for mean in (0.02, 0.7, 3.5, 4.5, 40.0, 900.0):
        light = np.full((500, 700), mean, np.float32)
        photons = draw_photons(light, np.zeros_like(light), np.uint64(0x5DEECE66D1234567)).astype(
            float
        )
        error = np.sqrt(mean / photons.size)
        of_variance = np.sqrt((mean + 2 * mean**2) / photons.size)
        assert abs(photons.mean() - mean) < 5 * error
        assert photons.var() == pytest.approx(mean, abs=5 * of_variance)
        assert ((photons - mean) ** 3).mean() == pytest.approx(
            mean, rel=0.2, abs=40 * mean**1.5 / 500
        )
    assert abs(np.corrcoef(photons[:, 1:].ravel(), photons[:, :-1].ravel())[0, 1]) < 0.01


def test_spread_is_a_convolution():
    rng = np.random.default_rng(0)
    image = np.zeros((90, 150), np.float32)
    image[rng.integers(20, 70, 9), rng.integers(20, 130, 9)] = 100
    taps = gaussian_taps(1.7)
    wanted = np.zeros_like(image)
    reach = len(taps) // 2
    for i, j in np.argwhere(image > 0):
        wanted[i - reach : i + reach + 1, j - reach : j + reach + 1] += (
            image[i, j] * taps[:, None] * taps
        )
    assert np.allclose(spread(image, taps, 0.0, 0.0), wanted, atol=1e-4)
    with_tails = spread(image, taps, 0.1, 10.0)
    assert with_tails.sum() == pytest.approx(image.sum(), rel=0.01)
    assert (with_tails > 0).sum() > 2 * (wanted > 0).sum()


def test_places_in_a_stack_hold_the_same_light():
    rng = np.random.default_rng(4)
    detector = small("SLAC-XFEL", 0, NONE)
    while detector.assembled:
        detector = draw_detector(rng, family="SLAC-XFEL", nuisances=NONE)
    background, light, slow, fast = scene(detector.shape, rng, photons=1e4, spots=300)
    recorded = taken(detector, background, light)
    at_slow, at_fast = frame_places(detector, slow, fast)
    known = np.isfinite(at_slow)
    assert 0.3 < known.mean() < 1
    assert (known == detector.sensitive[slow.astype(int), fast.astype(int)]).all()
    seen = recorded.spots[at_slow[known].astype(int), at_fast[known].astype(int)]
    assert np.median(seen) > 500 * detector.gain
    assert np.isnan(frame_places(detector, np.array([-3.0]), np.array([5.0]))[0]).all()


def test_tilted_modules_leave_holes():
    placed = place(
        grid(2, 2, (200, 200), (10, 10)),
        assembled=True,
        tilt_deg=4.0,
        shift_px=0,
        rng=np.random.default_rng(0),
    )
    inside = placed.sensitive[40:160, 40:160]
    assert 0.9 < inside.mean() < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_bright_spots_are_seen_and_spots_without_light_are_not(family):
    for seed in range(3):
        detector = small(family, seed)
        rng = np.random.default_rng(seed)
        background, light, slow, fast = scene(detector.shape, rng, photons=400.0, spots=80)
        bright = taken(detector, background, light)
        found = visible_spots(bright, slow, fast)
        there = np.isfinite(frame_places(bright.detector, slow, fast)[0])
        assert found.visible.sum() > 0.5 * there.sum()
        none = replace(taken(detector, background, np.zeros_like(light)), spots=bright.spots)
        assert visible_spots(none, slow, fast).visible.mean() <= 0.013  # one of 80


def test_spots_without_light_are_seen_once_in_ten_thousand():
    seen = number = 0
    for family in FAMILIES:
        detector = small(family, 7)
        rng = np.random.default_rng(7)
        background, light, slow, fast = scene(
            detector.shape, rng, spots=2000, photons=50, level=0.5
        )
        with_light = taken(detector, background, light)
        none = replace(taken(detector, background, np.zeros_like(light), 9), spots=with_light.spots)
        seen += visible_spots(none, slow, fast).visible.sum()
        number += len(slow)
    assert seen <= 0.001 * number


def test_visibility_is_that_of_slow_sums():
    detector = draw_detector(
        np.random.default_rng(3), family="PILATUS", model=MODELS["PILATUS"][0], nuisances=NONE
    )
    rng = np.random.default_rng(8)
    # apart, so that each aperture is all there is around
    slow, fast = (axis.ravel() + 0.3 for axis in np.mgrid[10:600:20, 10:480:20])
    light = np.zeros(detector.shape, np.float32)
    photons = np.exp(rng.uniform(0, 6, len(slow)))
    for k, (i, j) in enumerate(zip(slow.astype(int), fast.astype(int), strict=True)):
        light[i - 1 : i + 2, j - 1 : j + 2] += photons[k] * np.array(
            [[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]], np.float32
        )
    recorded = taken(detector, np.full(detector.shape, 0.5, np.float32), light)
    found = visible_spots(recorded, slow, fast)
    for k, (i, j) in enumerate(zip(slow.astype(int), fast.astype(int), strict=True)):
        box = np.s_[i - 4 : i + 5, j - 4 : j + 5]
        spots, usable = recorded.spots[box], recorded.usable[box]
        if spots.max() == 0:
            assert not found.visible[k]
            continue
        aperture = spots >= 0.2 * spots.max()
        excess = (recorded.frame.counts[box].astype(float) - recorded.level[box])[
            aperture & usable
        ].sum()
        noise = recorded.light[box][aperture & usable].sum()
        enough = spots[aperture & usable].sum() >= 0.5 * spots[aperture].sum()
        z = poisson_z(excess, noise) if enough else 0.0
        assert found.z[k] == pytest.approx(z, abs=1e-3)
        assert found.visible[k] == (z >= 5 and excess >= 4.5)
    assert 0.2 < found.visible.mean() < 0.8


def test_noise_shared_by_neighbours_is_noise():
    detector = small("MarCCD", 11, NONE)
    detector = replace(detector, psf_px=2.0, taps=gaussian_taps(2.0), tail_share=0.0)
    background, light, slow, fast = scene(
        detector.shape, np.random.default_rng(2), spots=3000, level=50.0
    )
    lit = taken(detector, background, light)
    dark = replace(taken(detector, background, np.zeros_like(light), 5), spots=lit.spots)
    z = visible_spots(dark, slow, fast).z
    # the upper half of a normal deviate: 15.9 % over 1, with half a photon less hardly fewer
    assert 0.12 < (z > 1).mean() < 0.19


def test_two_spots_in_one_place_count_once():
    detector = small("PILATUS", 1, NONE)
    light = np.zeros(detector.shape, np.float32)
    light[100, 100] = light[100, 101] = light[300, 100] = 200
    recorded = taken(detector, np.zeros_like(light), light)
    places = np.array([100.5, 100.5, 300.5]), np.array([100.5, 101.5, 100.5])
    assert visible_spots(recorded, *places).visible.sum() == 2


def test_a_hot_pixel_makes_no_spot():
    detector = small("PILATUS", 1, NONE)
    place_of = 100 * detector.frame_shape[1] + 100
    faults = replace(
        detector.faults, hot=np.array([place_of]), hot_photons=np.array([5000.0], np.float32)
    )
    light = np.zeros(detector.shape, np.float32)
    light[99:102, 99:102] = 0.01
    recorded = taken(replace(detector, faults=faults), np.zeros_like(light), light)
    assert recorded.frame.counts[100, 100] > 4000
    assert not visible_spots(recorded, np.array([100.5]), np.array([100.5])).visible.any()


def test_light_of_another_shape_is_rejected():
    detector = small("Timepix")
    with pytest.raises(ValueError, match="expected light of"):
        taken(detector, np.zeros((5, 5), np.float32), np.zeros((5, 5), np.float32))
