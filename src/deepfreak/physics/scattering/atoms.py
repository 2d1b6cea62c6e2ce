"""What one free atom scatters: elastically, f, and by Compton's effect, S."""

import numpy as np
from numpy.typing import NDArray

R_E_SQR_M2 = 7.94079248018965e-30  # classical electron radius squared
AVOGADRO = 6.02214179e23

Array = NDArray[np.float64]

# (a, b) of S(stol) = sum of a (1 - exp(-b stol^2)), where a sum to Z: Balyuzi's form (Acta Cryst.
# A31, 600, 1975), fitted by us to the tables of Hubbell et al. (J. Phys. Chem. Ref. Data 4, 471,
# 1975) at stol = 0.01 ... 2 1/A. Off by at most 0.3 % of Z below 1 1/A; K, Ca, Sr by 0.9 %.
INCOHERENT = {
    "H": ((0.124, 0.529, 0.317, 0.03), (92.68, 47.93, 22.6, 8.199)),
    "C": ((0.68, 3.173, 1.006, 1.141), (88.69, 21.26, 2.313, 0.7337)),
    "N": ((1.061, 3.419, 0.946, 1.574), (61.51, 17.73, 3.043, 0.6344)),
    "O": ((1.02, 4.014, 1.181, 1.785), (50.0, 14.03, 3.516, 0.5253)),
    "F": ((0.982, 4.288, 1.8, 1.93), (42.52, 11.7, 3.768, 0.4376)),
    "Na": ((1.011, 2.203, 5.457, 2.329), (299.9, 15.29, 4.171, 0.3426)),
    "Mg": ((1.985, 2.012, 5.598, 2.405), (182.1, 11.57, 3.26, 0.2922)),
    "P": ((1.669, 3.632, 6.531, 3.168), (119.7, 28.01, 2.352, 0.2527)),
    "S": ((1.801, 4.435, 6.47, 3.294), (95.78, 22.95, 1.991, 0.2298)),
    "Cl": ((1.898, 5.26, 6.387, 3.455), (79.77, 18.94, 1.724, 0.2134)),
    "K": ((1.223, 5.699, 5.795, 6.283), (388.0, 21.6, 3.139, 0.3416)),
    "Ca": ((2.214, 5.619, 5.74, 6.427), (273.9, 16.96, 2.717, 0.313)),
    "Mn": ((2.292, 4.317, 9.658, 8.733), (179.1, 18.27, 3.182, 0.2773)),
    "Fe": ((2.279, 4.476, 10.208, 9.037), (168.9, 17.42, 2.993, 0.2649)),
    "Co": ((2.269, 4.659, 10.73, 9.342), (159.8, 16.52, 2.807, 0.2534)),
    "Ni": ((2.264, 4.768, 11.29, 9.678), (151.5, 15.8, 2.631, 0.2435)),
    "Cu": ((1.383, 4.775, 12.469, 10.373), (163.4, 20.5, 2.717, 0.2464)),
    "Zn": ((2.26, 4.892, 12.443, 10.405), (137.0, 14.68, 2.316, 0.2268)),
    "Se": ((2.34, 5.95, 13.011, 12.699), (102.7, 18.71, 2.044, 0.2171)),
    "Br": ((2.405, 6.678, 12.891, 13.026), (91.54, 17.37, 1.892, 0.2084)),
    "Sr": ((2.481, 7.271, 11.97, 16.278), (297.1, 18.15, 2.242, 0.2307)),
    "I": ((2.527, 8.764, 18.839, 22.87), (119.4, 22.0, 2.051, 0.162)),
}


def coherent(element: str, stol: Array) -> Array:
    """Return f in electrons at `stol` in 1/A of a free atom (International Tables C 6.1.1)."""
    return coherent_at(element, stol**2)


def coherent_at(element: str, stol2: Array) -> Array:
    """Return what `coherent` does, at the squares of stol."""
    import gemmi

    table = gemmi.Element(_tabulated(element)).it92
    f = np.full_like(stol2, table.c)
    for a, b in zip(table.a, table.b, strict=True):
        f += a * np.exp(-b * stol2)
    return f


def incoherent(element: str, stol: Array) -> Array:
    """Return the incoherent intensity S in electrons^2 at `stol` in 1/A of a free atom.

    S rises from 0 to Z. Elements that proteins do not have get Z - f^2 / Z, which is up to twice
    too much. The recoil's loss of energy (1 % of the light at 45 degrees and 8 keV) is left out.
    """
    import gemmi

    symbol = _tabulated(element)
    if symbol not in INCOHERENT:
        Z = gemmi.Element(symbol).atomic_number
        return np.maximum(Z - coherent(symbol, stol) ** 2 / Z, 0.0)
    S = np.zeros_like(stol)
    for a, b in zip(*INCOHERENT[symbol], strict=True):
        S -= a * np.expm1(-b * stol**2)
    return S


def _tabulated(element: str) -> str:
    """Return the element whose tables are used for one.

    Deuterium scatters as hydrogen; what is unknown ("X"), or beyond the tables (from Es), as
    oxygen, as in gemmi's calculation of structure factors.
    """
    import gemmi

    found = gemmi.Element(element)
    if found.atomic_number == 1:
        return "H"
    return "O" if found.atomic_number == 0 or found.it92 is None else str(found.name)
