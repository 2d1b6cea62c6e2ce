"""What a frame shows at native resolution: peaks, rings, lattices, and a plane of each block.

Nothing is binned, cropped or rounded, and all comes from the frame itself (docs/evidence.md).
"""

from deepfreak.evidence.evidence import Evidence, find_evidence, numbers

__all__ = ["Evidence", "find_evidence", "numbers"]
