"""A model of evidence as manifest and arrays: a folder of arrays for each ensemble."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from deepfreak.errors import ModelError
from deepfreak.models.archive import Arrays
from deepfreak.models.evidence_model import EvidenceModel, Opinion, numbers_of_image
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.vector_model import probe
from deepfreak.storage.files import versions

KIND = "evidence"
_HEADS = ("crystal", "second")
# Another processor may take a peak more or less: numbers of peaks are logarithms.
_NUMBERS_TOLERANCE = 0.05
_OUTPUTS_TOLERANCE = 1e-9


def evidence_model_parts(model: EvidenceModel) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """Return manifest and arrays of `model`.

    The manifest holds the evidence of `probe` and the model's output for it, by which a loaded file
    is checked.
    """
    found = numbers_of_image(probe())
    manifest = {
        **model.manifest,
        "classes": list(model.classes),
        "hit_share": model.hit_share,
        "heads": {name: list(head.names) for name, head in model.heads.items()},
        "sha256": model.fingerprint(),
        "versions": versions("numpy", "numba", "scipy"),
        "check": {"numbers": found, "answers": _outputs(model.opinion(found))},
    }
    return manifest, {name: head.arrays() for name, head in model.heads.items()}


def evidence_model_from(manifest: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> EvidenceModel:
    """Return the model of a file.

    Raises
    ------
    ModelError
        A part is missing or does not fit, it gives other probabilities than the manifest records,
        or this version finds other evidence than the one that made it.
    """
    heads, share = manifest.get("heads"), manifest.get("hit_share")
    if (
        not isinstance(heads, dict)
        or tuple(heads) != _HEADS
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
    outputs = np.array(_outputs(model.opinion(recorded)))
    if outputs.shape != expected.shape or not np.allclose(
        outputs, expected, rtol=0, atol=_OUTPUTS_TOLERANCE
    ):
        raise ModelError(
            "expected the recorded probabilities, found others: do not use this file, or train it "
            "again"
        )


def _outputs(opinion: Opinion) -> list[float]:
    return [opinion.p_crystal, opinion.second, *opinion.probabilities.values()]
