"""Peaks by construction: all added spots are found, and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from deepfreak.evidence import find_evidence, numbers
from deepfreak.evidence.blocks import Pixels
from deepfreak.evidence.candidates import MIN_CANDIDATE_Z, find_candidates, poisson_z
from deepfreak.evidence.judging import CREST, HOT, JUDGED, PATCH, PEAK, WEAK, judge_candidates
from deepfreak.evidence.scale import PhotonScale
from tests.unit.evidence.made import ccd, flat, made, scattered, spots, with_hot_pixels


def matched(peaks, places, within=1.0):
    """Return which places have a peak, and how many peaks have no place."""
    if not len(peaks):
        return np.zeros(len(places), np.bool_), 0
    found = np.stack([peaks.slow, peaks.fast], axis=1)
    apart = np.linalg.norm(places[:, None] - found[None], axis=2)
    return apart.min(axis=1) < within, int((apart.min(axis=0) >= 3).sum())


# --- significance


@pytest.mark.parametrize("expected", [0.001, 0.01, 0.3, 2.0, 30.0, 1000.0])
def test_significance_is_the_poisson_tail(expected):
    n = np.arange(
        int(expected + 3 * np.sqrt(expected)) + 2, int(expected + 9 * np.sqrt(expected)) + 6
    )
    exact = stats.norm.isf(stats.poisson.sf(n - 1, expected))
    found = np.array([poisson_z(k - expected, expected) for k in n])
    # on the careful side, most where hardly a photon is expected
    assert (found <= exact + 0.1).all()
    assert (found >= exact - 0.55).all()
    assert (np.diff(found) > 0).all()


def test_significance_of_many_photons_is_gaussian_and_of_none_is_zero():
    assert poisson_z(5e4, 1e8) == pytest.approx(5, rel=1e-3)
    assert poisson_z(0.2, 3.0) == 0
    assert poisson_z(-5.0, 3.0) == 0


# --- empty frames


@pytest.mark.parametrize("light", [0, 0.001, 0.03, 0.3, 1, 3, 10, 30, 100])
@pytest.mark.parametrize("hot", [0, 20, 300])
@pytest.mark.parametrize("gain", [1.0, None])
def test_empty_frames_have_no_peaks_whatever_their_hot_pixels(light, hot, gain):
    rng = np.random.default_rng(int(1000 * light) + hot)
    evidence = find_evidence(made(with_hot_pixels(rng, flat(rng, light), hot), gain=gain))
    # 300 hot pixels in 512 x 512 are so dense that some lie side by side
    assert len(evidence.peaks) <= (1 if hot < 300 else 6)
    if light < 3:
        assert hot - 12 <= evidence.hot_pixels <= hot
    assert np.count_nonzero(evidence.planes.significance >= 5) <= (1 if hot < 300 else 6)


def dark(rng):
    return rng.normal(100, 3, (512, 512))


EMPTY = {
    "dark with a pedestal": dark,
    "dark with steps between chips": lambda rng: dark(rng) + np.repeat(rng.normal(0, 15, 4), 128),
    "dark with row noise": lambda rng: dark(rng) + rng.normal(0, 3, (512, 1)),
    "dark with a structured pedestal": lambda rng: (
        dark(rng) + 20 * np.sin(np.arange(512) / 40)[:, None] * np.cos(np.arange(512) / 25)
    ),
    "gradient": lambda rng: rng.poisson(np.broadcast_to(np.linspace(0, 300, 512), (512, 512))),
    "bright edge": lambda rng: rng.poisson(np.where(np.arange(512) < 200, 5.0, 80.0), (512, 512)),
    "wide pixels beside a gap": lambda rng: rng.poisson(
        np.where(np.isin(np.arange(512), (254, 257)), 40.0, 20.0), (512, 512)
    ),
    "broad halo": lambda rng: rng.poisson(
        5 + 60 * np.exp(-((np.hypot(*(np.indices((512, 512)) - 256)) - 150) ** 2) / 800)
    ),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_no_structure_of_an_empty_frame_is_a_peak(name, dtype):
    counts = np.rint(EMPTY[name](np.random.default_rng(8))).astype(dtype)
    assert len(find_evidence(made(counts)).peaks) <= 2


@pytest.mark.parametrize("width", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("height", [1.0, 5.0, 50.0])
def test_crests_of_smooth_rings_are_no_peaks(width, height):
    rng = np.random.default_rng(9)
    radius = np.hypot(*(np.indices((512, 512)) - 250))
    ring = sum(np.exp(-((radius - r) ** 2) / (2 * width**2)) for r in (90, 150, 210))
    evidence = find_evidence(made(flat(rng, 1 + height * ring), gain=1.0))
    assert len(evidence.peaks) <= 12
    assert len(evidence.peaks) <= 0.05 * evidence.crests + 4


# --- spots


@pytest.mark.parametrize(
    ("light", "photons"), [(0.01, 30), (0.3, 50), (1, 60), (10, 200), (100, 600)]
)
@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.2])
def test_spots_are_found_where_they_are_with_their_photons(light, photons, sigma):
    rng = np.random.default_rng(10)
    places = scattered(rng, 60)
    evidence = find_evidence(made(flat(rng, light + spots(places, photons, sigma)), gain=1.0))
    found, others = matched(evidence.peaks, places)
    assert found.mean() >= 0.93
    assert others <= 1
    assert np.median(evidence.peaks.photons) == pytest.approx(photons, rel=0.15)


def test_extent_and_sharpness_tell_wide_spots_from_narrow_ones():
    rng = np.random.default_rng(11)
    places = scattered(rng, 60)
    peaks = [
        find_evidence(made(flat(rng, 1 + spots(places, 2000, sigma)), gain=1.0)).peaks
        for sigma in (0.5, 1.0, 1.8)
    ]
    extents = [np.median(one.extent_px) for one in peaks]
    # at half height a Gaussian covers pi (1.18 sigma)^2
    assert extents[1:] == pytest.approx([np.pi * 1.39, np.pi * 1.39 * 1.8**2], rel=0.3)
    assert extents[0] < extents[1]
    sharpness = [np.median(one.sharpness) for one in peaks]
    assert sharpness[0] > sharpness[1] > sharpness[2]


def test_wide_spots_are_not_counted_twice():
    rng = np.random.default_rng(12)
    places = scattered(rng, 60, apart=30)
    evidence = find_evidence(made(flat(rng, 0.3 + spots(places, 300, 2.0)), gain=1.0))
    assert len(evidence.peaks) <= 66


def test_neighbouring_spots_stay_two():
    rng = np.random.default_rng(13)
    first = scattered(rng, 30, apart=40)
    places = np.vstack([first, first + np.array((4.0, 4.0))])
    evidence = find_evidence(made(flat(rng, 1 + spots(places, 300, 0.7)), gain=1.0))
    assert matched(evidence.peaks, places)[0].mean() > 0.95


def test_dense_spots_do_not_hide_themselves():
    rng = np.random.default_rng(14)
    places = np.stack(np.meshgrid(np.arange(20, 500, 9.3), np.arange(20, 500, 11.7)), -1)
    places = places.reshape(-1, 2)
    evidence = find_evidence(made(flat(rng, 2 + spots(places, 300, 0.8)), gain=1.0))
    assert matched(evidence.peaks, places)[0].mean() > 0.9


@pytest.mark.parametrize("gain", [None, 3.0])
@pytest.mark.parametrize("light", [2, 20])
def test_a_ccds_spots_are_found_in_correlated_noise(gain, light):
    rng = np.random.default_rng(15)
    places = scattered(rng, 60)
    falling = light * np.exp(-np.hypot(*(np.indices((512, 512)) - 256)) / 200)
    empty = find_evidence(made(ccd(rng, falling), gain=gain))
    assert len(empty.peaks) <= 3
    full = find_evidence(made(ccd(rng, falling + spots(places, 300, 0.5)), gain=gain))
    found, others = matched(full.peaks, places)
    assert found.mean() > 0.95
    assert others <= 3


def test_a_sharp_zinger_of_a_ccd_is_a_hot_pixel_and_one_as_wide_as_its_spots_is_not():
    rng = np.random.default_rng(16)
    counts = ccd(rng, np.full((512, 512), 10.0))
    counts.reshape(-1)[rng.choice(counts.size, 20, replace=False)] += 3000
    evidence = find_evidence(made(counts))
    assert (len(evidence.peaks), evidence.hot_pixels) == (0, 20)
    # the rule cannot decide: these count as peaks; lattice and rings must decide
    places = scattered(rng, 20)
    blurred = ccd(rng, 10 + spots(places, 1000, 0.3))
    assert len(find_evidence(made(blurred)).peaks) == pytest.approx(20, abs=1)


def test_a_spot_of_one_pixel_is_taken_for_a_hot_pixel():
    counts = flat(np.random.default_rng(17), 0.05)
    counts[100, 100] += 40
    evidence = find_evidence(made(counts, gain=1.0))
    assert (len(evidence.peaks), evidence.hot_pixels) == (0, 1)
    counts[100, 101] += 8  # light beside it: a spot
    evidence = find_evidence(made(counts, gain=1.0))
    assert (len(evidence.peaks), evidence.hot_pixels) == (1, 0)


def test_hot_pixels_away_from_spots_change_nothing_else():
    rng = np.random.default_rng(18)
    places = scattered(rng, 40)
    counts = flat(rng, 0.5 + spots(places, 100, 0.8))
    before = find_evidence(made(counts, gain=1.0))
    for place in scattered(rng, 200):
        if np.linalg.norm(places - place, axis=1).min() > 15:
            counts[tuple(place.astype(int))] += 5000
    after = find_evidence(made(counts, gain=1.0))
    assert after.hot_pixels > before.hot_pixels + 100
    assert after.peaks.slow == pytest.approx(before.peaks.slow)
    assert after.peaks.z == pytest.approx(before.peaks.z, rel=0.02)


def test_a_pair_of_hot_pixels_is_none_and_a_spot_between_two_pixels_is_one():
    rng = np.random.default_rng(25)
    counts = flat(rng, 0.1)
    counts[100, 100:102] += (400, 700)
    evidence = find_evidence(made(counts, gain=1.0))
    assert (len(evidence.peaks), evidence.hot_pixels) == (0, 1)
    places = np.floor(scattered(rng, 30)) + np.array((0.5, 1.0))
    counts = flat(rng, 0.1 + spots(places, 1000, 0.4))
    assert len(find_evidence(made(counts, gain=1.0)).peaks) == 30


def test_spots_at_edges_and_gaps_are_found_and_gaps_are_none():
    rng = np.random.default_rng(19)
    valid = np.ones((512, 512), np.bool_)
    valid[250:262] = False
    places = np.array([[2.0, 200.5], [509.5, 300.5], [246.5, 90.5], [264.5, 400.5], [100.5, 1.5]])
    counts = flat(rng, 5 + spots(places, 500, 0.8)).astype(np.uint32)
    counts[~valid] = 0xFFFFFFFF
    found, others = matched(find_evidence(made(counts, valid, gain=1.0)).peaks, places)
    assert found.all()
    assert others == 0


# --- gain, pedestal, type, order, threads


def changed(frame, dtype):
    """Return the frame times 4 plus 1000, sentinels and saturation moved along."""
    counts = (frame.counts.astype(np.int64) * 4 + 1000).astype(dtype)
    counts[~frame.valid] = np.iinfo(dtype).max
    return made(counts, frame.valid, saturation=4 * frame.saturation + 1000)


@pytest.mark.parametrize("light", [0.02, 0.5, 8.0, "dark", "ccd"])
def test_gain_and_pedestal_change_nothing(light):
    rng = np.random.default_rng(20)
    places = scattered(rng, 50)
    lit = spots(places, rng.lognormal(5, 1.5, 50), 0.8)
    if light == "ccd":
        falling = 20 * np.exp(-np.hypot(*(np.indices((512, 512)) - 256)) / 200)
        counts = ccd(rng, falling + lit)
    elif light == "dark":
        counts = np.rint(rng.normal(50, 4, (512, 512)) + rng.poisson(lit)).astype(np.uint16)
    else:
        counts = flat(rng, light + lit, dtype=np.uint16)
    valid = np.ones(counts.shape, np.bool_)
    valid[200:217], valid[:, 300:305] = False, False
    counts[~valid] = 65535
    frame = made(counts, valid, saturation=5000.0)
    one, other = find_evidence(frame), find_evidence(changed(frame, np.uint32))
    assert len(one.peaks) > 10
    for name in ("slow", "fast", "z", "photons", "extent_px", "sharpness"):
        assert getattr(other.peaks, name) == pytest.approx(getattr(one.peaks, name), rel=1e-9)
    assert numbers(other) == pytest.approx(numbers(one), rel=1e-9, abs=1e-12)
    assert other.photon == pytest.approx(4 * one.photon)
    assert other.noise == pytest.approx(4 * one.noise)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32])
def test_the_type_of_the_counts_changes_nothing(dtype):
    rng = np.random.default_rng(21)
    counts = flat(rng, 1 + spots(scattered(rng, 30), 200, 0.8), dtype=np.int64)
    one = numbers(find_evidence(made(counts, gain=1.0)))
    assert numbers(find_evidence(made(counts.astype(dtype), gain=1.0))) == pytest.approx(one)


def test_the_same_frame_gives_the_same_bytes_whatever_the_number_of_threads():
    rng = np.random.default_rng(22)
    frame = made(flat(rng, 2 + spots(scattered(rng, 60), 200, 0.8)))

    def as_bytes(_):
        evidence = find_evidence(frame)
        arrays = [getattr(evidence.peaks, name) for name in evidence.peaks.__slots__]
        arrays += [getattr(evidence.planes, name) for name in evidence.planes.__slots__]
        return b"".join(one.tobytes() for one in arrays), tuple(numbers(evidence).items())

    alone = as_bytes(0)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(as_bytes, range(8))) == {alone}


# --- the fast loops against plain code


def test_candidates_equal_the_plain_ones():
    rng = np.random.default_rng(23)
    counts = flat(rng, 1.5, (70, 90))
    counts += np.rint(
        spots(scattered(rng, 12, (70, 90), margin=0, apart=5), 40, 0.8, (70, 90))
    ).astype(np.int32)
    valid = rng.random(counts.shape) < 0.97
    threshold, closed = np.full((5, 6), 4, np.int32), np.zeros((5, 6), np.bool_)
    closed[2, 2] = True
    level, expected = np.full((5, 6), 1.5), np.full((5, 6), 1.5)
    found = find_candidates(Pixels(counts, valid), threshold, closed, level, expected, 1.0)
    plain = []
    padded = np.pad(np.where(valid, counts, -1), 2, constant_values=-1)
    for i, j in np.argwhere(valid & (counts >= 4)):
        if closed[i // 16, j // 16]:
            continue
        around = padded[i : i + 5, j : j + 5].reshape(-1)
        if (around[:12] >= counts[i, j]).any() or (around[13:] > counts[i, j]).any():
            continue
        three = padded[i + 1 : i + 4, j + 1 : j + 4]
        squares = [three[a : a + 2, b : b + 2] for a in (0, 1) for b in (0, 1)]
        two = max((each[each >= 0] for each in squares), key=lambda each: (each - 1.5).sum())
        three = three[three >= 0]
        z = poisson_z(three.sum() - 1.5 * three.size, 1.5 * three.size)
        if z < MIN_CANDIDATE_Z:
            z = poisson_z(two.sum() - 1.5 * two.size, 1.5 * two.size) - 0.5
        if z >= MIN_CANDIDATE_Z:
            plain.append((i, j, z))
    assert len(plain) > 5
    assert found == pytest.approx(np.array(plain))


def plain_line(rows, photon, light):
    """Return the excess of three rows (3, 13) over their darker side."""
    sides = rows[:, :3], rows[:, -3:]
    each = min(poisson_z(side.sum() / photon, 9 * light) for side in sides)
    both = poisson_z((sides[0].sum() + sides[1].sum()) / photon, 18 * light)
    return min(side.mean() for side in sides) if each >= 1 and both >= 2.5 else 0.0


def plainly_judged(window, photon, variance):
    """Return kind and z of the middle of 13 x 13 pixels, without gaps, by masks."""
    k, m = np.indices((13, 13)) - 6
    away = np.maximum(abs(k), abs(m))
    around = window[away > 3]
    mean, spread = 0.0, variance
    near = abs(around - mean) <= 3 * np.sqrt(spread) + 1
    if 3 * near.sum() < near.size:
        mean, spread = around.mean(), around.var()
    for _ in range(4):
        kept = around[abs(around - mean) <= 3 * np.sqrt(spread) + 1]
        mean, spread = kept.mean(), max(kept.var(), 0.25 * variance)
    excess, light = window - mean, max(spread / photon**2, 1e-3)
    three, five, peak = excess[away <= 1].sum(), excess[away <= 2].sum(), excess[6, 6]
    line = plain_line(excess[5:8], photon, light) + plain_line(excess[:, 5:8].T, photon, light)
    lit = light + line / photon
    two = max(excess[5 + a : 7 + a, 5 + b : 7 + b].sum() for a in (0, 1) for b in (0, 1))
    z = max(
        poisson_z((two - 4 * line) / photon, 4 * lit) - 0.5,
        poisson_z((three - 9 * line) / photon, 9 * lit),
        poisson_z((five - 15 * line) / photon, 25 * lit),
    )
    flank = poisson_z((three - peak) / photon, 8 * light)
    sharp_flank = poisson_z((two - peak) / photon, 3 * light)
    if max(two, three, five) < 4.5 * photon:
        return WEAK, z
    if (flank < 3 and sharp_flank < 3.3) or three - peak < 0.03 * peak:
        return HOT, z
    pair = peak + np.sort(excess[away <= 1])[-2]
    if three - pair + (2 * np.sqrt(7 * light) + 3) * photon < 0.03 * pair:
        return HOT, z
    if (excess[away > 3] >= 0.5 * peak).mean() > 0.2:
        return PATCH, z
    for turn in np.pi * np.arange(8) / 8:
        hits = 0
        for along in (2, -2, 3, -3, 4, -4, 5, -5, 6, -6):
            places = [
                np.rint(
                    [
                        np.sin(turn) * along + np.cos(turn) * c,
                        np.cos(turn) * along - np.sin(turn) * c,
                    ]
                )
                for c in (0, 1, -1)
            ]
            inside = [excess[int(a) + 6, int(b) + 6] for a, b in places if max(abs(a), abs(b)) <= 6]
            hits += np.mean(inside) >= 0.25 * three / 9
        if hits >= 8:
            return CREST, z
    return PEAK, z


def test_candidates_are_judged_as_by_plain_code():
    rng = np.random.default_rng(24)
    radius = np.hypot(*(np.indices((256, 256)) - 128))
    light = (
        2
        + 20 * np.exp(-((radius - 80) ** 2) / 2)
        + spots(scattered(rng, 40, (256, 256)), 150, 0.8, (256, 256))
    )
    counts = with_hot_pixels(rng, flat(rng, light, (256, 256)), 30)
    inner = counts[20:-20, 20:-20]
    places = np.argwhere(inner > np.percentile(inner, 99)) + 20
    level, variance = np.zeros((16, 16)), np.full((16, 16), 2.0)
    valid = np.ones(counts.shape, np.bool_)
    scale = PhotonScale(photon=1.0, known=True, spread_3=1.0, spread_5=1.0)
    judged = np.zeros(len(places), JUDGED)
    judge_candidates(judged, Pixels(counts, valid), places, level, variance, scale, np.inf, 1.0)
    plain = [
        plainly_judged(counts[i - 6 : i + 7, j - 6 : j + 7].astype(float), 1.0, 2.0)
        for i, j in places
    ]
    assert {kind for kind, _ in plain} >= {PEAK, HOT, CREST}
    assert judged["kind"].tolist() == [kind for kind, _ in plain]
    assert judged["z"] == pytest.approx([z for _, z in plain])
