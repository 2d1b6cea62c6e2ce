"""A small experiment that a GPU, or numba's simulator of one, renders quickly."""

from dataclasses import replace

from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of
from deepfreak.physics.shot import Shot


def small_experiment() -> Experiment:
    """Return diffranet's physics with few reflections, domains and pixels, and all extras."""
    table = settings_of(load_recipe("diffranet"))
    table["crystal"]["structure"] |= {"cell": [20, 22, 24, 90, 90, 90], "atoms_per_asu": 60}
    table["crystal"] |= {
        "mosaic_domains": 3,
        "Ncells_abc": [12, 10, 9],
        "extra_lattices": 0.7,
        "disorder_B_A2": 8.0,
        "compton": True,
        "spindle": {"range_deg": 0.3, "steps": 2},
    }
    table["beam"] |= {"spectrum": {"kind": "lines", "bandwidth": 0.004, "steps": 2}}
    half = {"pixel_size_mm": 3.0, "image_size": [24, 24]}
    table["detector"] |= half | {
        "obstacles": [{"kind": "beamstop", "radius_mm": 5.0}],
        "bad_pixels": {"dead_fraction": 0.02, "seed": 3},
    }
    table["detector"]["response"]["psf_fwhm_mm"] = 0.5
    return experiment_from(table)


def small_shots(experiment: Experiment) -> list[Shot]:
    """Return shots with and without a crystal, and a dark one."""
    shots = [experiment.draw(seed=0, index=i) for i in range(4)]
    return [
        replace(shots[0], photons=2e9, crystal_volume_mm3=1e-5),
        replace(shots[1], photons=3e9, crystal_volume_mm3=0.0),
        replace(shots[2], photons=1e9, crystal_volume_mm3=2e-5),
        replace(shots[3], photons=0.0, crystal_volume_mm3=0.0),
    ]
