"""Count false peaks and false hits on empty frames of nine detectors.

Run: python benchmarks/empties.py [--model FILE] [--seeds 2] [--detectors pilatus_300k,...]

Each detector is simulated here in a few lines, independently of the package, so that the package's
own detector model is not tested with itself: Poisson photons, gaps, the response that manufacturers
publish (point spread, gain, pedestal, read noise, steps between chips, masks), and hot pixels from
3 photons to saturation. For each detector and number of hot pixels the table shows the mean number
of evidence peaks with z above 5, 7 and 10, the mean number off rings, the maximum, and, with a
model, the share of frames with p_crystal over 0.5.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from deepfreak.evidence import find_evidence
from deepfreak.formats import Frame

LIGHTS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)  # photons per pixel; at the centre if falling
HOT = (0, 20, 300)
FORMS = ("flat", "falling")
MIN_HOT = 3.0  # photons


@dataclass(frozen=True, slots=True, kw_only=True)
class Empties:
    """A detector: shape, gain in counts per photon, gaps, and response.

    `respond` takes expected photons [slow, fast] and a random generator and returns counts before
    rounding; `stated` says whether the detector's files state the gain.
    """

    shape: tuple[int, int]
    dtype: type
    gain: float
    saturation: float
    modules: tuple[int, int, int, int] | None  # height, width, gap between rows, between columns
    respond: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    stated: bool


def _count(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(light).astype(np.float32)


def _count_virtual(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """EIGER: pixels between chips are twice as large; their counts are divided between two."""
    counts = rng.poisson(light).astype(np.float32)
    for row in range(255, light.shape[0] - 1, 257):
        double = rng.poisson(light[row] + light[row + 1])
        counts[row] = rng.binomial(double, 0.5)
        counts[row + 1] = double - counts[row]
    return counts


def _count_wide(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Timepix: pixels beside another chip are three times as wide."""
    wide = np.where(np.isin(np.arange(light.shape[0]) % 256, (0, 255)), 3.0, 1.0)
    wide[[0, -1]] = 1.0
    return rng.poisson(light * wide[:, None] * wide[None, :]).astype(np.float32)


