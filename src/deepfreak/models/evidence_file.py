"""A model of evidence as members of a model file: arrays, and a manifest of JSON.

The arrays of each ensemble (`crystal` and `second`, see `perceptron_file`) lie in a folder of its
name. The manifest names its numbers.
"""

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.models.archive import read_arrays, write_arrays
from deepfreak.models.evidence_model import EvidenceModel, Opinion, numbers_of_image
from deepfreak.models.perceptron_file import arrays_of, perceptrons_from
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.vector_model import probe, versions

KIND = "evidence"
_FORMAT = 1
_HEADS = ("crystal", "second")
# Another processor may take a peak more or less: numbers of peaks are logarithms.
_NUMBERS_TOLERANCE = 0.05
_ANSWERS_TOLERANCE = 1e-9


def write_evidence_model(archive: zipfile.ZipFile, model: EvidenceModel) -> dict[str, Any]:
    """Write the arrays of `model` and return its manifest.

    The manifest holds the numbers of `probe` and the answers to them, by which a loaded file is
    checked.
    """
    for name, head in model.heads.items():
        write_arrays(archive, name, arrays_of(head))
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
        or tuple(heads) != _HEADS
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
    """Return the ensemble `name` of a file."""
    known: Mapping[str, Any] = facts if isinstance(facts, dict) else {}
    names = known.get("names")
    if (
        not isinstance(names, list)
        or not all(isinstance(each, str) for each in names)
        or not 1 <= len(set(names)) == len(names)
    ):
        raise ModelError(
            f"expected names of numbers for {name}, found names that do not fit: do not use this "
            "file"
        )
    activation = known.get("activation", "")
    return perceptrons_from(arrays, names=names, outputs=1, what=name, activation=activation)


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
