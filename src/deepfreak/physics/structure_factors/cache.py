"""Computed structure factors in a keyed cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.physics.structure_factors.factors import StructureFactors
from deepfreak.storage.cache import KeyedCache, key_of
from deepfreak.storage.files import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Increase it when the same settings give other numbers or the layout of the file changes.
GENERATION = 5


def cached(
    settings: Mapping[str, Any], compute: Callable[[], StructureFactors]
) -> StructureFactors:
    """Return the structure factors of `settings`, from the cache or from `compute`.

    Parameters
    ----------
    settings
        All that determines the numbers, as JSON values; for files, the hash of their content.
    """
    folder = cache_folder()
    cache = KeyedCache(None if folder is None else folder / "structure_factors", ".npz")
    key = key_of({"generation": GENERATION, **settings})
    stored = cache.load_arrays(key)
    if stored is not None:
        return _unpack(stored)
    factors = compute()
    cache.store_arrays(key, _pack(factors))
    return factors


def _pack(factors: StructureFactors) -> dict[str, NDArray[Any]]:
    """Return the arrays as they are, and all other fields as the JSON text "about"."""
    fields = {name: getattr(factors, name) for name in StructureFactors.__dataclass_fields__}
    arrays = {name: fields.pop(name) for name in ("F", "lost")}
    return {**arrays, "about": np.array(json.dumps(fields))}


def _unpack(arrays: Mapping[str, NDArray[Any]]) -> StructureFactors:
    """Return what `_pack` packed; JSON makes lists of tuples."""
    about = json.loads(str(arrays["about"]))
    about["composition"] = tuple(map(tuple, about["composition"]))
    for name in ("hkl_min", "cell"):
        about[name] = tuple(about[name])
    return StructureFactors(F=arrays["F"], lost=arrays["lost"], **about)
