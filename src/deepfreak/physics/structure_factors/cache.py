"""Computed structure factors kept on disk, each file verified by its checksum."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.physics.structure_factors.factors import StructureFactors
from deepfreak.storage.files import cache_folder, written_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# To be raised when the same settings give other numbers, or the file another layout, than before.
GENERATION = 4
DIGEST_BYTES = hashlib.sha256().digest_size


def cached(
    settings: Mapping[str, Any], compute: Callable[[], StructureFactors]
) -> StructureFactors:
    """Return the structure factors of `settings`, from disk if an intact copy is there.

    Otherwise they are computed and stored. A damaged file counts as none, and a folder that cannot
    be written only costs the time. Processes may do this at once: a file appears whole or not at
    all, and all of them would write the same.

    Parameters
    ----------
    settings
        All that decides the numbers, as plain values; of files, their content's hash.
    compute
        Called without arguments when there is no copy.
    """
    folder = cache_folder()
    if folder is None:
        return compute()
    path = folder / "structure_factors" / f"{_key(settings)}.npz"
    factors = _load(path)
    if factors is None:
        factors = compute()
        with suppress(OSError):
            _store(factors, path)
    return factors


def _key(settings: Mapping[str, Any]) -> str:
    text = json.dumps({"generation": GENERATION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _store(factors: StructureFactors, path: Path) -> None:
    """Write an .npz file followed by the SHA-256 of all its bytes."""
    about = {
        "hkl_min": factors.hkl_min,
        "cell": factors.cell,
        "space_group": factors.space_group,
        "d_min_A": factors.d_min_A,
        "source": factors.source,
        "default_F": factors.default_F,
        "composition": factors.composition,
    }
    content = io.BytesIO()
    np.savez(content, F=factors.F, lost=factors.lost, about=np.array(json.dumps(about)))
    with written_whole(path) as file:
        file.write(content.getbuffer())
        file.write(hashlib.sha256(content.getbuffer()).digest())


def _load(path: Path) -> StructureFactors | None:
    """Return what `_store` wrote, or None if nothing intact is there."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body, digest = memoryview(content)[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    # Nothing of the file is looked at before it has proved to be what was written.
    if hashlib.sha256(body).digest() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        return StructureFactors(
            F=arrays["F"],
            lost=arrays["lost"],
            hkl_min=tuple(about.pop("hkl_min")),
            cell=tuple(about.pop("cell")),
            composition=tuple((element, count) for element, count in about.pop("composition")),
            **about,
        )
