"""A model of evidence as members of a model file: arrays, and a manifest of JSON.

Of each ensemble (`crystal`, `second` and, if there is one, `grade`) the arrays `low`, `high`,
`mean`, `scale`, `slope`, `offset` and, for each layer, `weights_0`, `biases_0` lie in a folder of
its name. The manifest names its numbers.
"""

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.models.archive import read_arrays, write_arrays
from deepfreak.models.evidence_model import EvidenceModel, Opinion, numbers_of_image
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.vector_model import probe, versions

KIND = "evidence"
_FORMAT = 1
_HEADS = ("crystal", "second", "grade")
_OUTPUTS = {"crystal": 1, "second": 1, "grade": 5}
_SCALES = ("low", "high", "mean", "scale")
_CALIBRATION = ("slope", "offset")
_MAX_INPUTS, _MAX_WIDTH, _MAX_MEMBERS, _MAX_LAYERS = 1024, 512, 256, 3
_MAX_VALUE = 1e6
# Another processor may take a peak more or less: numbers of peaks are logarithms.
_NUMBERS_TOLERANCE = 0.05
_ANSWERS_TOLERANCE = 1e-9


def write_evidence_model(archive: zipfile.ZipFile, model: EvidenceModel) -> dict[str, Any]:
    """Write the arrays of `model` and return its manifest.

    The manifest holds the numbers of `probe` and the answers to them, by which a loaded file is
    checked.
    """
    for name, head in model.heads.items():
        arrays = {part: np.asarray(getattr(head, part)) for part in (*_SCALES, *_CALIBRATION)}
        for depth, (weights, biases) in enumerate(zip(head.weights, head.biases, strict=True)):
            arrays |= {f"weights_{depth}": weights, f"biases_{depth}": biases}
        write_arrays(archive, name, arrays)
    found = numbers_of_image(probe())
    return {
        **model.manifest,
        "kind": KIND,
        "format": _FORMAT,
        "classes": list(model.classes),
        "hit_share": model.hit_share,
        "heads": {
            name: {"names": list(head.names), "activation": head.activation}
            for name, head in model.heads.items()
        },
        "sha256": model.fingerprint(),
        "versions": versions(),
        "check": {"numbers": found, "answers": _answers(model.opinion(found))},
    }


def read_evidence_model(archive: zipfile.ZipFile, manifest: Mapping[str, Any]) -> EvidenceModel:
    """Return the model in an archive that was checked, with its `manifest`.

    Raises
    ------
    ModelError
        A part is missing or does not fit, it answers otherwise than it did, or this version finds
        other evidence than the one that made it.
    """
    heads, share = manifest.get("heads"), manifest.get("hit_share")
    if manifest.get("format") != _FORMAT:
        raise ModelError(
            f"expected a model of evidence of format {_FORMAT}, found "
            f"{manifest.get('format')!r}: use the version of deepfreak that made it"
        )
    if (
        not isinstance(heads, dict)
        or tuple(heads) not in (_HEADS[:2], _HEADS)
        or not isinstance(share, float)
        or not 0 < share < 1
    ):
        raise ModelError("expected a complete manifest, found one without its parts: train again")
    model = EvidenceModel(
        **{name: _head(name, read_arrays(archive, name), heads[name]) for name in heads},
        hit_share=share,
        manifest=manifest,
    )
    if model.fingerprint() != manifest.get("sha256"):
        raise ModelError("expected the model that its manifest names, found another: do not use it")
    _check_answers(model, manifest.get("check"))
    return model


def _head(name: str, arrays: dict[str, NDArray[Any]], facts: object) -> Perceptrons:
    """Return the ensemble `name` if its arrays fit one another and are finite and bounded."""
    known: Mapping[str, Any] = facts if isinstance(facts, dict) else {}
    names, activation = known.get("names", ()), known.get("activation", "")
    layers = sum(part.startswith("weights_") for part in arrays)
    weights = [arrays.get(f"weights_{depth}", np.empty(0)) for depth in range(layers)]
    biases = [arrays.get(f"biases_{depth}", np.empty(0)) for depth in range(layers)]
    sound = (
        isinstance(names, list)
        and all(isinstance(each, str) for each in names)
        and 1 <= len(set(names)) == len(names) <= _MAX_INPUTS
        and activation in {"tanh", "softplus"}
        and 1 <= layers <= _MAX_LAYERS
        and len(arrays) == len(_SCALES) + len(_CALIBRATION) + 2 * layers
        and all(arrays.get(part, np.empty(0)).shape == (len(names),) for part in _SCALES)
        and all(part in arrays and arrays[part].shape == () for part in _CALIBRATION)
        and _fit(weights, biases, inputs=len(names), outputs=_OUTPUTS[name])
        and all(
            array.dtype == np.float64
            and np.isfinite(array).all()
            and (np.abs(array) <= _MAX_VALUE).all()
            for array in arrays.values()
        )
        and (arrays["low"] <= arrays["high"]).all()
        and (arrays["scale"] >= 1 / _MAX_VALUE).all()
        and arrays["slope"] > 0
    )
    if not sound:
        raise ModelError(
            f"expected perceptrons for {name}, found arrays that do not fit one another or the "
            "manifest: do not use this file"
        )
    return Perceptrons(
        names=tuple(names),
        **{part: arrays[part] for part in _SCALES},
        weights=tuple(weights),
        biases=tuple(biases),
        activation=activation,
        slope=float(arrays["slope"]),
        offset=float(arrays["offset"]),
    )


def _fit(
    weights: list[NDArray[Any]], biases: list[NDArray[Any]], *, inputs: int, outputs: int
) -> bool:
    """Return whether each layer takes what the one before it gives."""
    members = len(weights[0])
    for matrix, bias in zip(weights, biases, strict=True):
        if matrix.ndim != 3 or matrix.shape[:2] != (members, inputs):
            return False
        inputs = matrix.shape[2]
        if bias.shape != (members, inputs) or not 1 <= inputs <= _MAX_WIDTH:
            return False
    return inputs == outputs and 1 <= members <= _MAX_MEMBERS


def _check_answers(model: EvidenceModel, check: object) -> None:
    """Raise `ModelError` unless evidence and answers are those that the manifest records."""
    try:
        recorded = {name: float(value) for name, value in check["numbers"].items()}  # type: ignore[index]
        expected = np.asarray(check["answers"], np.float64)  # type: ignore[index]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError("expected recorded answers, found others: train it again") from error
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
    answers = np.array(_answers(model.opinion(recorded)))
    if answers.shape != expected.shape or not np.allclose(
        answers, expected, rtol=0, atol=_ANSWERS_TOLERANCE
    ):
        raise ModelError(
            "expected the recorded answers, found others: do not use this file, or train it again"
        )


def _answers(opinion: Opinion) -> list[float]:
    return [opinion.p_crystal, opinion.second, *opinion.probabilities.values()]
