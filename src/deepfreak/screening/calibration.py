"""Calibration: how a model scores labelled images, from which thresholds are chosen.

Of each image or frame only `p_crystal` counts. The scores of thousands are kept, in a file beside
the model, as counts over a fine grid of thresholds, which is all that a policy needs.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.classes import groups
from deepfreak.errors import DatasetError, ModelError
from deepfreak.models import Classifier, EvidenceModel
from deepfreak.models.evidence_model import UNLIKE, measured_images
from deepfreak.models.shipped import is_shipped, model_file
from deepfreak.screening.verdict import Failure, Verdict
from deepfreak.settings import one_line, settings
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.datasets.randomised.table import Table
    from deepfreak.datasets.real_images.labels import Labels

FORMAT = {"format": "deepfreak calibration", "format_version": 1}
SUFFIX = ".calibration.json"
MAX_FILE_BYTES = 1 << 20
# Thresholds lie evenly in log odds, from one in a hundred million to the reverse.
FARTHEST, STEP = 18.4, 0.05
_STEPS = round(2 * FARTHEST / STEP) + 1


def thresholds() -> NDArray[np.float64]:
    """Return the values of `p_crystal` at which scores are counted, ascending."""
    odds = np.exp(np.linspace(-FARTHEST, FARTHEST, _STEPS))
    return np.asarray(odds / (1 + odds))


@settings
class Calibration:
    """How a model scores images with and without crystal diffraction."""

    model: str  # name and fingerprint of the model
    data: str  # what the images are, in a few words
    simulated: bool  # whether any of them were; a promise then holds for shots like these
    # how many images with and without crystal diffraction
    hits: int = Field(ge=1)
    empties: int = Field(ge=0)
    # for each of `thresholds`, how many hits score less, and how many empties as much or more
    hits_below: tuple[int, ...] = Field(min_length=_STEPS, max_length=_STEPS)
    empties_from: tuple[int, ...] = Field(min_length=_STEPS, max_length=_STEPS)
    # range of `Verdict.level` in which all but the rarest of the images lie
    levels: tuple[float, float]
    # what the model takes: prepared images, or the evidence of frames
    kind: Literal["images", "evidence"] = "images"

    def __post_init__(self) -> None:
        below, above = np.array(self.hits_below), np.array(self.empties_from)
        ordered = (np.diff(below) >= 0).all() and (np.diff(above) <= 0).all()
        in_range = below[0] >= 0 and below[-1] <= self.hits and above[-1] >= 0
        if not (ordered and in_range and above[0] <= self.empties):
            raise ValueError("counts of hits rise and those of empties fall, within their numbers")


def calibration_path(model: Path) -> Path:
    """Return where the scores of the model in a file lie: beside it."""
    return model.with_name(model.name + SUFFIX)


def write_calibration(scores: Calibration, path: Path, *, overwrite: bool = False) -> None:
    """Write scores to a JSON file."""
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps({**FORMAT, **asdict(scores)}) + "\n")


def read_calibration(source: Path | Traversable, *, model: str) -> Calibration:
    """Return the scores in a file.

    Raises `ModelError`: the file is missing, damaged, of another version, or of another model than
    `model`.
    """
    try:
        with source.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"expected the model's scores in {source.name}, found none: make them "
            "with `deepfreak model calibrate` from labelled images"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(f"expected scores in {source.name}, found more than a megabyte")
    try:
        values: dict[str, Any] = json.loads(content)
        found = {key: values.pop(key, None) for key in FORMAT}
        if found != FORMAT:
            raise ModelError(
                f"expected a calibration of format version {FORMAT['format_version']} in "
                f"{source.name}, found version {found['format_version']!s:.20} of "
                f"{found['format']!s:.40}: `deepfreak model calibrate` makes it again"
            )
        scores = pydantic.TypeAdapter(Calibration).validate_python(values)
    except pydantic.ValidationError as error:
        raise ModelError(f"expected scores in {source.name}: {one_line(error)}") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"expected scores in {source.name}, found other text") from error
    if scores.model != model:
        raise ModelError(
            f"expected scores of {model} in {source.name}, found those of {scores.model:.80}: "
            "`deepfreak model calibrate` makes them again"
        )
    return scores


def find_calibration(
    model: Path | None, given: Path | None, *, name: str
) -> tuple[Calibration, bool]:
    """Return the calibration of a model, and whether it holds for the user's detector.

    It does if the user gave it, or if it rests on measured frames.

    `model`, `given`: files: the model, or the name of a shipped one, None for the default; its
    calibration, None for the one beside the model, or the default's if it is of this model. `name`:
    the model's.

    Raises `ModelError`: there is none, or it is damaged, or of another version or model.
    """
    if given is not None:
        return read_calibration(given, model=name), True
    beside = model_file(model, SUFFIX)
    if is_shipped(model) or beside.is_file():
        scores = read_calibration(beside, model=name)
        return scores, not scores.simulated
    try:
        return read_calibration(model_file(suffix=SUFFIX), model=name), False
    except ModelError:
        raise ModelError(
            f"expected the model's scores in {beside.name}, found none: make them "
            "with `deepfreak model calibrate` from labelled images"
        ) from None


# Of a class of shots, between which the model's images have their mean gray level.
COMMON = (0.001, 0.999)
IMAGES_AT_ONCE = 256
_MAX_DATA_CHARACTERS = 300


def calibrate_on_images(
    model: Classifier, data: "Dataset", *, advance: Callable[[int], None] | None = None
) -> Calibration:
    """Return how `model` scores the images of `data`.

    Raises `DatasetError`: its classes cannot be grouped into crystal and no crystal, or no image
    shows a crystal.
    """
    is_hit = groups(data.classes)[np.asarray(data.labels)].astype(bool)
    if not is_hit.any():
        raise DatasetError(
            f"expected images with crystal diffraction in {data.path.name}, found none among "
            f"{len(data)}: a promise about hits takes some"
        )
    p_crystal, levels = _predicted(model, data, advance or (lambda _: None))
    split = data.manifest.get("split", {}).get("name")
    return _counted(
        model,
        p_crystal,
        is_hit,
        levels,
        data=data.path.name + ("" if split is None else f", split {split}"),
        simulated=not {"experiment", "varied"}.isdisjoint(data.manifest)
        or data.manifest.get("variant") == "synthetic",  # of DiffraNet
    )


def calibrate_on_table(model: EvidenceModel, table: "Table") -> Calibration:
    """Return how `model` scores the hits and misses of a table of evidence.

    Raises `DatasetError`: none of its frames is a hit; `ModelError`: a number that the model takes
    is missing.
    """
    labelled, is_hit, families = _hits_and_misses(table)
    if not is_hit.any():
        raise DatasetError(f"expected hits in {table.path.name}, found none among {len(table)}")
    numbers = table.numbers[labelled]
    return _counted(
        model,
        model.p_crystal(table.names, numbers),
        is_hit,
        model.unlike(table.names, numbers),
        data=f"{table.path.name}, detectors {families}"[:_MAX_DATA_CHARACTERS],
        simulated=True,
    )


def calibrate_left_out(
    model: EvidenceModel, table: "Table", odds: NDArray[np.float64]
) -> Calibration:
    """Return how models that had not seen its detector scored each frame, from their log-odds.

    They stand for `model`, which has seen all detectors and should be no worse.
    """
    labelled, is_hit, families = _hits_and_misses(table)
    return _counted(
        model,
        np.exp(-np.logaddexp(0, -odds[labelled])),
        is_hit,
        np.zeros(len(is_hit)),
        data=f"each family of detectors left out in turn: {families}",
        simulated=True,
    )


def _hits_and_misses(table: "Table") -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """Return which frames are hits or misses, which of those are hits, and their detectors."""
    from deepfreak.datasets.randomised.table import HIT, MISS

    labelled = np.isin(table.label, (HIT, MISS))
    families = sorted(set(table.family[labelled].tolist()))
    return labelled, table.label[labelled] == HIT, ", ".join(families)


def calibrate_on_frames(
    model: Classifier,
    results: Iterable[Verdict | Failure],
    labels: "Labels",
    *,
    skip: Callable[[Failure], None] = lambda _: None,
) -> Calibration:
    """Return how `model` scores labelled frames, given what it said of them.

    `results`: of `screen_files` with this model. `skip`: called with each frame that could not be
    read, which counts nowhere.

    Raises `DatasetError`: a frame has no label, or none shows a crystal.
    """
    p_crystal, is_hit, levels = [], [], []
    for result in results:
        if isinstance(result, Failure):
            skip(result)
            continue
        is_hit.append(labels.of(Path(result.file), result.frame) == 1)
        p_crystal.append(result.p_crystal)
        levels.append(result.level)
    if not any(is_hit):
        raise DatasetError(
            f"{labels.path}: expected frames with diffraction, found none among {len(is_hit)}"
        )
    return _counted(
        model,
        np.array(p_crystal),
        np.array(is_hit),
        np.array(levels),
        data=labels.path.name,
        simulated=False,
    )


def _predicted(
    model: Classifier, data: "Dataset", advance: Callable[[int], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `p_crystal` and the level of each image of `data`, as `Verdict` has them."""
    crystal = groups(model.classes).astype(bool)
    p_crystal, levels = np.empty(len(data)), np.empty(len(data))
    for first in range(0, len(data), IMAGES_AT_ONCE):
        images = np.asarray(data.images[first : first + IMAGES_AT_ONCE])
        here = slice(first, first + len(images))
        valid = None if data.valid is None else np.asarray(data.valid[here])
        if isinstance(model, EvidenceModel):
            names, numbers = measured_images(images, valid)
            p_crystal[here] = model.p_crystal(names, numbers)
            levels[here] = model.unlike(names, numbers)
        else:
            p_crystal[here] = model.probabilities(images, valid)[:, crystal].sum(1)
            levels[here] = images.mean((1, 2), where=True if valid is None else valid)
        advance(len(images))
    return p_crystal, levels


