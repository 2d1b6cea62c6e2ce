"""Detector files in, frames out.

`open_frames` reads any file that one of the formats here understands, one frame at a time;
`find_files` lists the files of a folder; `read_mask` and `read_geometry` read what can be said
about a detector beside its images.
"""

from deepfreak.formats.files import find_files, open_frames, read_frames
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Frame, FrameFile
from deepfreak.formats.geometry import read_geometry
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.options import read_mask

__all__ = [
    "Frame",
    "FrameFile",
    "Geometry",
    "ReadOptions",
    "find_files",
    "open_frames",
    "read_frames",
    "read_geometry",
    "read_mask",
]
