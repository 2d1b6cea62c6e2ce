"""Add simulated crystals to real misses, and real hot pixels and gaps to simulated frames.

Run: python benchmarks/implants.py FOLDER LABELS.csv --model FILE [--visible 5,10,20,50,100]
     [--simulated 20] [--rows] [--json FILE]

For testing only; no model is trained on these frames. LABELS.csv is that of counting.py.

Crystals: each real miss gets a crystal of `randomised.scene`. Spots have Poisson photons,
their own width plus the point spread that the frame's noise shows, the gain of the frame (from the
header, otherwise estimated by the evidence), on valid pixels, up to saturation. The brightness is
chosen so that the wanted number of spots is visible. Visibility is measured as for randomised
frames: what the crystal has added, against the variance of the real pixels around it, so that no
structure of the real frame counts as a spot. "found" counts the visible spots with an evidence peak
within 2.5 pixels.

Faults: each real frame provides its hot pixels, in photons, and its gaps, tiled or cropped, for
simulated frames of all families, hits and misses. The model's verdict should not change.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from counting import read_labels
from scipy import ndimage
from scipy.spatial import cKDTree

from deepfreak.datasets.randomised import draw_frame
from deepfreak.datasets.randomised.scene import CLEAN_KINDS, HARD_KINDS, draw_scene
from deepfreak.datasets.randomised.setup import draw_setup
from deepfreak.datasets.randomised.spots import FWHM, Canvas, Spots
from deepfreak.datasets.randomised.table import BETWEEN, HIT
from deepfreak.datasets.randomised.visibility import Visibility, visible_in
from deepfreak.errors import FrameError
from deepfreak.evidence import Evidence, find_evidence
from deepfreak.evidence.candidates import poisson_z
from deepfreak.formats import Frame, read_frames
from deepfreak.models import load_model
from deepfreak.screening.policy import find_policy
from deepfreak.screening.screener import Screener

AROUND = 15  # pixels: side of the square from which mean and variance are taken
CLIP = 4.0  # standard deviations
MIN_BACKGROUND = 1e-3  # photons a pixel that a frame of zeros may have
NEAR_PX = 2.5
SPARE = 1.5  # spots on valid pixels per wanted spot
ATTEMPTS = 40
BISECTIONS = 30
PIXEL_MM = 0.1  # where the header has none
# A hot pixel as the evidence defines it: its eight neighbours have z below 3 or few photons.
HOT_Z, FLANK_Z, FLANK_SHARE = 5.0, 3.0, 0.03
BARE = frozenset((*CLEAN_KINDS, *HARD_KINDS, "rim", "shadows", "diffuse spots"))
BLOCK = 10  # frames of a detector in a series


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A real frame with the statistics of the pixels around each pixel.

    `level` and `variance` are in counts, `photon` is counts per photon, `alike` the correlation of
    a pixel's noise with that of its neighbour.
    """

    frame: Frame
    usable: np.ndarray
    level: np.ndarray
    variance: np.ndarray
    photon: float
    alike: float

    @property
    def psf_px(self) -> float:
        """FWHM of the Gaussian with that correlation, 0 for independent pixels."""
        return FWHM / np.sqrt(-4 * np.log(self.alike)) if self.alike > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A model's verdict on a frame."""

    p_crystal: float
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Implanted:
    """A crystal in a real miss; `width_px` is the median FWHM of its spots with point spread."""

    file: str
    label: str
    wanted: int
    visible: int
    distinguishable: int
    found: int
    width_px: float
    before: Said
    after: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """A simulated frame with the hot pixels or the gaps of a real one."""

    file: str
    fault: str
    family: str
    index: int
    is_hit: bool
    hot: int
    lost: float
    before: Said
    after: Said


