"""Scenes: functions of their generator, with the documented shares and numbers."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from deepfreak.datasets.randomised.scene import CLEAN_KINDS, HARD_KINDS, draw_scene
from deepfreak.datasets.randomised.setup import draw_setup
from deepfreak.datasets.randomised.spots import Canvas

CANVASES = (
    Canvas(shape=(256, 300), pixel_mm=0.172, noise_photons=0.0, psf_px=0.0),
    Canvas(shape=(400, 256), pixel_mm=0.075, noise_photons=1.0, psf_px=1.5),
    Canvas(shape=(512, 512), pixel_mm=0.1, noise_photons=0.2, psf_px=0.0),
)
COUNT = 300


def scene_of(number, *, crystal, without=frozenset()):
    canvas = CANVASES[number % 3]
    setup = draw_setup(np.random.default_rng([1, number // 3]), canvas)
    rng = np.random.default_rng([2, number])
    return draw_scene(rng, setup, crystal=crystal, without=without), canvas


@cache
def summaries(crystal):
    """Return kind, tags, number of clear spots and of spots of many scenes."""
    found = []
    for number in range(COUNT):
        scene, canvas = scene_of(number, crystal=crystal)
        spots = 0 if scene.spots is None else int(scene.spots.inside(canvas.shape).sum())
        found.append((scene.kind, scene.tags, scene.clear, spots))
    return found


@pytest.mark.parametrize("crystal", [True, False])
def test_a_scene_is_a_function_of_its_generators(crystal):
    for number in range(8):
        (first, _), (second, _) = (scene_of(number, crystal=crystal) for _ in range(2))
        assert (first.kind, first.tags, first.clear) == (second.kind, second.tags, second.clear)
        assert np.array_equal(first.background, second.background)
        if crystal:
            assert np.array_equal(first.spots.photons, second.spots.photons)
            assert np.array_equal(first.spots.slow, second.spots.slow)


@pytest.mark.parametrize("crystal", [True, False])
def test_light_is_finite_and_never_negative(crystal):
    for number in range(40):
        scene, canvas = scene_of(number, crystal=crystal)
        assert scene.background.shape == canvas.shape
        assert scene.background.dtype == np.float32
        assert (scene.spots is None) == (not crystal)
        if crystal:
            scene.spots.add_to(scene.background)
        assert np.isfinite(scene.background).all()
        assert scene.background.min() >= 0


def test_misses_are_dark_clean_and_hard_in_the_promised_shares():
    kinds = Counter(kind for kind, *_ in summaries(False))
    assert set(kinds) <= {"dark", "nearly empty", "smooth", *HARD_KINDS}
    hard = sum(kinds[kind] for kind in HARD_KINDS) / COUNT
    assert 0.37 < hard < 0.53
    assert 0.10 < (kinds["dark"] + kinds["nearly empty"]) / COUNT < 0.20
    assert kinds["grains"] == max(kinds[kind] for kind in HARD_KINDS)
    assert all(kinds[kind] >= 3 for kind in HARD_KINDS)


def test_hits_have_fewer_rings_and_otherwise_the_light_of_misses():
    def shares(crystal):
        tags = Counter(tag for _, tags, *_ in summaries(crystal) for tag in tags)
        return {tag: count / COUNT for tag, count in tags.items()}

    hits, misses = shares(True), shares(False)
    for tag in ("solvent", "halo", "shadows"):
        assert hits[tag] == pytest.approx(misses[tag], abs=0.1)
    assert 0.08 < hits["ice"] + hits["grains"] + hits["rings"] < 0.2
    assert not {"diamond", "fibre", "calibrant", "arcs"} & set(hits)


def test_hits_have_any_number_of_clear_spots():
    clear = np.array([count for _, _, count, _ in summaries(True)])
    assert (clear < 50).mean() > 1 / 3
    assert (clear >= 8).mean() > 0.95
    assert (clear > 100).mean() > 0.08
    assert clear.max() > 300
    numbers = np.array([count for *_, count in summaries(True)])
    assert (numbers >= clear).all()


def test_as_many_spots_as_are_said_have_a_ratio_of_seven():
    checked = 0
    for number in range(30):
        scene, canvas = scene_of(number, crystal=True, without=frozenset({"diffuse spots"}))
        S = scene.spots.photons[scene.spots.inside(canvas.shape)]
        spots = scene.spots.chosen(scene.spots.inside(canvas.shape))
        rows, columns = spots.slow.astype(int), spots.fast.astype(int)
        level = scene.background[rows, columns] + canvas.noise_photons**2
        B = spots.noise_pixels(canvas.psf_px) * level
        assert np.count_nonzero(2 * (np.sqrt(S + B) - np.sqrt(B)) >= 7 * (1 - 1e-5)) == scene.clear
        checked += scene.clear
    assert checked > 300


def test_what_is_left_out_leaves_the_rest_as_it_was():
    for number in range(25):
        whole, _ = scene_of(number, crystal=False)
        for kind in set(whole.tags) & set(CLEAN_KINDS):
            part, _ = scene_of(number, crystal=False, without=frozenset({kind}))
            assert part.kind == whole.kind
            assert part.tags == tuple(tag for tag in whole.tags if tag != kind)


def test_hard_light_that_is_left_out_is_replaced():
    without = frozenset(set(HARD_KINDS) - {"fibre"})
    kinds = Counter(
        scene_of(number, crystal=False, without=without)[0].kind for number in range(40)
    )
    assert set(kinds) <= {"dark", "nearly empty", "smooth", "fibre"}
    assert kinds["fibre"] > 8
    none = scene_of(1, crystal=False, without=frozenset(HARD_KINDS))[0]
    assert none.kind in {"dark", "nearly empty", "smooth"}


def test_a_dark_frame_is_dark():
    dark = [number for number, (kind, *_) in enumerate(summaries(False)) if kind == "dark"]
    assert dark
    assert all(scene_of(number, crystal=False)[0].background.max() == 0 for number in dark[:5])


def test_beams_meet_the_canvas_mostly_and_its_middle_most_often():
    places = []
    for number in range(300):
        setup = draw_setup(np.random.default_rng([3, number]), CANVASES[2])
        places.append(np.array(setup.geometry.beam_center_px) / 512)
        corner = setup.geometry.q_at(
            np.hypot(*(max(abs(c), abs(512 - c)) for c in setup.geometry.beam_center_px))
        )
        assert corner == pytest.approx(setup.q_max, rel=1e-6)
    places = np.array(places)
    off = ((places < 0) | (places > 1)).any(axis=1).mean()
    assert 0.02 < off < 0.11
    assert (np.abs(places - 0.5).max(axis=1) < 0.15).mean() > 0.7
