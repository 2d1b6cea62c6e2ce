"""How a model scores labelled images: what a promise about lost hits can be made from.

Of each image or frame only `p_crystal` counts. The scores of thousands are kept as counts over a
fine grid of thresholds, which is all that a policy asks for, in a small JSON file beside the model.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import DatasetError, ModelError
from deepfreak.models.shipped import is_shipped, model_file
from deepfreak.settings import one_line, settings
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.datasets.randomised.table import Table
    from deepfreak.datasets.real_images.labels import Labels
    from deepfreak.models import Classifier, EvidenceModel
    from deepfreak.screening.screener import Failure, Verdict

FORMAT = 1
SUFFIX = ".scores.json"
MAX_FILE_BYTES = 1 << 20
# Thresholds lie evenly in log odds, from one in a hundred million to the reverse.
FARTHEST, STEP = 18.4, 0.05
_STEPS = round(2 * FARTHEST / STEP) + 1
# Of a class of shots, between which the model's images have their mean gray level.
COMMON = (0.001, 0.999)
IMAGES_AT_ONCE = 256
_MAX_DATA_CHARACTERS = 300


def thresholds() -> NDArray[np.float64]:
    """Return the values of `p_crystal` at which scores are counted, ascending."""
    odds = np.exp(np.linspace(-FARTHEST, FARTHEST, _STEPS))
    found: NDArray[np.float64] = odds / (1 + odds)
    return found


@settings
class Scores:
    """What a model says of images with and without crystal diffraction.

    Parameters
    ----------
    model
        Name and fingerprint of the model.
    data
        What the images are, in a few words.
    simulated
        Whether any of them were; a promise then holds for shots like these.
    hits, empties
        How many images with and without crystal diffraction.
    hits_below, empties_from
        For each of `thresholds`, how many hits score less, and how many empties as much or more.
    levels
        Range of `Verdict.level` in which all but the rarest of the images lie.
    kind
        What the model takes: prepared images, or the evidence of frames.
    """

    model: str
    data: str
    simulated: bool
    hits: int = Field(ge=1)
    empties: int = Field(ge=0)
    hits_below: tuple[int, ...] = Field(min_length=_STEPS, max_length=_STEPS)
    empties_from: tuple[int, ...] = Field(min_length=_STEPS, max_length=_STEPS)
    levels: tuple[float, float]
    kind: Literal["images", "evidence"] = "images"

    def __post_init__(self) -> None:
        below, above = np.array(self.hits_below), np.array(self.empties_from)
        ordered = (np.diff(below) >= 0).all() and (np.diff(above) <= 0).all()
        in_range = below[0] >= 0 and below[-1] <= self.hits and above[-1] >= 0
        if not (ordered and in_range and above[0] <= self.empties):
            raise ValueError("counts of hits rise and those of empties fall, within their numbers")


def score(
    model: "Classifier", data: "Dataset", *, advance: Callable[[int], None] | None = None
) -> Scores:
    """Return how `model` scores the images of `data`.

    Raises
    ------
    DatasetError
        Its classes do not tell whether there is a crystal, or none of its images shows one.
    """
    from deepfreak.classes import (
        groups,
    )

    is_hit = groups(data.classes)[np.asarray(data.labels)].astype(bool)
    if not is_hit.any():
        raise DatasetError(
            f"expected images with crystal diffraction in {data.path.name}, found none among "
            f"{len(data)}: a promise about hits takes some"
        )
    p_crystal, levels = _asked(model, data, advance or (lambda _: None))
    split = data.manifest.get("split", {}).get("name")
    return _counted(
        model,
        p_crystal,
        is_hit,
        levels,
        data=data.path.name + ("" if split is None else f", split {split}"),
        simulated=_simulated(data.manifest),
    )


def score_table(model: "EvidenceModel", table: "Table") -> Scores:
    """Return how `model` scores the frames of a table of evidence, without those between.

    Raises
    ------
    DatasetError
        None of its frames is a hit.
    ModelError
        A number that the model takes is missing.
    """
    from deepfreak.datasets.randomised.table import HIT, MISS

    taught = np.isin(table.label, (HIT, MISS))
    numbers, is_hit = table.numbers[taught], table.label[taught] == HIT
    if not is_hit.any():
        raise DatasetError(f"expected hits in {table.path.name}, found none among {len(table)}")
    families = sorted(set(table.family[taught].tolist()))
    return _counted(
        model,
        model.p_crystal(table.names, numbers),
        is_hit,
        model.unlike(table.names, numbers),
        data=f"{table.path.name}, detectors {', '.join(families)}"[:_MAX_DATA_CHARACTERS],
        simulated=True,
    )


def score_left_out(model: "EvidenceModel", table: "Table", odds: NDArray[np.float64]) -> Scores:
    """Return the scores of frames whose log-odds come from models that had not seen their detector.

    They are those of `model`, which has seen all of them, as far as it is no worse than these.
    """
    from deepfreak.datasets.randomised.table import HIT, MISS

    taught = np.isin(table.label, (HIT, MISS))
    families = sorted(set(table.family.tolist()))
    return _counted(
        model,
        np.exp(-np.logaddexp(0, -odds[taught])),
        table.label[taught] == HIT,
        np.zeros(int(taught.sum())),
        data=f"each family of detectors left out in turn: {', '.join(families)}",
        simulated=True,
    )


def score_frames(
    model: "Classifier",
    results: Iterable["Verdict | Failure"],
    labels: "Labels",
    *,
    skip: Callable[["Failure"], None] = lambda _: None,
) -> Scores:
    """Return how `model` scores labelled frames, given what it said of them.

    Parameters
    ----------
    results
        Of `screen_files` with this model.
    skip
        Called with each frame that could not be read, which counts nowhere.

    Raises
    ------
    DatasetError
        A frame has no label, or none shows a crystal.
    """
    from deepfreak.screening.screener import Failure

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


def _asked(
    model: "Classifier", data: "Dataset", advance: Callable[[int], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `p_crystal` and the level of each image of `data`, as `Verdict` has them."""
    from deepfreak.classes import (
        groups,
    )
    from deepfreak.models import EvidenceModel
    from deepfreak.models.evidence_model import measured_images

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
    model: "Classifier",
    p_crystal: NDArray[np.float64],
    is_hit: NDArray[np.bool_],
    levels: NDArray[np.float64],
    *,
    data: str,
    simulated: bool,
) -> Scores:
    """Return the scores of images, each with its `p_crystal`, whether it is a hit, its level."""
    from deepfreak.models import EvidenceModel
    from deepfreak.models.evidence_model import UNLIKE

    at = thresholds()
    hits, empties = np.sort(p_crystal[is_hit]), np.sort(p_crystal[~is_hit])
    evidence = isinstance(model, EvidenceModel)
    return Scores(
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


def _simulated(manifest: Mapping[str, Any]) -> bool:
    """Return whether a data set says that it was simulated: a recipe's, varied, or DiffraNet's."""
    return not {"experiment", "varied"}.isdisjoint(manifest) or (
        manifest.get("variant") == "synthetic"
    )


def together(parts: Sequence[Scores]) -> Scores:
    """Return the scores of all images of `parts`, which are those of one model."""
    first = parts[0]
    return Scores(
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


def scores_path(model: Path) -> Path:
    """Return where the scores of the model in a file lie: beside it."""
    return model.with_name(model.name + SUFFIX)


def write_scores(scores: Scores, path: Path, *, overwrite: bool = False) -> None:
    """Write scores to a JSON file."""
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps({"format": FORMAT, **asdict(scores)}) + "\n")


def read_scores(source: Path | Traversable, *, model: str) -> Scores:
    """Return the scores in a file.

    Raises
    ------
    ModelError
        The file is missing, damaged, or tells of another model than that of the name `model`.
    """
    try:
        with source.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"expected the model's scores in {source.name}, found none: `deepfreak model "
            "calibrate` makes them from labelled images"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(f"expected scores in {source.name}, found more than a megabyte")
    try:
        values: Mapping[str, Any] = json.loads(content)
        known = {key: value for key, value in values.items() if key != "format"}
        scores = pydantic.TypeAdapter(Scores).validate_python(known)
    except pydantic.ValidationError as error:
        raise ModelError(f"expected scores in {source.name}: {one_line(error)}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"expected scores in {source.name}, found other text") from error
    if scores.model != model:
        raise ModelError(
            f"expected scores of {model} in {source.name}, found those of {scores.model:.80}: "
            "`deepfreak model calibrate` makes them anew"
        )
    return scores


def find_scores(model: Path | None, given: Path | None, *, name: str) -> tuple[Scores, bool]:
    """Return the scores of a model, and whether they are those of the detector at hand.

    They are if they were given by hand, or if somebody scored measured frames with their own model.

    Parameters
    ----------
    model, given
        Files: the model, or a name of one that ships, None for the default; scores, None for those
        beside the model, or the default's if they are this model's.
    name
        The model's.

    Raises
    ------
    ModelError
        There are none, they are damaged, or of another model.
    """
    if given is not None:
        return read_scores(given, model=name), True
    beside = model_file(model, SUFFIX)
    if is_shipped(model) or beside.is_file():
        scores = read_scores(beside, model=name)
        return scores, not scores.simulated
    try:
        return read_scores(model_file(suffix=SUFFIX), model=name), False
    except ModelError:
        raise ModelError(
            f"expected the model's scores in {beside.name}, found none: `deepfreak model "
            "calibrate` makes them from labelled images"
        ) from None
