"""The file beside a model with its calibration: counts of hits and misses by threshold."""

import json
from dataclasses import asdict
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import ModelError
from deepfreak.models.shipped import is_shipped, model_file
from deepfreak.settings import one_line, settings
from deepfreak.storage.files import whole_file

FORMAT = {"format": "deepfreak calibration", "format_version": 1}
SUFFIX = ".calibration.json"
MAX_FILE_BYTES = 1 << 20
# Thresholds lie evenly in log odds, from one in a hundred million to the reverse.
FARTHEST, STEP = 18.4, 0.05
_STEPS = round(2 * FARTHEST / STEP) + 1


def thresholds() -> NDArray[np.float64]:
    """Return the values of `p_crystal` at which scores are counted, ascending."""
    odds = np.exp(np.linspace(-FARTHEST, FARTHEST, _STEPS))
    found: NDArray[np.float64] = odds / (1 + odds)
    return found


@settings
class Calibration:
    """How a model scores images with and without crystal diffraction.

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