def surroundings(frame: Frame, evidence: Evidence) -> Real:
    """Return a frame with mean and variance around each pixel, without outliers."""
    counts = np.where(frame.valid, frame.counts, 0).astype(np.float64)
    usable = frame.valid & np.isfinite(counts)
    counts -= np.median(counts[usable])
    chosen = usable
    for _ in range(3):
        share = np.maximum(ndimage.uniform_filter(chosen.astype(np.float64), AROUND), 1e-9)
        level = ndimage.uniform_filter(np.where(chosen, counts, 0), AROUND) / share
        square = ndimage.uniform_filter(np.where(chosen, counts**2, 0), AROUND) / share
        variance = np.maximum(square - level**2, 0)
        off = np.abs(counts - level)
        chosen = usable & (off <= np.maximum(CLIP * np.sqrt(variance), 2 * evidence.photon))
    middle = np.median(np.asarray(frame.counts)[usable].astype(np.float64))
    # of a Gaussian point spread, as `evidence.scale.point_sharpness` has it
    alike = np.sqrt(max((evidence.point_sharpness**-0.5 - 1) / 2, 0.0))
    return Real(
        frame=frame,
        usable=usable,
        level=(level + middle).astype(np.float32),
        variance=variance.astype(np.float32),
        photon=float(frame.gain or evidence.photon),
        alike=min(float(alike), 0.99),
    )


def draw_crystal(rng: np.random.Generator, real: Real, wanted: int) -> Spots | None:
    """Return a crystal's spots, enough of them on valid pixels, or None if no draw had enough."""
    noise = float(np.sqrt(np.median(real.variance[real.usable]))) / real.photon
    canvas = Canvas(
        shape=real.frame.counts.shape,
        pixel_mm=real.frame.pixel_size_mm or PIXEL_MM,
        noise_photons=noise,
        psf_px=real.psf_px,
    )
    for _ in range(ATTEMPTS):
        scene = draw_scene(rng, draw_setup(rng, canvas), crystal=True, without=BARE)
        if scene.spots is None or not len(scene.spots):
            continue
        spots = scene.spots.chosen(scene.spots.inside(canvas.shape))
        on = real.usable[spots.slow.astype(int), spots.fast.astype(int)]
        if np.count_nonzero(on) >= SPARE * wanted:
            return spots.chosen(on)
    return None


def seen(real: Real, added: np.ndarray, expected: np.ndarray, spots: Spots) -> Visibility:
    """Return which spots are visible, from the added and the expected counts."""
    return visible_in(
        real.level + added,
        real.usable,
        spots.slow,
        spots.fast,
        level=real.level,
        light=real.variance / np.float32(real.photon**2),
        spots=expected.astype(np.float32),
        gain=real.photon,
        noise_photons=0.0,
        correlation=real.alike ** (np.arange(9.0) ** 2),
    )


def implant(
    rng: np.random.Generator, real: Real, wanted: int
) -> tuple[Frame, Spots, Visibility] | None:
    """Return a real frame with a crystal of `wanted` visible spots, or None if they do not fit."""
    for _ in range(ATTEMPTS):
        spots = draw_crystal(rng, real, wanted)
        if spots is None:
            return None
        light = np.zeros(real.frame.counts.shape, np.float32)
        spots.add_to(light)
        spread = ndimage.gaussian_filter(light, real.psf_px / FWHM) if real.alike else light
        low, high = np.log(1e-6), np.log(1e6)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            expected = real.photon * np.exp(middle) * spread
            visible = seen(real, expected, expected, spots).visible
            low, high = (middle, high) if visible.sum() < wanted else (low, middle)
        expected = real.photon * np.exp(high) * spread
        if seen(real, expected, expected, spots).visible.sum() < wanted:
            continue  # they overlap
        drawn = rng.poisson(np.exp(high) * light).astype(np.float64)
        if real.alike:
            drawn = ndimage.gaussian_filter(drawn, real.psf_px / FWHM)
        frame = with_counts(real.frame, real.photon * drawn)
        added = frame.counts.astype(np.float64) - real.frame.counts.astype(np.float64)
        return frame, spots, seen(real, np.where(real.usable, added, 0), expected, spots)
    return None


def with_counts(frame: Frame, added: np.ndarray) -> Frame:
    """Return a frame with counts added to its valid pixels, up to saturation."""
    dtype = frame.counts.dtype
    top = np.inf if frame.saturation is None else frame.saturation
    if dtype.kind in "iu":
        top = min(top, float(np.iinfo(dtype).max) - 1)
        added = np.rint(added)
    where = frame.valid & (added > 0)
    counts = frame.counts.copy()
    before = counts[where].astype(np.float64)
    counts[where] = np.maximum(np.minimum(before + added[where], top), before).astype(dtype)
    return replace(frame, counts=counts)


