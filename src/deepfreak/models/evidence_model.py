"""The model that screens frames: from evidence to the probability of diffraction; and its file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import GROUPS
from deepfreak.errors import ModelError
from deepfreak.evidence import find_evidence, numbers
from deepfreak.features.extraction import in_threads
from deepfreak.formats.frame import Frame
from deepfreak.models.archive import Arrays
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.vector_model import probe
from deepfreak.storage.files import versions

# A frame is unlike the training frames from this distance outside their range, in its width.
UNLIKE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """The output of a model for one frame's evidence.

    `p_crystal` is the probability that the frame is a hit, `second` that of the second opinion,
    `probabilities` are by class in the model's order. `farthest` names the number farthest outside
    the range of the training frames, and `unlike` says how far, in the width of that range; 0 where
    all are inside.
    """

    p_crystal: float
    second: float
    probabilities: dict[str, float]
    unlike: float
    farthest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvidenceModel:
    """Two ensembles over the evidence's numbers; a `Classifier` of images too.

    `crystal` and `second` have one output each: log-odds of crystal diffraction, and a second
    opinion from fewer numbers. `hit_share` is the share of hits for which `p_crystal` is right: at
    a share r the odds are (r / (1 - r)) / (hit_share / (1 - hit_share)) times as large. `manifest`
    holds JSON values: where the model comes from.
    """

    kind: ClassVar[str] = "evidence"

    crystal: Perceptrons
    second: Perceptrons
    hit_share: float = 0.5
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the columns of `probabilities`: those of real images."""
        return GROUPS

    @property
    def heads(self) -> dict[str, Perceptrons]:
        """The ensembles by name."""
        return {"crystal": self.crystal, "second": self.second}

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""
        return f"evidence {self.fingerprint()[:8]}"

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the probabilities."""
        parts = [head.fingerprint() for head in self.heads.values()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def parts(self) -> tuple[dict[str, Any], dict[str, Arrays]]:
        """Return manifest and arrays of a model file.

        The manifest holds the evidence of `probe` and the model's output for it, by which a loaded
        file is checked.
        """
        found = numbers_of_image(probe())
        manifest = {
            **self.manifest,
            "classes": list(self.classes),
            "hit_share": self.hit_share,
            "heads": {name: list(head.names) for name, head in self.heads.items()},
            "sha256": self.fingerprint(),
            "versions": versions("numpy", "numba", "scipy"),
            "check": {"numbers": found, "answers": _answers(self.opinion(found))},
        }
        return manifest, {name: head.arrays() for name, head in self.heads.items()}

    def opinion(self, found: Mapping[str, float]) -> Opinion:
        """Return the opinion on one frame's numbers; `ModelError` if one is missing."""
        names = tuple(found)
        values = np.array([list(found.values())], dtype=np.float64)
        far = {
            name: float(beyond)
            for head in self.heads.values()
            for name, beyond in zip(
                head.names, head.beyond(values[:, head.columns(names)])[0], strict=True
            )
        }
        farthest = max(far, key=far.__getitem__)
        (row,) = self.by_class(names, values)
        return Opinion(
            p_crystal=float(self.p_crystal(names, values)[0]),
            second=float(self.p_second(names, values)[0]),
            probabilities=dict(zip(self.classes, map(float, row), strict=True)),
            unlike=far[farthest],
            farthest=farthest,
        )

    def unlike(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `Opinion.unlike` (n,) from a table (n, k) of `names`."""
        far = [
            head.beyond(values[:, head.columns(names)]).max(axis=1) for head in self.heads.values()
        ]
        most: NDArray[np.float64] = np.max(far, axis=0)
        return most

    def p_crystal(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of crystal diffraction (n,) from a table (n, k) of `names`."""
        return _probability(self.crystal, names, values)

    def p_second(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the second opinion (n,) from a table (n, k) of `names`."""
        return _probability(self.second, names, values)

    def by_class(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n, 2) of `classes` from a table (n, k) of `names`."""
        p_crystal = self.p_crystal(names, values)
        return np.stack([1 - p_crystal, p_crystal], axis=1)

    def probabilities(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, *, workers: int = 1
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, 2) of images of unknown gain; see `Classifier`."""
        if not len(images):
            return np.empty((0, len(self.classes)))
        return self.by_class(*measured_images(images, valid, workers=workers))


def measured_images(
    images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, *, workers: int = 1
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names of the evidence's numbers, and a table (n, k), of images of unknown gain."""

    def found(index: int) -> dict[str, float]:
        measured = None if valid is None else np.asarray(valid[index], np.bool_)
        return numbers_of_image(np.asarray(images[index]), measured)

    rows = list(in_threads(found, range(len(images)), workers=workers))
    return tuple(rows[0]), np.array([list(row.values()) for row in rows], dtype=np.float64)


def numbers_of_image(
    image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Return the evidence's numbers of an image [slow, fast], as a frame of unknown gain."""
    measured = np.ones(image.shape, np.bool_) if valid is None else valid
    return numbers(find_evidence(Frame(file="", index=0, counts=image, valid=measured)))


def _probability(
    head: Perceptrons, names: Sequence[str], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-odds)) (n,), without overflow."""
    odds = head.outputs(values[:, head.columns(names)])[:, 0]
    if not np.isfinite(odds).all():
        raise ModelError("expected finite numbers of evidence, found others: leave this frame out")
    found: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -odds))
    return found


# Another processor may take a peak more or less: numbers of peaks are logarithms.
_NUMBERS_TOLERANCE = 0.05
_OUTPUTS_TOLERANCE = 1e-9


def evidence_model_from(manifest: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> EvidenceModel:
    """Return the model of a file.

    Raises `ModelError` if a part is missing or does not fit, it gives other probabilities than
    the manifest records, or this version finds other evidence than the one that made it.
    """
    heads, share = manifest.get("heads"), manifest.get("hit_share")
    if (
        not isinstance(heads, dict)
        or tuple(heads) != ("crystal", "second")
        or not isinstance(share, float)
        or not 0 < share < 1
    ):
        raise ModelError("expected a complete manifest, found one without its parts: train again")
    model = EvidenceModel(
        **{name: _head(name, arrays.get(name, {}), heads[name]) for name in heads},
        hit_share=share,
        manifest=manifest,
    )
    if model.fingerprint() != manifest.get("sha256"):
        raise ModelError("expected the model that its manifest names, found another: do not use it")
    _check_outputs(model, manifest.get("check"))
    return model


def _head(name: str, arrays: Arrays, names: object) -> Perceptrons:
    """Return the ensemble `name` of a file, over the numbers of these `names`."""
    if (
        not isinstance(names, list)
        or not all(isinstance(each, str) for each in names)
        or not 1 <= len(set(names)) == len(names)
    ):
        raise ModelError(
            f"expected names of numbers for {name}, found names that do not fit: do not use this "
            "file"
        )
    return Perceptrons.from_arrays(arrays, names=names, outputs=1)


def _check_outputs(model: EvidenceModel, check: object) -> None:
    """Raise `ModelError` unless evidence and probabilities are those that the manifest records."""
    try:
        recorded = {name: float(value) for name, value in check["numbers"].items()}  # type: ignore[index]
        expected = np.asarray(check["answers"], np.float64)  # type: ignore[index]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("expected recorded probabilities, found others: train it again") from error
    found = numbers_of_image(probe())
    taken = sorted({name for head in model.heads.values() for name in head.names})
    alike = all(
        name in found
        and name in recorded
        and abs(found[name] - recorded[name]) <= _NUMBERS_TOLERANCE
        for name in taken
    )
    if not alike:
        raise ModelError(
            "expected a model of the evidence that this version finds, found one of other "
            "evidence: train it again, or use the version of deepfreak that made it"
        )
    outputs = np.array(_answers(model.opinion(recorded)))
    if outputs.shape != expected.shape or not np.allclose(
        outputs, expected, rtol=0, atol=_OUTPUTS_TOLERANCE
    ):
        raise ModelError(
            "expected the recorded probabilities, found others: do not use this file, or train it "
            "again"
        )


def _answers(opinion: Opinion) -> list[float]:
    return [opinion.p_crystal, opinion.second, *opinion.probabilities.values()]