def _counted(
    model: Classifier,
    p_crystal: NDArray[np.float64],
    is_hit: NDArray[np.bool_],
    levels: NDArray[np.float64],
    *,
    data: str,
    simulated: bool,
) -> Calibration:
    """Return the scores of images, each with its `p_crystal`, whether it is a hit, its level."""
    at = thresholds()
    hits, empties = np.sort(p_crystal[is_hit]), np.sort(p_crystal[~is_hit])
    evidence = isinstance(model, EvidenceModel)
    return Calibration(
        model=model.name,
        data=data,
        simulated=simulated,
        hits=len(hits),
        empties=len(empties),
        hits_below=tuple(np.searchsorted(hits, at, "left").tolist()),
        empties_from=tuple((len(empties) - np.searchsorted(empties, at, "left")).tolist()),
        levels=(0.0, UNLIKE) if evidence else tuple(np.quantile(levels, COMMON).tolist()),
        kind="evidence" if evidence else "images",
    )


def together(parts: Sequence[Calibration]) -> Calibration:
    """Return the scores of all images of `parts`, which are those of one model."""
    first = parts[0]
    return Calibration(
        model=first.model,
        data="; ".join(part.data for part in parts),
        simulated=any(part.simulated for part in parts),
        hits=sum(part.hits for part in parts),
        empties=sum(part.empties for part in parts),
        hits_below=_sums(part.hits_below for part in parts),
        empties_from=_sums(part.empties_from for part in parts),
        levels=(min(part.levels[0] for part in parts), max(part.levels[1] for part in parts)),
        kind=first.kind,
    )


def _sums(counts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(each) for each in zip(*counts, strict=True))