def widths(spots: Spots, psf_px: float) -> np.ndarray:
    """Return each spot's FWHM: that of a round spot with the noise of as many pixels."""
    return FWHM * np.sqrt(spots.noise_pixels(psf_px) / (4 * np.pi))


def count_found(evidence: Evidence, spots: Spots, visible: np.ndarray) -> int:
    """Return the number of visible spots with a peak."""
    if not len(evidence.peaks) or not visible.any():
        return 0
    peaks = cKDTree(np.stack([evidence.peaks.slow, evidence.peaks.fast], axis=1))
    places = np.stack([spots.slow, spots.fast], axis=1)[visible]
    return int(np.count_nonzero(peaks.query(places)[0] <= NEAR_PX))


def hot_pixels(real: Real) -> list[tuple[int, int, float]]:
    """Return (slow, fast, photons) of the hot pixels."""
    photons = np.where(real.usable, real.frame.counts - real.level, 0) / real.photon
    expected = np.maximum(real.variance / real.photon**2, MIN_BACKGROUND)
    flank = ndimage.uniform_filter(photons, 3) * 9 - photons
    under = ndimage.uniform_filter(expected, 3) * 9 - expected
    found = []
    for i, j in np.argwhere((photons > 3.0) & (photons > 3 * np.sqrt(expected))):
        alone = poisson_z(flank[i, j], under[i, j]) < FLANK_Z
        alone |= flank[i, j] < FLANK_SHARE * photons[i, j]
        if alone and poisson_z(photons[i, j], expected[i, j]) >= HOT_Z:
            found.append((int(i), int(j), float(photons[i, j])))
    return found


