"""Where a crystal's structure factors come from: the settings, and the one way to get them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.factors import StructureFactors
from deepfreak.physics.structure_factors.model import from_model
from deepfreak.physics.structure_factors.reflections import from_hkl_text, from_mtz
from deepfreak.physics.structure_factors.wilson import wilson
from deepfreak.storage.cache import KeyedCache, key_of
from deepfreak.storage.files import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Increase it when the same settings give other numbers or the layout of the file changes.
GENERATION = 5

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
PDB_PREFIX = "pdb:"
# So many random amplitudes, or fewer, are not worth a file in the cache.
FEW_REFLECTIONS = 500_000
# Electrons: less than a hundredth of what one hydrogen atom scatters is what rounding leaves.
MIN_AMPLITUDE = 0.01
Cell = tuple[float, float, float, float, float, float]


def cached(
    settings: Mapping[str, Any], compute: Callable[[], StructureFactors]
) -> StructureFactors:
    """Return the structure factors of `settings`, from the cache or from `compute`.

    `settings` are all that determines the numbers, as JSON values; for files, the hash of their
    content.
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


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Wilson:
    """Random amplitudes with the statistics of a protein crystal; see `wilson.wilson`."""

    kind: Literal["wilson"] = "wilson"
    cell: Cell
    space_group: str
    atoms_per_asu: int = Field(ge=1)
    B_A2: float = Field(ge=0)
    k_sol: float = Field(default=0.75, ge=0, le=1)
    B_sol_A2: float = Field(default=200.0, ge=0)
    seed: int = Field(ge=0, lt=2**64)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Model:
    """Amplitudes of an atomic model in bulk solvent; see `model.from_model`.

    `file` is a PDB or mmCIF file, or `pdb:ID` for the one that `deepfreak data fetch ID` stored.
    """

    kind: Literal["model"] = "model"
    file: str
    k_sol: float = Field(default=0.35, ge=0)
    B_sol_A2: float = Field(default=46.0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Reflections:
    """Amplitudes listed in an MTZ or `h k l F` file; see `reflections`.

    `column` belongs to MTZ files; `cell` and `space_group` to text, which names neither.
    """

    kind: Literal["reflections"] = "reflections"
    file: str
    column: str | None = None
    cell: Cell | None = None
    space_group: str | None = None
    default_F: float = Field(default=0.0, ge=0)


StructureSource = Annotated[Wilson | Model | Reflections, Field(discriminator="kind")]


def source_of_file(file: str) -> Model | Reflections:
    """Return the source that a file, or `pdb:ID`, named without further settings stands for."""
    is_list = not file.startswith(PDB_PREFIX) and Path(file).suffix.lower() in {".mtz", ".hkl"}
    return Reflections(file=file) if is_list else Model(file=file)


def structure_factors_for(source: Wilson | Model | Reflections, d_min_A: float) -> StructureFactors:
    """Return the structure factors of a source, from the cache where it has been computed before.

    A relative `file` of the source is looked for in the current directory. `d_min_A` limits what is
    computed; a file of reflections is used as far as it goes.
    Raises `StructureError` when the source cannot be used, or nothing of it diffracts as far as
    `d_min_A`.
    """
    settings = asdict(source)
    compute: Callable[[], StructureFactors]
    match source:
        case Wilson():
            settings["d_min_A"] = d_min_A
            compute = partial(wilson, **{k: v for k, v in settings.items() if k != "kind"})
            if prod(source.cell[:3]) < FEW_REFLECTIONS * d_min_A**3:
                # as quick as reading a file, of which there could be thousands
                return _diffracting(compute(), d_min_A, faintest=MIN_AMPLITUDE)
        case Model():
            path = _coordinate_file(source.file)
            settings |= {"d_min_A": d_min_A, "file": path.name, "content": _content_hash(path)}
            solvent = {"k_sol": source.k_sol, "B_sol_A2": source.B_sol_A2}
            compute = partial(from_model, path, d_min_A=d_min_A, **solvent)
        case Reflections():
            path = Path(source.file)
            settings |= {"file": path.name, "content": _content_hash(path)}
            compute = partial(_reflections, source, path)
    # lists may be on any scale
    faintest = 0.0 if isinstance(source, Reflections) else MIN_AMPLITUDE
    return _diffracting(cached(settings, compute), d_min_A, faintest=faintest)


def _diffracting(factors: StructureFactors, d_min_A: float, *, faintest: float) -> StructureFactors:
    """Return `factors` if one of them to `d_min_A` is above `faintest`, else refuse them."""
    import gemmi

    F = factors.F
    if factors.default_F > faintest or not F.size:
        return factors
    cell = gemmi.UnitCell(*factors.cell)
    middle = -np.array(factors.hkl_min)

    def reachable(hkl: NDArray[np.int64]) -> NDArray[np.bool_]:
        inverse_d2 = cell.calculate_1_d2_array(hkl.astype(np.int32))
        return (inverse_d2 > 0) & (inverse_d2 * d_min_A**2 <= 1)

    strongest = np.array(np.unravel_index(F.argmax(), F.shape)) - middle
    if F.max() > faintest and reachable(strongest[None]).any():
        return factors
    # one plane of h at a time bounds the memory
    for h, plane in enumerate(F):
        kl = np.argwhere(plane > faintest)
        if reachable(np.column_stack([np.full(len(kl), h), kl]) - middle).any():
            return factors
    raise StructureError(
        f"{factors.source}: expected amplitudes above 0 to d = {d_min_A:g} A, found none, so that "
        "nothing would be diffracted; check the occupancies, the column or the cell"
    )


def _reflections(source: Reflections, path: Path) -> StructureFactors:
    if path.suffix.lower() == ".mtz":
        if source.cell is not None or source.space_group is not None:
            raise StructureError(
                f"{path}: an MTZ file carries its own cell and space group; leave yours out"
            )
        return from_mtz(path, column=source.column, default_F=source.default_F)
    if source.column is not None:
        raise StructureError(f"{path}: expected an MTZ file for column {source.column!r}")
    if source.cell is None:
        raise StructureError(
            f"{path}: a list of h k l F names no cell; give `cell` (and `space_group`) beside it"
        )
    return from_hkl_text(
        path,
        cell=source.cell,
        space_group=source.space_group or "P 1",
        default_F=source.default_F,
    )


def _coordinate_file(file: str) -> Path:
    """Return the path that `file` means; `pdb:ID` is the entry fetched before."""
    if not file.startswith(PDB_PREFIX):
        return Path(file)
    from deepfreak.physics.structure_factors.archive import entry_path

    pdb_id = file.removeprefix(PDB_PREFIX)
    path = entry_path(pdb_id)
    if not path.exists():
        raise StructureError(
            f"expected the coordinates of {pdb_id} in {path.parent}, found none; "
            f"run `deepfreak data fetch {pdb_id}`"
        )
    return path


def _content_hash(path: Path) -> str:
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise StructureError(f"{path}: cannot be read: {error.strerror or error}") from error
