"""Simulated shots as files that other programs read.

`write_shots` renders shots and writes them; there is one small function a format beside it, each
given an image [slow, fast] and the `Header` that says what made it.
"""

from deepfreak.formats.written.header import Header, header_of
from deepfreak.formats.written.shots import FORMATS, choose_shots, write_shots

__all__ = ["FORMATS", "Header", "choose_shots", "header_of", "write_shots"]
