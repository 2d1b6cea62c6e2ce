"""What a crystallographer can check of a frame: a few numbers of its evidence."""

from dataclasses import asdict, dataclass
from typing import Any

STRONG_Z = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """Numbers of peaks, rings and lattices.

    Attributes
    ----------
    peaks
        How many there are, with z of 5 or more.
    off_rings, strong_off_rings
        How many of these lie on no ring, and of these how many have z of 10 or more.
    ring_share
        Share of the peaks on rings; 0 where no centre is known.
    center_known
        Whether rings could be looked for: the centre is given or was found.
    lattice_score
        How clearly the peaks repeat, in standard deviations.
    fullest_quarter
        The largest share of the peaks off rings in one quarter of the frame.
    d_min_A
        Resolution of the peaks off rings; None where it cannot be told.
    """

    peaks: int
    off_rings: int
    strong_off_rings: int
    ring_share: float
    center_known: bool
    lattice_score: float
    fullest_quarter: float
    d_min_A: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values, rounded to what is worth reading."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
