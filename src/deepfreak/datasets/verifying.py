"""Which data set this is, and verifying it: its hashes, and a sample of images simulated again."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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

# `deepfreak data generate diffranet`, see docs/dataset.md. Its labels are the same everywhere;
# its images and truth in their last bits are those of this kind of processor.
RELEASED_NAME = "DiffraNet 2"
RELEASED_RECIPE = "diffranet"
RELEASED_SEED = 0
RELEASED_PROCESSOR = "znver4-31f64895"
RELEASED_SHA256 = {
    "images": "488b75e03f4317ce072baa73f8ec30fda3e0a69cc7087963ed6b79caf8e6bb37",
    "labels": "9e90cc4eb9702cb4898afad9f1bdd0540824c17b351cf56f9ef26bdbd69c8017",
    "truth": "8d7b980e6af6e311b43f5c831f37307a9e751be5ccf6408f9db0e97fb39a7a75",
}


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a data set, as JSON values for models and records.

    Its `name` if it is a released one, `seed`, `label_version` and `sha256`; None for what its
    manifest does not say.
    """
    label_version = (
        manifest["varied"].get("version")
        if "varied" in manifest
        else manifest.get("experiment", {}).get("classes", {}).get("label_version")
    )
    return {
        "name": None if why_not_released(manifest) else RELEASED_NAME,
        "seed": manifest.get("seed"),
        "label_version": label_version,
        "sha256": manifest.get("sha256"),
    }


def why_not_released(manifest: Mapping[str, Any]) -> str | None:
    """Return in one line why a data set is not the released one; None if it is.

    Only the manifest is looked at; whether images, labels and truth are what it says, `verify`
    tells.
    """
    if manifest.get("sha256") == RELEASED_SHA256:
        return None
    if "varied" in manifest:
        return "its images are varied ones"
    settings = manifest.get("experiment")
    if not isinstance(settings, dict):
        return "it does not say which experiment it shows"
    from deepfreak.physics.recipe import load_recipe, settings_of

    released = load_recipe(RELEASED_RECIPE)
    plan = released.dataset
    differing = list(_differences(settings, settings_of(released), ""))
    if differing:
        further = f", and {len(differing) - 1} further settings" if len(differing) > 1 else ""
        return f"of its recipe {differing[0]}{further}"
    wanted = {"seed": RELEASED_SEED, "first": 0}
    wanted |= {} if plan is None else {"count": plan.count, "of": plan.count}
    for name, value in wanted.items():
        if manifest.get(name) != value:
            return f"its {name} is {manifest.get(name)}, not {value}"
    hashes = manifest.get("sha256") or {}
    others = [name for name, digest in RELEASED_SHA256.items() if hashes.get(name) != digest]
    made_on = ", ".join(map(str, manifest.get("processors", ["unknown"])))
    return (
        f"it has the same recipe and seed, but other {' and '.join(others)}: it was made on "
        f"{made_on}, the released one on {RELEASED_PROCESSOR}"
    )


def _differences(found: object, wanted: object, where: str) -> Iterator[str]:
    """Yield `name is this, not that` for each setting in which two nested tables differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in dict.fromkeys([*wanted, *found]):
            inner = f"{where}.{name}" if where else str(name)
            yield from _differences(found.get(name), wanted.get(name), inner)
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _differences(one, other, f"{where}.{place}")
    elif found != wanted:
        yield f"{where} is {found!s:.40}, not {wanted!s:.40}"


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
    """The result of `verify`."""

    rule: Rule | None  # how images simulated again were compared; None without any
    reason: str  # why that rule applies
    # number of images hashed, and of those simulated again
    images: int
    simulated: int
    problems: tuple[str, ...]  # one line each; empty if the data set matches its manifest


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

    `advance`: called with the number of further images hashed.

    Raises `DatasetError`: the file cannot be read.
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
            experiment = experiment_from(data.manifest["experiment"], where="its experiment")
            work = partial(_simulate, experiment, data.manifest["seed"])
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
    wanted = {
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
    return [f"its manifest lacks {', '.join(missing)}"] if missing else []


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