def _integrate(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JUNGFRAU, in keV of 12.4 keV photons: read noise, steps between chips, common-mode rows."""
    counts = 12.4 * rng.poisson(light) + rng.normal(0, 0.9, light.shape)
    chips = rng.normal(0, 0.5, (-(-light.shape[0] // 256), -(-light.shape[1] // 256)))
    counts += np.kron(chips, np.ones((256, 256)))[: light.shape[0], : light.shape[1]]
    return (counts + rng.normal(0, 0.15, (light.shape[0], 1))).astype(np.float32)


def _ccd(
    gain: float, spread: float, read: float, pedestal: float, tiles: int, step: float
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def respond(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        counts = gain * ndimage.gaussian_filter(rng.poisson(light).astype(np.float32), spread)
        counts += rng.normal(pedestal, read, light.shape).astype(np.float32)
        side = -(-light.shape[0] // tiles)
        steps = np.kron(rng.normal(0, step, (tiles, tiles)), np.ones((side, side)))
        return counts + steps[: light.shape[0], : light.shape[1]].astype(np.float32)

    return respond


DETECTORS = {
    "pilatus_300k": Empties(
        shape=(619, 487), dtype=np.int32, gain=1, saturation=1e6,
        modules=(195, 487, 17, 0), respond=_count, stated=True,
    ),
    "pilatus_2m": Empties(
        shape=(1679, 1475), dtype=np.int32, gain=1, saturation=1e6,
        modules=(195, 487, 17, 7), respond=_count, stated=True,
    ),
    "eiger_4m": Empties(
        shape=(2167, 2070), dtype=np.uint16, gain=1, saturation=65000,
        modules=(514, 1030, 37, 10), respond=_count_virtual, stated=True,
    ),
    "eiger2_16m": Empties(
        shape=(4362, 4148), dtype=np.uint32, gain=1, saturation=130000,
        modules=(512, 1028, 38, 12), respond=_count, stated=True,
    ),
    "jungfrau": Empties(
        shape=(1064, 1030), dtype=np.float32, gain=12.4, saturation=1e5,
        modules=(512, 1024, 40, 6), respond=_integrate, stated=False,
    ),
    "rayonix_binned": Empties(
        shape=(960, 960), dtype=np.uint16, gain=2.5, saturation=65535,
        modules=None, respond=_ccd(2.5, 0.6, 2.5, 10, 4, 1.5), stated=False,
    ),
    "marccd": Empties(
        shape=(1024, 1024), dtype=np.uint16, gain=6, saturation=65535,
        modules=None, respond=_ccd(6, 0.9, 6, 10, 2, 1), stated=False,
    ),
    "adsc": Empties(
        shape=(1152, 1152), dtype=np.uint16, gain=4, saturation=65535,
        modules=None, respond=_ccd(4, 0.7, 5, 40, 3, 4), stated=False,
    ),
    "timepix": Empties(
        shape=(512, 512), dtype=np.uint16, gain=1, saturation=11810,
        modules=None, respond=_count_wide, stated=False,
    ),
}  # fmt: skip


def make(name: str, light: float, hot: int, form: str, rng: np.random.Generator) -> Frame:
    """Return an empty frame; for the form "falling", `light` is the value at the centre."""
    detector = DETECTORS[name]
    slow, fast = np.indices(detector.shape, dtype=np.float32)
    center = tuple(side * rng.uniform(0.4, 0.6) for side in detector.shape)
    falling = np.exp(-np.hypot(slow - center[0], fast - center[1]) / (0.25 * max(detector.shape)))
    expected = light * falling if form == "falling" else np.full(detector.shape, np.float32(light))
    counts = detector.respond(expected, rng)
    places = rng.choice(counts.size, hot, replace=False)
    heights = np.exp(rng.uniform(np.log(MIN_HOT * detector.gain), np.log(detector.saturation), hot))
    counts.reshape(-1)[places] += heights.astype(np.float32)
    valid = np.ones(detector.shape, dtype=np.bool_)
    if detector.modules is not None:
        height, width, rows, columns = detector.modules
        valid &= ((np.arange(detector.shape[0]) % (height + rows)) < height)[:, None]
        valid &= ((np.arange(detector.shape[1]) % (width + columns)) < width)[None, :]
    counts = np.minimum(counts, detector.saturation)
    if np.dtype(detector.dtype).kind in "iu":
        counts = np.maximum(np.rint(counts), 0).astype(detector.dtype)
        counts[~valid] = np.iinfo(detector.dtype).max
    return Frame(
        file=name,
        index=0,
        counts=counts,
        valid=valid,
        gain=detector.gain if detector.stated else None,
        saturation=detector.saturation,
        beam_center_px=center if detector.stated else None,
    )


def frames(name: str, hot: int, seeds: int) -> Iterator[Frame]:
    """Yield a detector's empty frames with `hot` hot pixels, for each light and form."""
    for light in LIGHTS:
        for form in FORMS:
            for seed in range(seeds):
                rng = np.random.default_rng((seed, hot, int(1000 * light), FORMS.index(form)))
                yield make(name, light, hot, form, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="also classify each frame")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    arguments = parser.parse_args()
    judge = None if arguments.model is None else judge_of(arguments.model)
    print(
        f"{'detector':<16}{'hot':>4}{'frames':>7}{'z > 5':>7}{'7':>7}{'10':>7}"
        f"{'off rings':>10}{'max':>6}{'crystals':>9}"
    )
    for name in arguments.detectors.split(","):
        for hot in HOT:
            # few of the largest frames
            seeds = 1 if name == "eiger2_16m" else arguments.seeds
            counts, crystals = [], []
            for frame in frames(name, hot, seeds):
                evidence = find_evidence(frame)
                counts.append(
                    [np.count_nonzero(evidence.peaks.z >= z) for z in (5, 7, 10)]
                    + [len(evidence.off_rings)]
                )
                if judge is not None:
                    crystals.append(judge(frame)[0] > 0.5)
            mean = np.mean(counts, axis=0)
            said = f"{100 * np.mean(crystals):.1f} %" if crystals else "-"
            print(
                f"{name:<16}{hot:>4}{len(counts):>7}{mean[0]:>7.2f}{mean[1]:>7.2f}{mean[2]:>7.2f}"
                f"{mean[3]:>10.2f}{max(row[0] for row in counts):>6}{said:>9}",
                flush=True,
            )


def judge_of(path: Path) -> Callable[[Frame], tuple[float, str]]:
    """Return a function that gives p_crystal and label of a frame."""
    from deepfreak.models import load_model
    from deepfreak.screening.screener import Screener

    screener = Screener(load_model(path))

    def judge(frame: Frame) -> tuple[float, str]:
        verdict = screener(frame)
        return verdict.p_crystal, verdict.label

    return judge


if __name__ == "__main__":
    main()
