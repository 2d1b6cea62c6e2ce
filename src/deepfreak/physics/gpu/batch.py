"""Batches of shots on the device: what is uploaded once, what for each batch, and in which order.

    draw (host) -> candidates -> spots -> + smooth scattering -> counts -> point spread -> 8 bits

Tensors are torch's, so that what comes out can be trained on without a copy. Under numba's CUDA
simulator (NUMBA_ENABLE_CUDASIM=1) they are numpy arrays, and the same code runs on a CPU, slowly.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import BackendError
from deepfreak.physics.detector import (
    CCD,
    beam_factors,
    hot_pixels,
    missing_pixels,
    sensitivity_map,
    sin_theta,
)
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import truth_of
from deepfreak.physics.gpu.device import Device, missing_on_this_machine
from deepfreak.physics.scattering.amorphous import interpolate
from deepfreak.physics.scattering.atoms import R_E_SQR_M2
from deepfreak.physics.scattering.bragg import domains_of, panel_grid
from deepfreak.physics.scattering.by_pixel import GAUSS, SHAPES, RenderedCrystal
from deepfreak.physics.shot import Shot, Truth
from deepfreak.physics.structure_factors.factors import STOL
from deepfreak.settings import middle

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# Smooth scattering is looked up between multiples of this sin(theta) / wavelength in 1/A.
STOL_STEP = 2e-5
# Candidates of a batch that there is room for, per lattice; one with more is rendered again.
CANDIDATES_PER_LATTICE = 120_000
# Whole-number intensities stay below 2^62 even if every domain of some reflections hits one pixel.
MAX_SUM = 2.0**62
OVERLAPS = 64.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Rendered shots: `images` (n, slow, fast) uint8 on the device, and the shots they show."""

    images: Any
    shots: tuple[Shot, ...]


