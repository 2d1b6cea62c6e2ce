"""Structure factors from files of reflections: MTZ, and nanoBragg's list of h k l F."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.factors import (
    StructureFactors,
    check_box,
    expand_to_p1,
)
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import gemmi
    import numpy.typing as npt

MAX_FILE_BYTES = 2 * 1024**3
# Calculated amplitudes are complete and on absolute scale, so they go before observed ones.
AMPLITUDE_LABELS = ("FMODEL", "F-MODEL", "FC", "F", "FP", "FOBS", "F-OBS")
PLUS, MINUS = "(+)", "(-)"


def from_mtz(path: Path, *, column: str | None = None, default_F: float = 0.0) -> StructureFactors:
    """Read amplitudes from an MTZ file and expand them to P1.

    Raises `StructureError` when the file cannot be used, or the choice of a column is not clear;
    the message lists the candidates. Observed amplitudes are rarely on absolute scale; they are
    taken as they stand.

    The cell is that of the column's data set where it is known, else that of the whole file.
    `column` is the label of the amplitudes; for an anomalous pair `NAME(+)`, `NAME(-)` the label of
    either or the bare NAME. None takes the first of FMODEL, F-MODEL, FC, F, FP, FOBS, F-OBS that is
    there, else the only one. `default_F` is that of reflections that the file does not list.
    """
    import gemmi

    _check_size(path)
    try:
        mtz = gemmi.read_mtz_file(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise StructureError(f"{path}: expected an MTZ file, but {error}") from error
    if mtz.spacegroup is None:
        # An MTZ keeps its header at its end.
        raise StructureError(
            f"{path}: expected an MTZ file with a space group, found none; is it cut off?"
        )
    labels = _amplitude_labels(mtz, column, path)
    columns = [mtz.column_with_label(label) for label in labels]
    own = mtz.dataset(columns[0].dataset_id).cell.parameters
    known = min(own[:3]) > 0 and max(own[:3]) > 1
    try:
        cell, group = crystal_symmetry(own if known else mtz.cell.parameters, mtz.spacegroup.xhm())
    except StructureError as error:
        raise StructureError(f"{path}: {error}") from None
    hkl = mtz.make_miller_array()
    # The second label of a pair belongs to the Friedel mates.
    listed = np.concatenate([hkl, -hkl]) if len(labels) == 2 else hkl
    F = np.concatenate([column.array for column in columns])
    # VALM names a number that stands for a missing one, beside NaN
    measured = ~(np.isnan(F) | (np.float32(mtz.valm) == F))
    return _expand_checked(
        listed[measured],
        F[measured].astype(np.float64),
        path=path,
        cell=cell,
        group=group,
        source=f"{path.name}, column {', '.join(labels)}",
        default_F=default_F,
    )


def from_hkl_text(
    path: Path, *, cell: Sequence[float], space_group: str = "P 1", default_F: float = 0.0
) -> StructureFactors:
    """Read nanoBragg's text, `h k l F` a line, and expand it to P1.

    Blank lines and what follows a `#` are skipped. A reflection given twice has its last value.
    Raises `StructureError` for a line that does not hold three integers and an amplitude, with its
    number.

    The file names no cell (a, b, c in angstrom and alpha, beta, gamma in degrees) and no space
    group, by which the list is expanded: "P 1" when every equivalent is listed. `default_F` is the
    amplitude in electrons of reflections that the file does not list.
    """
    _check_size(path)
    unit_cell, group = crystal_symmetry(cell, space_group)
    table = _read_table(path)
    return _expand_checked(
        table[:, :3],
        table[:, 3],
        path=path,
        cell=unit_cell,
        group=group,
        source=f"{path.name}, {len(table)} reflections",
        default_F=default_F,
    )


def _expand_checked(
    hkl: npt.NDArray[np.number],
    F: npt.NDArray[np.float64],
    *,
    path: Path,
    cell: gemmi.UnitCell,
    group: gemmi.SpaceGroup,
    source: str,
    default_F: float,
) -> StructureFactors:
    """Expand what a file lists, once its amplitudes and the size of its box make sense."""
    if not len(hkl):
        raise StructureError(f"{path}: expected reflections, found none")
    if not (np.isfinite(F).all() and F.min() >= 0):
        worst = F[~(np.isfinite(F) & (F >= 0))][0]
        raise StructureError(f"{path}: expected amplitudes of 0 or more, found {worst:g}")
    try:
        check_box(np.abs(hkl).max(axis=0).tolist(), what="the file")
        indices = hkl.astype(np.int32)
        d_min_A = float(1 / np.sqrt(cell.calculate_1_d2_array(indices).max(initial=1e-12)))
        return expand_to_p1(
            indices, F, cell=cell, group=group, d_min_A=d_min_A, source=source, default_F=default_F
        )
    except StructureError as error:
        raise StructureError(f"{path}: {error}") from None


def _amplitude_labels(mtz: gemmi.Mtz, column: str | None, path: Path) -> tuple[str, ...]:
    """Return the label of the amplitudes, or the two of an anomalous pair, (+) first."""
    present = [c.label for c in mtz.columns if c.type in "FG"]
    # A pair is offered under one name, that of its (+) half.
    names: dict[str, tuple[str, ...]] = {
        label.replace(PLUS, ""): (label, label.replace(PLUS, MINUS))
        for label in present
        if PLUS in label and label.replace(PLUS, MINUS) in present
    }
    paired = {label for pair in names.values() for label in pair}
    names |= {label: (label,) for label in present if label not in paired}
    if not names:
        raise StructureError(
            f"{path}: expected a column of amplitudes (type F or G), found only "
            f"{', '.join(c.label for c in mtz.columns)}; convert intensities to amplitudes first"
        )
    if column is not None:
        wanted = column.replace(PLUS, "").replace(MINUS, "") if column in paired else column
        if wanted in names:
            return names[wanted]
        raise StructureError(
            f"{path}: expected amplitudes in column {column!r}, found {', '.join(names)}; "
            "name one of these"
        )
    upper = {name.upper(): name for name in reversed(names)}
    for label in AMPLITUDE_LABELS:
        if label in upper:
            return names[upper[label]]
    if len(names) > 1:
        raise StructureError(
            f"{path}: expected one column of amplitudes, found {', '.join(names)}; "
            "name the one to use"
        )
    return next(iter(names.values()))


def _read_table(path: Path) -> npt.NDArray[np.float64]:
    """Return the (n, 4) numbers of a text file; three columns are whole."""
    import warnings

    try:
        with path.open(encoding="utf-8") as lines, warnings.catch_warnings():
            # An empty list gets an error message below.
            warnings.filterwarnings("ignore", message=".*input contained no data")
            table = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except OSError as error:
        raise StructureError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError:
        table = np.empty((0, 0))
    if table.ndim == 2 and table.shape[1] == 4 and np.all(table[:, :3] == np.rint(table[:, :3])):
        return table
    # numpy counts rows, not lines; only a file that failed is read again to find the line.
    raise StructureError(_first_bad_line(path))


def _first_bad_line(path: Path) -> str:
    """Say which line of a list of reflections cannot be used."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.partition("#")[0].split()
            if words and not _is_reflection(words):
                return (
                    f"{path}, line {number}: expected 'h k l F' with whole h, k, l, "
                    f"found {line.strip()[:60]!r}"
                )
    return f"{path}: expected lines 'h k l F', found none"


def _is_reflection(words: Sequence[str]) -> bool:
    try:
        h, k, l, _ = (float(word) for word in words)
    except ValueError:
        return False
    return all(index.is_integer() for index in (h, k, l))


def _check_size(path: Path) -> None:
    """Raise `StructureError` for a file that is missing or too large to be one of reflections."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StructureError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size > MAX_FILE_BYTES:
        raise StructureError(
            f"{path}: expected at most {MAX_FILE_BYTES / 1e9:.1f} GB of reflections, "
            f"found {size / 1e9:.1f} GB"
        )
