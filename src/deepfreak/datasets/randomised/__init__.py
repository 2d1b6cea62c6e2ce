"""Frames of any detector, with a crystal in the beam and without, and their evidence.

`detectors` draws a device (of `models`, with its `modules` and `faults`), `scene` what is in its
beam; `recording` makes a frame of both, `visibility` says which spots can be seen in it, `frame`
draws it all from a seed, and `tabulate` writes the evidence of many.
"""

from deepfreak.datasets.randomised.frame import draw_frame as draw_frame
from deepfreak.datasets.randomised.table import Table as Table
from deepfreak.datasets.randomised.table import read_table as read_table
from deepfreak.datasets.randomised.tabulate import make_table as make_table