def tiled(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a map repeated and cropped to a shape."""
    times = [-(-side // own) for side, own in zip(shape, values.shape, strict=True)]
    return np.tile(values, times)[: shape[0], : shape[1]]


def with_hot(frame: Frame, photon: float, real: Real) -> tuple[Frame, int]:
    """Return a frame with the hot pixels of a real one, and their number."""
    light = np.zeros(real.frame.counts.shape, np.float64)
    for i, j, photons in hot_pixels(real):
        light[i, j] = photons
    light = tiled(light, frame.counts.shape) * frame.valid
    return with_counts(frame, photon * light), int(np.count_nonzero(light))


def with_gaps(frame: Frame, real: Real) -> tuple[Frame, float]:
    """Return a frame without the pixels that a real one lacks, and their share."""
    valid = frame.valid & tiled(real.frame.valid, frame.counts.shape)
    lost = np.count_nonzero(frame.valid) - np.count_nonzero(valid)
    return replace(frame, valid=valid), lost / max(np.count_nonzero(frame.valid), 1)


def say(screener: Screener, frame: Frame) -> Said:
    """Return a model's verdict, or "unreadable" if too few pixels measured something."""
    try:
        verdict = screener(frame)
    except FrameError:
        return Said(p_crystal=float("nan"), decision="unreadable")
    return Said(p_crystal=verdict.p_crystal, decision=verdict.decision or "none")


def crystals_in_misses(
    rows: list[tuple[str, str, Real]], screener: Screener, counts: list[int], seed: int
) -> list[Implanted]:
    """Return each miss with crystals of each number of visible spots, before and after."""
    found = []
    for number, (file, label, real) in enumerate(rows):
        before = say(screener, real.frame)
        for wanted in counts:
            rng = np.random.default_rng((seed, number, wanted))
            made = implant(rng, real, wanted)
            if made is None:
                print(f"{file}: no room for {wanted} spots", flush=True)
                continue
            frame, spots, visibility = made
            one = Implanted(
                file=file,
                label=label,
                wanted=wanted,
                visible=int(visibility.visible.sum()),
                distinguishable=int(visibility.distinguishable.sum()),
                found=count_found(find_evidence(frame), spots, visibility.visible),
                width_px=float(np.median(widths(spots, real.psf_px))),
                before=before,
                after=say(screener, frame),
            )
            print(line_of(one), flush=True)
            found.append(one)
    return found


def line_of(one: Implanted) -> str:
    said = f"{one.before.p_crystal:.3f} {one.before.decision:<8}"
    said += f"{one.after.p_crystal:.3f} {one.after.decision}"
    return (
        f"{one.file:<32}{one.label:<6}{one.wanted:>4}{one.visible:>8}{one.distinguishable:>9}"
        f"{one.found:>6}{one.width_px:>7.1f}  {said}"
    )


def faults_in_simulated(
    rows: list[tuple[str, str, Real]], screener: Screener, frames: int, seed: int
) -> list[Spoilt]:
    """Return simulated hits and misses with each real frame's faults, before and after."""
    found: list[Spoilt] = []
    block = drawn = 0
    while drawn < frames:
        simulated = draw_frame(seed, BLOCK * block)
        block += 1
        if simulated.label == BETWEEN:
            continue
        drawn += 1
        frame, before = simulated.frame, say(screener, simulated.frame)
        photon = find_evidence(frame).photon
        for file, _, real in rows:
            hot, gaps = with_hot(frame, photon, real), with_gaps(frame, real)
            for fault, changed, number, lost in (
                ("hot pixels", hot[0], hot[1], 0.0),
                ("gaps", gaps[0], 0, gaps[1]),
            ):
                if number or lost:
                    one = Spoilt(
                        file=file,
                        fault=fault,
                        family=simulated.family,
                        index=frame.index,
                        is_hit=simulated.label == HIT,
                        hot=number,
                        lost=lost,
                        before=before,
                        after=say(screener, changed),
                    )
                    found.append(one)
    return found


def table_of_spoilt(found: list[Spoilt]) -> list[str]:
    """Return a line for each real frame and fault."""
    lines = [
        (
            f"{'from':<32}{'fault':<12}{'frames':>7}{'pixels':>8}{'lost':>7}{'mean dp':>9}"
            f"{'max dp':>9}{'changed':>9}{'swapped':>9}"
        )
    ]
    for fault in ("hot pixels", "gaps"):
        files = sorted({one.file for one in found if one.fault == fault})
        for file in [*files, "all"]:
            rows = [one for one in found if one.fault == fault and file in (one.file, "all")]
            if not rows:
                continue
            off = np.abs([one.after.p_crystal - one.before.p_crystal for one in rows])
            changed = sum(one.after.decision != one.before.decision for one in rows)
            swapped = sum(
                {one.after.decision, one.before.decision} == {"keep", "discard"} for one in rows
            )
            lines.append(
                f"{file:<32}{fault:<12}{len(rows):>7}{np.mean([one.hot for one in rows]):>8.0f}"
                f"{np.mean([one.lost for one in rows]):>7.1%}{np.nanmean(off):>9.3f}"
                f"{np.nanmax(off):>9.3f}{changed:>9}{swapped:>9}"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--model", default="default", help="model file or name")
    parser.add_argument("--visible", default="5,10,20,50,100")
    parser.add_argument("--simulated", type=int, default=20, help="number of simulated frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", action="store_true", help="also print each simulated frame")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    file = None if arguments.model == "default" else Path(arguments.model)
    model = load_model(file)
    screener = Screener(model, find_policy(model, model=file)[0])
    rows = []
    for name, label, _ in read_labels(arguments.labels):
        frame = next(iter(read_frames(arguments.folder / name)))
        rows.append((name, label, surroundings(frame, find_evidence(frame))))
    misses = [row for row in rows if row[1] != "hit"]
    print(f"{'file':<32}{'label':<6}{'k':>4} visible   sure found  width  before        after")
    implanted = crystals_in_misses(
        misses, screener, [int(one) for one in arguments.visible.split(",")], arguments.seed
    )
    spoilt = faults_in_simulated(rows, screener, arguments.simulated, arguments.seed)
    if spoilt:
        print("\n" + "\n".join(table_of_spoilt(spoilt)))
    if arguments.rows:
        for one in spoilt:
            print(
                f"{one.file:<32}{one.fault:<12}{one.family:<10}{one.index:>4}"
                f"{'hit' if one.is_hit else 'miss':>5}{one.hot:>6}{one.lost:>7.1%}  "
                f"{one.before.p_crystal:.3f} {one.before.decision:<8}"
                f"{one.after.p_crystal:.3f} {one.after.decision}"
            )
    if arguments.json is not None:
        written: dict[str, Any] = {
            "model": model.name,
            "implants": [asdict(one) for one in implanted],
            "faults": [asdict(one) for one in spoilt],
        }
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
