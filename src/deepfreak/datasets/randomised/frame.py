"""One simulated frame of any detector, and whether a crystal can be seen on it."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.detectors import RandomisedDetector, draw_detector
from deepfreak.datasets.randomised.faults import Nuisances
from deepfreak.datasets.randomised.models import FAMILIES
from deepfreak.datasets.randomised.recording import record
from deepfreak.datasets.randomised.scene import CLEAN_KINDS, HARD_KINDS, draw_scene
from deepfreak.datasets.randomised.setup import Setup, draw_setup
from deepfreak.datasets.randomised.spots import Canvas
from deepfreak.datasets.randomised.table import BETWEEN, HIT, MISS
from deepfreak.datasets.randomised.visibility import visible_spots
from deepfreak.errors import InputError
from deepfreak.formats.frame import Frame

VERSION = "frames-1"
BLOCK = 10  # frames that share a detector, a beam and a crystal
MIN_VISIBLE, MAX_HIDDEN = 10, 2  # visible spots of a hit at least, and of a miss at most
LIGHTS = (*CLEAN_KINDS, *HARD_KINDS, "rim", "shadows", "diffuse spots")
FAULTS = tuple(field.name for field in fields(Nuisances))
_CRYSTALS = 0.5
_MANY_ZINGERS = 5
_BLOCK, _FRAME = 2**31 + 2, 2**31 + 3  # first words of keys, like those of no other series


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomisedFrame:
    """A simulated frame."""

    frame: Frame  # as a reader would have made it
    # `HIT` with at least 10 visible spots that no hot pixel can be, `MISS` with at most 2 visible
    # ones, else `BETWEEN`
    label: int
    visible: int  # how many true spots of a crystal can be seen in the finished frame; `visibility`
    zingers: int  # how many lone events struck the frame
    # family, model: of the detector
    family: str
    model: str
    # kind, tags: what is in the beam
    kind: str
    tags: tuple[str, ...]


def draw_frame(
    seed: int, index: int, *, family: str | None = None, without: frozenset[str] = frozenset()
) -> RandomisedFrame:
    """Return frame `index` of a series: a function of the arguments.

    A crystal is in the beam of every second frame. All else (light, rings, faults of the detector)
    is drawn alike with one and without. `family` is the detector's, by default another one block
    after block; `without` names what is left out of `LIGHTS` and `FAULTS`.
    """
    detector, setup = _block(seed, index // BLOCK, family, without)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_FRAME, index)))
    scene = draw_scene(rng, setup, crystal=bool(rng.random() < _CRYSTALS), without=without)
    light = np.zeros(detector.shape, np.float32)
    if scene.spots is not None:
        scene.spots.add_to(light)
    recorded = record(
        detector,
        scene.background,
        light,
        rng,
        geometry=scene.geometry,
        index=index,
    )
    visible = distinguishable = 0
    if scene.spots is not None:
        seen = visible_spots(recorded, scene.spots.slow, scene.spots.fast)
        visible = int(np.count_nonzero(seen.visible))
        distinguishable = int(np.count_nonzero(seen.distinguishable))
    return RandomisedFrame(
        frame=recorded.frame,
        label=label_of(visible, distinguishable),
        visible=visible,
        zingers=recorded.zingers,
        family=detector.family,
        model=detector.model,
        kind=scene.kind,
        tags=scene.tags,
    )


def label_of(visible: int, distinguishable: int) -> int:
    """Return the label of a frame with these numbers of visible and distinguishable spots."""
    if distinguishable >= MIN_VISIBLE:
        return HIT
    return MISS if visible <= MAX_HIDDEN else BETWEEN


def is_hard(kind: NDArray[np.str_], zingers: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which misses are hard: rings, diamonds, fibres, and five zingers or more."""
    return np.isin(kind, tuple(HARD_KINDS)) | (zingers >= _MANY_ZINGERS)


def check_choices(family: str | None, without: tuple[str, ...]) -> None:
    """Raise `InputError` for an unknown family or an unknown name to leave out."""
    if family is not None and family not in FAMILIES:
        raise InputError(f"expected one of the families {', '.join(FAMILIES)}, found {family!r}")
    known = (*LIGHTS, *FAULTS)
    for name in without:
        if name not in known:
            raise InputError(f"expected one of {', '.join(known)} to leave out, found {name!r}")


@lru_cache(maxsize=2)
def _block(
    seed: int, block: int, family: str | None, without: frozenset[str]
) -> tuple[RandomisedDetector, Setup]:
    """Return what the frames of a block share."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BLOCK, block)))
    faults = Nuisances(**{name: name not in without for name in FAULTS})
    detector = draw_detector(
        rng, family=family or FAMILIES[block % len(FAMILIES)], nuisances=faults
    )
    canvas = Canvas(
        shape=detector.shape,
        pixel_mm=detector.pixel_mm,
        noise_photons=detector.noise_photons,
        psf_px=detector.psf_px,
    )
    return detector, draw_setup(rng, canvas)
