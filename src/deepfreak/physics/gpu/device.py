"""Where tensors live, and whether there is such a place here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.extras import missing
from deepfreak.physics.noise import point_spread, point_spread_kernel

# Always as many: a transform's last bits depend on how many are made at once, and an image must
# not depend on the batch that it is in.
TRANSFORMED_AT_ONCE = 8


def missing_on_this_machine() -> str | None:
    """Return in one line what a GPU backend lacks here and how to get it, or None."""
    from numba import config, cuda

    if config.ENABLE_CUDASIM:
        return None
    try:
        import torch
    except ImportError:
        return missing("torch", "gpu")
    if not torch.cuda.is_available():
        return "the GPU backend needs an NVIDIA GPU and a CUDA build of torch, found none"
    if not cuda.is_available():
        return missing("numba-cuda for this driver", "gpu")
    return None


class Device:
    """Where tensors live: torch on a GPU, numpy under the simulator."""

    def __init__(self) -> None:
        from numba import config

        self._simulated = bool(config.ENABLE_CUDASIM)
        self._kernels: dict[tuple[int, int], Any] = {}
        if self._simulated:
            self.blocks, self.threads = 1, 4
            return
        import torch

        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.blocks, self.threads = 16 * properties.multi_processor_count, 256

    def put(self, array: NDArray[Any]) -> Any:
        """Return a copy of `array` on the device."""
        contiguous = np.array(array, order="C")
        if self._simulated:
            return contiguous
        import torch
        from numba import cuda

        if contiguous.dtype.names:
            return cuda.to_device(contiguous)  # torch has no structured types
        if contiguous.dtype == np.uint64:
            # torch computes nothing with these; the kernel reads the same bits as unsigned
            contiguous = contiguous.view(np.int64)
        return torch.from_numpy(contiguous).cuda()

    def get(self, tensor: Any) -> NDArray[Any]:
        """Return a copy of `tensor` on the host."""
        return np.array(tensor) if self._simulated else tensor.cpu().numpy()

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return zeros on the device."""
        if self._simulated:
            return np.zeros(shape, dtype=dtype)
        import torch

        names = {np.float32: torch.float32, np.int64: torch.int64, np.int32: torch.int32}
        names[np.uint8] = torch.uint8
        return torch.zeros(shape, dtype=names[dtype], device="cuda")

    def point_spread(self, photons: Any, fwhm_mm: float, pixel_size_mm: float) -> Any:
        """Return `noise.point_spread` of each image of a stack."""
        if self._simulated:
            each = [
                point_spread(image, fwhm_mm=fwhm_mm, pixel_size_mm=pixel_size_mm)
                for image in photons
            ]
            return np.stack(each)
        import torch

        slow, fast = photons.shape[1:]
        padded = (2 * slow, 2 * fast)
        if (slow, fast) not in self._kernels:
            kernel = point_spread_kernel(
                (slow - 1, fast - 1), fwhm_mm=fwhm_mm, pixel_size_mm=pixel_size_mm
            )
            wrapped = np.zeros(padded, dtype=np.float32)
            wrapped[: 2 * slow - 1, : 2 * fast - 1] = kernel
            wrapped = np.roll(wrapped, (1 - slow, 1 - fast), axis=(0, 1))
            self._kernels[slow, fast] = torch.fft.rfft2(self.put(wrapped))
        spread = torch.empty_like(photons)
        part = torch.zeros((TRANSFORMED_AT_ONCE, slow, fast), device="cuda")
        for first in range(0, len(photons), TRANSFORMED_AT_ONCE):
            images = photons[first : first + TRANSFORMED_AT_ONCE]
            part[: len(images)] = images
            spectrum = torch.fft.rfft2(part, s=padded) * self._kernels[slow, fast]
            whole = torch.fft.irfft2(spectrum, s=padded)
            spread[first : first + len(images)] = whole[: len(images), :slow, :fast]
        return spread