class Renderer:
    """Renders the shots of one experiment on the GPU; keep it, since it uploads what they share.

    Agrees with the CPU on expected photons to rounding. Its noise has the same distributions but
    its own random numbers: image i depends on (experiment, seed, i), and is the same in any batch
    and on any GPU but for the last bit of its transcendental functions. Raises `BackendError` if
    there is no GPU, or the experiment has what only the CPU renders.
    """

    def __init__(self, experiment: Experiment) -> None:
        lacking = missing_on_this_machine() or _only_on_cpu(experiment)
        if lacking:
            raise BackendError(lacking)
        self.experiment = experiment
        self._device = Device()
        factors = experiment.structure_factors()
        detector = experiment.detector
        self._factors = factors
        self._F = self._device.put(factors.F)
        self._F_largest = float(factors.F.max())
        self._hkl_min = self._device.put(np.array(factors.hkl_min, dtype=np.int64))
        oversample = experiment.crystal.oversample
        self._bragg_factors = self._device.put(
            beam_factors(detector, experiment.beam, oversample=oversample)
        )
        self._smooth_factors = self._device.put(beam_factors(detector, experiment.beam))
        self._sin_theta = self._device.put(sin_theta(detector))
        self._sensitivity = self._device.put(sensitivity_map(detector))
        self._tables = self._device.put(_smooth_tables(experiment))

    def render(self, *, seed: int, first: int, count: int) -> Batch:
        """Return shots first to first + count - 1 of a series, with noise, in 8 bits."""
        shots = [self.experiment.draw(seed=seed, index=first + i) for i in range(count)]
        return Batch(images=self.images(shots), shots=tuple(shots))

    def images(self, shots: Sequence[Shot]) -> Any:
        """Return the 8-bit images of `shots`, (n, slow, fast) uint8 on the device."""
        from deepfreak.physics.gpu import kernels

        response = self.experiment.detector.response
        assert isinstance(response, CCD)  # noqa: S101 -- _only_on_cpu has seen to it
        photons = self.expected(shots)
        noise = self._device.zeros(photons.shape, np.float32)
        keys = self._device.put(np.array([_noise_key(shot) for shot in shots], dtype=np.uint64))
        self._launch(kernels.count, photons, self._sensitivity, keys, noise)
        self._spread(photons)
        out = self._device.zeros(photons.shape, np.uint8)
        self._launch(
            kernels.read_out,
            photons,
            noise,
            response.readout_noise_adu,
            response.adc_offset_adu,
            float(response.saturation_value),
            out,
        )
        for pixels, value in self._bad_pixels:
            out[:, pixels] = value
        return out

    def expected(self, shots: Sequence[Shot], *, spots: bool = True) -> Any:
        """Return the expected photons of `shots`, (n, slow, fast) float32 on the device.

        Without `spots` those of everything beside them.
        """
        from deepfreak.physics.gpu import kernels

        size = (len(shots), *self.experiment.detector.image_size)
        photons = self._device.zeros(size, np.float32)
        if spots:
            self._add_spots(photons, shots)
        wavelengths = np.array([shot.wavelength_A for shot in shots])
        amounts = np.array([self._amounts(shot) for shot in shots])
        self._launch(
            kernels.add_smooth,
            photons,
            self._tables,
            self._device.put(amounts),
            STOL_STEP,
            self._sin_theta,
            self._smooth_factors,
            self._device.put(wavelengths),
        )
        return photons

    def expose(self, shot: Shot) -> tuple[Float, Truth]:
        """Return the expected photons of a shot, (slow, fast), and the truth, on the host."""
        total = self._device.get(self.expected([shot])[0])
        background = self._device.get(self.expected([shot], spots=False)[0])
        return total, truth_of(shot, bragg=total - background, background=background)

    def _add_spots(self, photons: Any, shots: Sequence[Shot]) -> None:
        from deepfreak.physics.gpu import kernels

        exposed = [i for i, shot in enumerate(shots) if shot.crystal_volume_mm3 * shot.photons > 0]
        if not exposed:
            return
        experiment, device = self.experiment, self._device
        oversample = experiment.crystal.oversample
        sums = device.zeros(photons.shape, np.int64)
        per_unit = np.zeros(len(shots))
        parts: list[tuple[NDArray[Any], ...]] = []
        for i in exposed:
            found, per_unit[i] = self._lattice_waves(shots[i], i)
            parts += found
        lattices, rotations, edges = (
            device.put(np.stack(each)) for each in zip(*parts, strict=True)
        )
        room = CANDIDATES_PER_LATTICE * len(parts)
        while True:
            count = device.zeros((1,), np.int64)
            candidates = device.zeros((room, 4), np.int32)
            self._launch(
                kernels.find_candidates, lattices, self._F, self._hkl_min, count, candidates
            )
            if int(count[0]) <= room:
                break
            room = int(count[0])
        for panel in experiment.detector.resolved_panels():
            kernels.add_reflections[device.blocks, device.threads // 2](
                sums[(slice(None), *panel.region)],
                lattices,
                self._F,
                self._hkl_min,
                rotations,
                edges,
                count,
                candidates,
                panel_grid(panel, oversample),
                oversample,
            )
        self._launch(
            kernels.collect_bragg, photons, sums, self._bragg_factors, device.put(per_unit)
        )

    def _lattice_waves(
        self, shot: Shot, place: int
    ) -> tuple[list[tuple[NDArray[Any], ...]], float]:
        """Return each plane wave of each crystal, with its domains' rotations and edges.

        And how many photons per steradian a unit of the whole-number sum stands for. `place` is the
        shot's in the batch.
        """
        from deepfreak.physics.gpu.kernels import LATTICE_WAVE

        experiment, factors = self.experiment, self._factors
        crystal = experiment.crystal
        sources = shot.sources()
        all_axes = shot.real_axes(factors)
        cells = crystal.domain_cells(all_axes[0][0])
        steps, count = crystal.spindle.steps, crystal.mosaic_domains
        most = OVERLAPS * self._F_largest**2 * count * crystal.oversample**2 * steps
        unit = MAX_SUM / most
        found: list[tuple[NDArray[Any], ...]] = []
        for one, axes, rotations in zip(shot.crystals, all_axes, shot.domains(), strict=True):
            rendered = RenderedCrystal(
                F=factors.F,
                hkl_min=np.array(factors.hkl_min),
                real_axes=axes,
                domains=rotations,
                cells=cells,
                shape=SHAPES[crystal.xtal_shape],
            )
            for real_axes in axes:
                domains = domains_of(rendered, real_axes)
                overlapping = cells.min() * 0.5 < math.sqrt(domains.radius_sqr)
                edges = cells[:, None] * np.einsum("mxy,ay->max", rotations, real_axes)
                for source in sources:
                    row = np.zeros((), LATTICE_WAVE)
                    for name, value in domains._asdict().items():
                        row[name] = value
                    row["k0"], row["wavelength"] = source[:3] / source[3], source[3]
                    row["shot"] = place
                    row["exact"] = domains.shape == GAUSS or overlapping
                    row["strength"] = unit * one.share * source[4]
                    found.append((row, rotations, edges))
        fluence = experiment.beam.fluence(shot.photons)
        domains_in_beam = shot.cells_in_beam(all_axes[0][0]) / cells.prod()
        samples = steps * count * crystal.oversample**2
        per_unit = R_E_SQR_M2 * fluence * domains_in_beam * cells.prod() ** 2 / (unit * samples)
        return found, per_unit

    def _amounts(self, shot: Shot) -> Array:
        """Return how much of each of `_smooth_tables` a shot has."""
        amounts = np.zeros(self._tables.shape[0])
        if shot.photons == 0:
            return amounts
        paths = [middle(matter.path_mm) for matter in shot.surroundings()[0]]
        amounts[: len(paths)] = paths
        if shot.crystal_volume_mm3 > 0:
            amounts[-1] = shot.cells_in_beam(shot.real_axes(self._factors)[0][0])
        return amounts * self.experiment.beam.fluence(shot.photons)

    def _spread(self, photons: Any) -> None:
        """Apply the point spread in place, within each sensitive region."""
        detector = self.experiment.detector
        response = detector.response
        if not isinstance(response, CCD) or response.psf_fwhm_mm == 0:
            return
        for region in detector.sensitive_regions():
            part = (slice(None), *region)
            photons[part] = self._device.point_spread(
                photons[part], response.psf_fwhm_mm, detector.pixel_size_mm
            )

    @cached_property
    def _bad_pixels(self) -> list[tuple[Any, int]]:
        """Return masks and the 8-bit value that stands there."""
        detector = self.experiment.detector
        bad = detector.bad_pixels
        masks = []
        if bad.hot_fraction > 0:
            value = bad.hot_value or detector.response.saturation_value
            masks.append((self._device.put(hot_pixels(detector)), min(math.isqrt(value), 255)))
        missing = missing_pixels(detector)
        if missing.any():
            masks.append((self._device.put(missing), 0))
        return masks

    def _launch(self, kernel: Any, images: Any, *arguments: Any) -> None:
        kernel[self._device.blocks, self._device.threads](images, *arguments)


