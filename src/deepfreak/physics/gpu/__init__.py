"""Whole shots on a GPU, in batches: the physics of `scattering` and `noise` on another device.

The kernels call the very functions that the CPU's loops call; only who does what in parallel is
different. `Renderer` gives images as a torch tensor that never leaves the device.
"""

from deepfreak.physics.gpu.batch import Renderer, images_on_gpu
from deepfreak.physics.gpu.device import missing_on_this_machine

__all__ = ["Renderer", "images_on_gpu", "missing_on_this_machine"]
