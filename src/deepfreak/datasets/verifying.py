"""Verifying a data set: its hashes, and a sample of its images simulated again."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
from numpy.typing import NDArray

from deepfreak.datasets.executors import in_order
from deepfreak.datasets.file import FORMAT, Dataset, content_hashes
from deepfreak.datasets.records import PACKAGES, columns_of, digest_of, flat_truth, processor
from deepfreak.errors import DeepFreakError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import experiment_from
from deepfreak.storage.files import versions

Values = NDArray[np.float64]
Rule = Literal["equal bytes", "golden measure"]

# The golden measure: this fraction of an image's pixels may differ, by one.
GOLDEN_PART = 1e-4
# Relative tolerance of the truth then; a spot near 3 sigma may or may not count.
GOLDEN_RTOL = 1e-4

# Label, image, flat truth.
Simulated = tuple[int, NDArray[np.uint8], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of `verify`.

    Parameters
    ----------
    rule
        How images simulated again were compared; None without any.
    reason
        Why that rule applies.
    images, simulated
        Number of images hashed, and of those simulated again.
    problems
        One line each; empty if the data set matches its manifest.
    """

    rule: Rule | None
    reason: str
    images: int
    simulated: int
    problems: tuple[str, ...]


def verify(
    path: str | Path,
    *,
    rng: np.random.Generator,
    sample: int = 20,
    executor: Executor | None = None,
    advance: Callable[[int], None] | None = None,
) -> Verification:
    """Compare a data set with its manifest, and `sample` random images with a new simulation.

    With the same versions and processor features, images and truth must be equal. Otherwise at most
    1e-4 of an image's pixels may differ by one.

    Parameters
    ----------
    advance
        Called with the number of further images hashed.

    Raises
    ------
    DatasetError
        The file cannot be read.
    """
    with Dataset.open(path) as data:
        problems = _problems_of_manifest(data)
        if problems:
            return Verification(
                rule=None, reason="", images=0, simulated=0, problems=tuple(problems)
            )
        problems += _problems_of_content(data, advance)
        rule, reason = _rule(data)
        chosen = np.sort(rng.choice(len(data), min(sample, len(data)), replace=False)).tolist()
        try:
            work = _work(data)
            if chosen:
                problems += _problems_of_sample(data, work, chosen, rule, executor)
        except (DeepFreakError, pydantic.ValidationError) as error:
            problems.append(f"images cannot be simulated again: {error}")
            chosen = []
        return Verification(
            rule=rule if chosen else None,
            reason=reason,
            images=len(data),
            simulated=len(chosen),
            problems=tuple(problems),
        )


def _problems_of_manifest(data: Dataset) -> list[str]:
    """Return what the manifest lacks for a comparison."""
    manifest = data.manifest
    if manifest.get("kind") != FORMAT.name:
        return ["it has no manifest of `deepfreak data generate` to compare it with"]
    if "varied" in manifest:
        return ["it has images of randomised frames: verify it with deepfreak 0.1, which made it"]
    wanted: dict[str, type] = {
        "experiment": dict,
        "seed": int,
        "first": int,
        "count": int,
        "of": int,
        "splits": dict,
        "sha256": dict,
        "versions": dict,
        "processors": list,
        "backend": str,
    }
    missing = [name for name, kind in wanted.items() if not isinstance(manifest.get(name), kind)]
    if missing:
        return [f"its manifest lacks {', '.join(missing)}"]
    return []


def _problems_of_content(data: Dataset, advance: Callable[[int], None] | None) -> list[str]:
    manifest, problems = data.manifest, []
    if manifest["count"] != len(data):
        problems.append(f"the manifest has {manifest['count']} images, the file {len(data)}")
    whole = manifest["count"] == manifest["of"]
    splits = {name: tuple(place) for name, place in manifest["splits"].items()} if whole else {}
    if splits != data.splits:
        problems.append(f"the manifest has the splits {splits}, the file {data.splits}")
    digests = hashlib.sha256()
    for index in range(len(data)):
        try:
            digests.update(digest_of(data.images[index]))
        except OSError as error:
            problems.append(f"image {index} cannot be read: {error}")
            break
        if advance is not None:
            advance(1)
    found = content_hashes(digests, data.labels, data.truth)
    problems += [
        f"the hash of the {name} differs from the manifest: one of them was changed"
        for name, digest in found.items()
        if manifest["sha256"].get(name) != digest
    ]
    return problems


def _rule(data: Dataset) -> tuple[Rule, str]:
    """Return how to compare the file with a simulation on this machine, and why."""
    manifest = data.manifest
    for name, version in versions(*PACKAGES).items():
        theirs = manifest["versions"].get(name)
        if theirs != version:
            return "golden measure", f"made by {name} {theirs}, here is {version}"
    if manifest["backend"] != "cpu":
        return "golden measure", f"made by the backend {manifest['backend']}, here is cpu"
    if manifest["processors"] != [processor()]:
        theirs = ", ".join(map(str, manifest["processors"]))
        return "golden measure", f"made on {theirs}, here is {processor()}"
    return "equal bytes", "same versions, backend and processor features"


def _work(data: Dataset) -> Callable[[int], Simulated]:
    """Return the function that simulates the image of an index of the series."""
    seed = data.manifest["seed"]
    experiment = experiment_from(data.manifest["experiment"], where="its experiment")
    return partial(_simulate, experiment, seed)


def _problems_of_sample(
    data: Dataset,
    work: Callable[[int], Simulated],
    chosen: list[int],
    rule: Rule,
    executor: Executor | None,
) -> list[str]:
    tasks = [(data.manifest["first"] + index,) for index in chosen]
    problems = []
    for index, made in zip(chosen, in_order(executor, work, tasks), strict=True):
        problem = _difference(data, index, made, rule)
        if problem:
            problems.append(f"image {index} differs from its simulation: {problem}")
    return problems


def _simulate(experiment: Experiment, seed: int, index: int) -> Simulated:
    """Return label, image and flat truth of shot `index`; runs in a worker."""
    shot = experiment.draw(seed=seed, index=index)
    image, truth = simulate(shot)
    return shot.label, image, flat_truth(truth)


def _difference(data: Dataset, index: int, made: Simulated, rule: Rule) -> str | None:
    """Return in a few words how image `index` differs from the simulated one."""
    label, image, flat = made
    if data.labels[index] != label:
        return f"it is labelled {data.classes[data.labels[index]]}, not {data.classes[label]}"
    stored = data.images[index]
    if stored.shape != image.shape:
        return f"it has the shape {stored.shape}, not {image.shape}"
    off = np.abs(stored.astype(np.int16) - image)
    differing, largest = int((off > 0).sum()), int(off.max())
    allowed = GOLDEN_PART * image.size if rule == "golden measure" else 0
    if differing > allowed or (differing and largest > 1):
        return f"{differing} pixels differ, by up to {largest}"
    for name, values in columns_of(flat[None]).items():
        if name in data.truth and not _same(data.truth[name][index], values[0], name, rule):
            return f"its {name} is {_said(data.truth[name][index])}, not {_said(values[0])}"
    return None


def _same(stored: Values, made: Values, name: str, rule: Rule) -> bool:
    if rule == "equal bytes":
        return bool(np.array_equal(stored, made, equal_nan=True))
    if name == "d_min_A":  # depends on single spots near 5 sigma
        return True
    atol = 1.0 if name.startswith("spots_") else 1e-9
    return bool(np.allclose(stored, made, rtol=GOLDEN_RTOL, atol=atol, equal_nan=True))


def _said(value: Values) -> str:
    return " ".join(f"{number:.6g}" for number in np.ravel(value))
