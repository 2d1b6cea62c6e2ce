"""Compare the radial curve of Wilson statistics with that of an atomic model in solvent.

    python benchmarks/wilson_against_model.py MODEL.pdb.gz --atoms 52000 --B 30 --png curve.png

Both are computed in the model's cell. For each resolution shell the table shows <F^2> per volume of
the cell (electrons^2/A^3) and the ratio of the two.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from deepfreak.physics.structure_factors import StructureFactors
from deepfreak.physics.structure_factors.model import from_model, read_coordinates
from deepfreak.physics.structure_factors.wilson import wilson

SHELL_LIMITS_A = (60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.6, 3.2, 2.9, 2.6, 2.4, 2.2, 2, 1.8)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    structure = read_coordinates(options.model)
    atoms = options.atoms or round(sum(site.atom.occ for site in structure[0].all()))
    model = from_model(
        options.model,
        d_min_A=options.d_min,
        k_sol=options.model_k_sol,
        B_sol_A2=options.model_B_sol,
    )
    random = wilson(
        cell=model.cell,
        space_group=model.space_group,
        atoms_per_asu=atoms,
        B_A2=options.B,
        k_sol=options.k_sol,
        B_sol_A2=options.B_sol,
        d_min_A=options.d_min,
        seed=0,
    )
    edges = [d for d in SHELL_LIMITS_A if d > options.d_min] + [options.d_min]
    of_model, of_random = (radial_curve(factors, edges) for factors in (model, random))
    print(f"model:  {model.source}")
    print(f"wilson: {random.source}")
    print("| shell (A) | model | Wilson | Wilson/model |")
    print("|---|---|---|---|")
    for outer, inner, m, w in zip(edges[:-1], edges[1:], of_model, of_random, strict=True):
        print(f"| {outer:g} - {inner:g} | {m:.3f} | {w:.3f} | {w / m:.2f} |")
    if options.png:
        draw(edges, of_model, of_random, options.png)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="PDB or mmCIF file")
    parser.add_argument("--d-min", type=float, default=2.2, help="angstrom")
    parser.add_argument(
        "--atoms", type=int, help="atoms per asymmetric unit (default: those of the model)"
    )
    parser.add_argument("--B", type=float, default=30.0, help="Wilson's overall B (A^2)")
    parser.add_argument("--k-sol", type=float, default=0.75, help="Wilson's damping")
    parser.add_argument("--B-sol", type=float, default=200.0, help="Wilson's damping (A^2)")
    parser.add_argument("--model-k-sol", type=float, default=0.35, help="electrons/A^3")
    parser.add_argument("--model-B-sol", type=float, default=46.0, help="A^2")
    parser.add_argument("--png", type=Path, help="also plot the curves to this file")
    return parser.parse_args(arguments)


def radial_curve(factors: StructureFactors, edges_A: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return <F^2>/V in each shell between `edges_A`, over the reflections present."""
    hkl = np.argwhere(factors.F).astype(np.int32) + np.array(factors.hkl_min, dtype=np.int32)
    cell = gemmi.UnitCell(*factors.cell)
    shell = np.digitize(cell.calculate_d_array(hkl), edges_A)
    F2 = factors.F[factors.F != 0].astype(np.float64) ** 2
    count = np.bincount(shell, minlength=len(edges_A) + 1)[1:-1]
    total = np.bincount(shell, weights=F2, minlength=len(edges_A) + 1)[1:-1]
    return total / np.maximum(count, 1) / cell.volume


def draw(
    edges_A: Sequence[float],
    of_model: npt.NDArray[np.float64],
    of_random: npt.NDArray[np.float64],
    path: Path,
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    d_star = 1 / np.array(edges_A)
    middle = (d_star[1:] + d_star[:-1]) / 2
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.semilogy(middle, of_model, "o-", label="model in bulk solvent")
    axes.semilogy(middle, of_random, "s--", label="Wilson statistics")
    axes.set(xlabel="1/d (1/A)", ylabel="<F^2> / cell volume (electrons^2/A^3)")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