def images_on_gpu(experiment: Experiment, *, seed: int, first: int, count: int) -> Any:
    """Return `count` 8-bit images as a tensor on the GPU; see `Renderer` to make many."""
    return Renderer(experiment).render(seed=seed, first=first, count=count).images


def _only_on_cpu(experiment: Experiment) -> str | None:
    """Return in one line what of an experiment the GPU does not render, or None."""
    crystal = experiment.crystal
    if crystal.xtal_shape not in {"tophat", "gauss"}:
        return f"the GPU renders tophat and gauss crystals, found {crystal.xtal_shape}; use the CPU"
    if experiment.structure_factors().default_F != 0:
        return "the GPU renders listed reflections only (default_F 0); use the CPU"
    for matter in experiment.background:
        if matter.per_mm(np.zeros(1), experiment.beam) is None:
            return f"the GPU does not render {matter.material}; use the CPU"
    if not isinstance(experiment.detector.response, CCD):
        return "the GPU renders CCD detectors only; use the CPU"
    return None


def _smooth_tables(experiment: Experiment) -> Array:
    """Return photons per steradian and fluence at multiples of `STOL_STEP`, (kinds + 1, n).

    Of a mm of each amorphous kind of the background, and of one disordered unit cell.
    """
    shortest = 0.5 * experiment.beam.wavelength_A
    stol: Array = STOL_STEP * np.arange(int(1.0 / shortest / STOL_STEP) + 2, dtype=np.float64)
    tables = np.zeros((len(experiment.background) + 1, len(stol)))
    for table, matter in zip(tables, experiment.background, strict=False):
        table[:] = matter.per_mm(stol, experiment.beam)
    if experiment.crystal.scatters_beside_spots:
        amplitude = interpolate(stol, STOL, np.sqrt(experiment.cell_intensity()))
        tables[-1] = R_E_SQR_M2 * amplitude**2
    return tables


def _noise_key(shot: Shot) -> int:
    """Return 64 bits that belong to this shot's noise on a GPU."""
    text = f"{shot.seed} {shot.index} gpu noise"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
