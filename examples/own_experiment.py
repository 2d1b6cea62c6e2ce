"""Build an experiment in Python, draw a shot and render it, with and without noise.

Run: python examples/own_experiment.py
"""

import deepfreak as df

crystal = df.Crystal(
    structure=df.Wilson(
        cell=(79.1, 79.1, 38.4, 90, 90, 90),
        space_group="P 43 21 2",  # hen egg-white lysozyme
        atoms_per_asu=1100,
        B_A2=20.0,
        seed=1,
    ),
    size_mm=0.01,
    mosaic_spread_deg=0.2,
    mosaic_domains=100,
)
experiment = df.Experiment(
    name="lysozyme",
    crystal=crystal,
    beam=df.Beam(wavelength_A=1.3, photons_per_pulse=3e11, size_mm=0.01),
    detector=df.Detector.flat(image_size=(512, 512), pixel_size_mm=0.172, distance_mm=100),
    background=(df.Water(thickness_mm=0.01), df.Air(path_mm=5)),
    classes=df.Classes(
        label_version="example",
        dark="blank",
        lit=(df.ShotClass(name="hit", probability=1.0, crystal_fraction=(0.5, 1.0)),),
    ),
)

shot = experiment.draw(seed=0, index=0)
expected = df.scatter(shot)  # (slow, fast) mean photons, float32
counts = df.detect(expected, experiment.detector, shot.noise_generator())  # (slow, fast) uint16
print(f"{shot.class_name}: {expected.sum():.3g} photons, brightest pixel {counts.max()} counts")
