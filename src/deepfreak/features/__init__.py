"""Feature extractors: from an image to a vector for classifiers without convolutions.

An extractor is a frozen dataclass of settings that is called with an image. `extract` runs it on
many images, `FeatureCache` caches the results, and `extractor_from` makes the extractor of a
model's manifest. Fitting `SIFT` gives the extractor `VisualWords`.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from deepfreak.errors import InputError, ModelError
from deepfreak.features.cache import FeatureCache
from deepfreak.features.diffraction import Diffraction
from deepfreak.features.extraction import Extractor, Images, extract
from deepfreak.features.glcm import GLCM
from deepfreak.features.lbp import LBP
from deepfreak.features.sift import SIFT, VisualWords
from deepfreak.settings import one_line

__all__ = [
    "GLCM",
    "LBP",
    "SIFT",
    "Diffraction",
    "Extractor",
    "FeatureCache",
    "Images",
    "VisualWords",
    "extract",
    "extractor_from",
]


_EXTRACTORS: dict[str, type[Extractor]] = {
    each.name: each for each in (GLCM, LBP, VisualWords, Diffraction)
}


def extractor_from(
    settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
) -> Extractor:
    """Return the extractor with the `settings` and `arrays` of a model's file.

    `ModelError` if it is unknown to this version, or its settings or arrays are wrong.
    """
    name = settings.get("extractor")
    extractor = _EXTRACTORS.get(str(name))
    if extractor is None:
        raise ModelError(
            f"expected one of the feature extractors {', '.join(_EXTRACTORS)}, found {name!r}: "
            "use the version of deepfreak that made this model, or train it again"
        )
    try:
        return extractor.from_settings(settings, arrays or {})
    except (InputError, TypeError, ValueError, KeyError) as error:
        why = one_line(error) if isinstance(error, ValidationError) else str(error)
        raise ModelError(
            f"the {name} extractor's settings in the model are wrong: {why}"
        ) from error
