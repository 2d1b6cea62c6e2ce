"""Whole experiments at random: any crystal, beam, surroundings and detector of 512 x 512 pixels."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.beam import Beam
from deepfreak.crystal import Crystal, Spindle
from deepfreak.detector import (
    CCD,
    BadPixels,
    Bar,
    Beamstop,
    Detector,
    HalfPlane,
    Obstacle,
    PhotonCounting,
    Response,
)
from deepfreak.exchange.importing import REAL_CLASSES
from deepfreak.experiment import Classes, Experiment, LitClass
from deepfreak.prepare import PEDESTAL, SIZE
from deepfreak.scattering.amorphous import Air, Water, amorphous_photons
from deepfreak.scattering.ice import Ice, ice_photons
from deepfreak.spectrum import Lines, Spectrum
from deepfreak.structure_factors import Wilson

if TYPE_CHECKING:
    from deepfreak.scattering.ice.lattice import IceForm

LABEL_VERSION = "varied-2"

# Half the image's diagonal, in pixels: what reaches a corner.
CORNER_PX = SIZE / math.sqrt(2)
WAVELENGTHS_A = 0.6, 2.3
CORNER_D_MIN_A = 1.2, 5.0
STEEPEST_CORNER_DEG = 60.0
PIXELS_MM = 0.1, 1.2

# Common space groups, with the symmetry operations and what they want of a cell's edges.
GROUPS = (
    ("P 1", 1, ""),
    ("P 1 21 1", 2, ""),
    ("P 1 21/c 1", 4, ""),
    ("P 21 21 21", 4, ""),
    ("C 2 2 21", 8, ""),
    ("I 2 2 2", 8, ""),
    ("P 43 21 2", 8, "a=b"),
    ("I 4 2 2", 16, "a=b"),
    ("P 31 2 1", 6, "hexagonal"),
    ("P 61 2 2", 12, "hexagonal"),
    ("P 63", 6, "hexagonal"),
    ("F 2 3", 48, "a=b=c"),
    ("I 2 3", 24, "a=b=c"),
)
EDGES_A = 6.0, 300.0
# Rows of spots closer than this, in pixels, run together on any detector.
CLOSEST_SPOTS_PX = 5.0
# Of all reflections, so that a block of images is made in seconds.
MOST_REFLECTIONS = 250_000
# Fewer would give shots without six spots whatever the crystal's size.
FEWEST_REFLECTIONS = 2500
# Reflections times domains, wavelengths and steps of the spindle: a tenth of a second a shot.
MOST_WORK = 8_000_000
FEWEST_DOMAINS = 10
# Below this edge in A crystals are those of small molecules: no solvent, and strong reflections.
SMALL_EDGE_A = 40.0
TURN_STEPS, LINES = 12, 8
ATOM_A3 = 20.0

BEAM_MM = 0.03
BACKGROUND_PHOTONS = 0.02, 400.0
RING_PHOTONS = 0.3, 300.0
ICE_SHARE = 0.4


def varied_experiment(rng: np.random.Generator) -> Experiment:
    """Return an experiment of which all is drawn by `rng`.

    Its image has 512 x 512 pixels, as that of any detector after `prepare`, and its classes are
    `REAL_CLASSES`. Shots are drawn with a crystal; which volume of it is in the beam is left to
    whoever draws them. Ice may be in the beam, its rings 0.3 to 300 photons high, and the light of
    water and air gives the image 0.02 to 400 photons a pixel.
    """
    wavelength_A = _log_uniform(rng, *WAVELENGTHS_A)
    finest_A = max(
        _log_uniform(rng, *CORNER_D_MIN_A),
        wavelength_A / (2 * math.sin(math.radians(STEEPEST_CORNER_DEG) / 2)),
    )
    detector = _detector(rng, wavelength_A, finest_A)
    beam = Beam(
        wavelength_A=wavelength_A,
        wavelength_rms=float(rng.choice([0.0, 0.003])),
        photons_per_pulse=1e12,
        pulse_energy_rms=rng.uniform(0, 0.5),
        pulse_energy_law="gamma",
        size_mm=BEAM_MM,
        polarization=float(rng.choice([0.0, 0.99])),
        polarization_axis=(0.0, 1.0, 0.0) if rng.random() < 1 / 4 else (0.0, 0.0, 1.0),
    )
    ice, beam = _ice(rng, beam, detector)
    crystal, spectrum = _crystal(rng, finest_A)
    beam = replace(beam, spectrum=spectrum)
    return Experiment(
        name="varied",
        crystal=crystal,
        beam=beam,
        detector=detector,
        background=(*_smooth(rng, beam, detector), *ice),
        classes=Classes(
            label_version=LABEL_VERSION,
            dark=REAL_CLASSES[0],
            lit=(LitClass(name=REAL_CLASSES[1], probability=1.0, crystal_fraction=(1.0, 1.0)),),
        ),
    )


def _detector(rng: np.random.Generator, wavelength_A: float, finest_A: float) -> Detector:
    """Return a flat detector whose corner sees `finest_A`, seldom exactly about the beam."""
    pixel_mm = _log_uniform(rng, *PIXELS_MM)
    two_theta = 2 * math.asin(wavelength_A / (2 * finest_A))
    # as far off the middle as windows about the beam lie, and one in ten anywhere
    spread = 0.5 if rng.random() < 1 / 10 else 0.06
    off = SIZE * rng.uniform(-spread, spread, 2)
    farthest_px = math.hypot(*(SIZE / 2 + abs(off)))
    return Detector(
        image_size=(SIZE, SIZE),
        pixel_size_mm=pixel_mm,
        distance_mm=farthest_px * pixel_mm / math.tan(two_theta),
        beam_center_px=(SIZE / 2 + off[0], SIZE / 2 + off[1]),
        obstacles=_obstacles(rng, pixel_mm),
        response=_response(rng, pixel_mm),
        bad_pixels=_bad_pixels(rng),
    )


def _response(rng: np.random.Generator, pixel_mm: float) -> Response:
    seed = int(rng.integers(2**31))
    if rng.random() < 1 / 2:
        return PhotonCounting(
            kind="photon-counting", calibration_rms=rng.uniform(0, 0.02), calibration_seed=seed
        )
    return CCD(
        calibration_rms=rng.uniform(0, 0.05),
        calibration_seed=seed,
        psf_fwhm_mm=pixel_mm * rng.uniform(0, 2.5),
        readout_noise_adu=rng.uniform(0, 6),
        adc_offset_adu=PEDESTAL,
    )


def _bad_pixels(rng: np.random.Generator) -> BadPixels:
    """Return a few dead and hot pixels on four devices of ten, none on the others."""
    if rng.random() > 4 / 10:
        return BadPixels()
    return BadPixels(
        dead_fraction=_log_uniform(rng, 1e-6, 3e-4),
        hot_fraction=_log_uniform(rng, 1e-6, 3e-5),
        hot_value=int(_log_uniform(rng, 30, 65535)),
        seed=int(rng.integers(2**31)),
    )


def _obstacles(rng: np.random.Generator, pixel_mm: float) -> tuple[Obstacle, ...]:
    """Return what throws a shadow: a beamstop in 4 of 10, its holder, and an edge in 1 of 10."""
    found: list[Obstacle] = []
    if rng.random() < 4 / 10:
        edge_mm = pixel_mm * rng.uniform(0, 4)
        radius_mm = pixel_mm * _log_uniform(rng, 4, 40)
        found.append(Beamstop(radius_mm=radius_mm, edge_mm=edge_mm))
        if rng.random() < 1 / 2:
            found.append(
                Bar(
                    width_mm=radius_mm * rng.uniform(0.1, 0.8),
                    angle_deg=rng.uniform(0, 360),
                    arm=True,
                    transmission=rng.choice([0.0, rng.uniform(0, 0.7)]),
                    edge_mm=edge_mm,
                )
            )
    if rng.random() < 1 / 10:
        found.append(
            HalfPlane(
                beyond_mm=pixel_mm * SIZE * rng.uniform(0.1, 0.5),
                angle_deg=rng.uniform(0, 360),
                transmission=rng.uniform(0, 0.8),
                edge_mm=pixel_mm * rng.uniform(0, 30),
            )
        )
    return tuple(found)


def _crystal(rng: np.random.Generator, finest_A: float) -> tuple[Crystal, Spectrum | None]:
    """Return a crystal for a detector that sees `finest_A`, and the spectrum that it is lit with.

    Its spots are 1 to 6 pixels wide. Wide spectra and turns are for crystals of few reflections.
    """
    name, operations, edges = GROUPS[rng.integers(len(GROUPS))]
    cell = _cell(rng, finest_A, edges)
    a, b, c = cell[:3]
    # an order of the longest edge and of a domain, in pixels along the image's half diagonal
    closest_px = CORNER_PX * finest_A / max(a, b, c)
    width_px = min(_log_uniform(rng, 0.5, 4), closest_px / 5)
    domain_A = CORNER_PX * finest_A / width_px
    spread_deg = min(_log_uniform(rng, 0.02, 0.8), math.degrees(6 * width_px / CORNER_PX))
    small = max(a, b, c) < SMALL_EDGE_A
    volume_A3 = a * b * c * math.sin(math.radians(cell[5]))
    domains_allowed = MOST_WORK * finest_A**3 / (8 * volume_A3)
    # small molecules are turned while they are exposed, or there would be too few spots
    spindle = Spindle()
    if small or (rng.random() < 1 / 3 and domains_allowed > TURN_STEPS * FEWEST_DOMAINS):
        spindle = _spindle(rng, small=small)
    domains_allowed /= spindle.steps
    spectrum = None
    if rng.random() < 1 / 3 and domains_allowed > LINES * FEWEST_DOMAINS:
        spectrum = Lines(bandwidth=_log_uniform(rng, 1e-3, 2e-2), steps=LINES)
        domains_allowed /= LINES
    domains = max(FEWEST_DOMAINS, min(_log_uniform(rng, 20, 120), domains_allowed))
    crystal = Crystal(
        structure=Wilson(
            cell=cell,
            space_group=name,
            atoms_per_asu=max(4, int(volume_A3 / operations / ATOM_A3)),
            B_A2=_log_uniform(rng, 2, 10) if small else _log_uniform(rng, 5, 80),
            k_sol=0.0 if small else 0.75,
            seed=int(rng.integers(2**31)),
        ),
        size_mm=BEAM_MM,
        domain_size_mm=domain_A * 1e-7,
        xtal_shape="gauss" if rng.random() < 1 / 2 else "tophat",
        mosaic_spread_deg=spread_deg,
        mosaic_domains=int(domains),
        spindle=spindle,
        extra_lattices=0.5 if rng.random() < 1 / 8 else 0.0,
        oversample=1 if width_px > 2 else 2,
    )
    return crystal, spectrum


def _spindle(rng: np.random.Generator, *, small: bool) -> Spindle:
    """Return a turn about an axis across the beam."""
    angle = rng.uniform(0, 2 * math.pi)
    return Spindle(
        axis=(0.0, math.sin(angle), math.cos(angle)),
        range_deg=rng.uniform(1, 5) if small else _log_uniform(rng, 0.1, 1),
        steps=TURN_STEPS,
    )


def _cell(
    rng: np.random.Generator, finest_A: float, edges: str
) -> tuple[float, float, float, float, float, float]:
    """Return a cell with neither too many reflections to `finest_A` nor too few."""
    longest = min(EDGES_A[1], CORNER_PX * finest_A / CLOSEST_SPOTS_PX)
    # half of the cells are large for their detector, as a protein's: many spots
    shortest = EDGES_A[0] if rng.random() < 1 / 2 else max(EDGES_A[0], longest / 5)
    axes = _log_uniform(rng, shortest, longest) * np.exp(rng.uniform(-0.4, 0.4, 3))
    if edges in {"a=b", "hexagonal"}:
        axes[1] = axes[0]
    elif edges:
        axes[:] = axes[0]
    reflections = 4 / 3 * math.pi * float(np.prod(axes)) / finest_A**3
    wanted = min(max(reflections, FEWEST_REFLECTIONS), MOST_REFLECTIONS)
    axes *= (wanted / reflections) ** (1 / 3)
    axes *= min(1.0, longest / axes.max())
    a, b, c = np.round(axes, 2).tolist()
    return (a, b, c, 90.0, 90.0, 120.0 if edges == "hexagonal" else 90.0)


def _ice(rng: np.random.Generator, beam: Beam, detector: Detector) -> tuple[tuple[Ice, ...], Beam]:
    """Return ice in the beam, and the beam as bright as its rings ask for.

    Of single grains there are 200 to 20,000, of a powder's any number.
    """
    form: IceForm = "hexagonal" if rng.random() < 3 / 4 else "cubic"
    if rng.random() < 1 / 2:
        grains = _log_uniform(rng, 200, 20_000)
        thickness_mm = BEAM_MM
        size_mm = (BEAM_MM**3 / grains) ** (1 / 3)
        ice = Ice(
            form=form,
            thickness_mm=thickness_mm,
            grains="spots",
            grain_size_mm=size_mm,
            mosaic_rms_deg=_log_uniform(rng, 0.02, 0.3),
            probability=ICE_SHARE,
        )
        # rings as wide as what a detector makes of spots
        like_it = replace(ice, grains="powder", grain_size_mm=3e-5)
    else:
        ice = like_it = Ice(
            form=form,
            thickness_mm=BEAM_MM,
            grain_size_mm=_log_uniform(rng, 8e-6, 1e-4),
            probability=ICE_SHARE,
        )
    rings = ice_photons(
        like_it,
        beam=beam,
        detector=detector,
        photons=beam.photons_per_pulse,
        wavelength_A=beam.wavelength_A,
        rng=rng,
    )
    highest = float(rings.max())
    if highest < 1e-3:  # all rings lie beyond the image
        return (), beam
    brighter = _log_uniform(rng, *RING_PHOTONS) / highest
    return (ice,), replace(beam, photons_per_pulse=brighter * beam.photons_per_pulse)


def _smooth(rng: np.random.Generator, beam: Beam, detector: Detector) -> tuple[Water | Air, ...]:
    """Return water and air that give the image as much light as is drawn."""
    water_share = rng.choice([0.0, 1.0, rng.random()])
    wanted = _log_uniform(rng, *BACKGROUND_PHOTONS)
    matters: list[Water | Air] = []
    for matter, share in (
        (Water(thickness_mm=1.0), water_share),
        (Air(path_mm=1.0), 1 - water_share),
    ):
        if share == 0:
            continue
        image = amorphous_photons(
            matter,
            beam=beam,
            detector=detector,
            photons=beam.photons_per_pulse,
            wavelength_A=beam.wavelength_A,
        )
        path_mm = share * wanted / float(image.mean())
        matters.append(
            Water(thickness_mm=path_mm) if isinstance(matter, Water) else Air(path_mm=path_mm)
        )
    return tuple(matters)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
