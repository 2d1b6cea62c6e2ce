"""Make the pictures of the README: `python docs/make_pictures.py`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

import deepfreak as df

FOLDER = Path(__file__).parent / "images"
CLASSES = {"blank": 0.0, "no-crystal": 0.0, "weak": 0.06, "good": 0.2, "strong": 1.0}


def five_classes() -> None:
    """Draw one shot of each class, with equal pulse energies, on one brightness scale."""
    from matplotlib.figure import Figure

    experiment = df.load_recipe("diffranet")
    volume = experiment.crystal.volume_mm3
    figure = Figure(figsize=(12.5, 2.85), layout="constrained", facecolor="white")
    for axes, (label, (name, fraction)) in zip(
        figure.subplots(1, 5), enumerate(CLASSES.items()), strict=True
    ):
        shot = replace(
            experiment.draw(seed=3, index=1),
            index=label,
            label=label,
            photons=0.0 if name == "blank" else 1e12,
            crystal_volume_mm3=fraction * volume,
        )
        image, _ = df.simulate(shot)
        # the maximum of 2 x 2 pixels keeps small spots visible in print
        shown = image.reshape(256, 2, 256, 2).max(axis=(1, 3))
        axes.imshow(shown, cmap="gray", vmin=0, vmax=70, interpolation="nearest")
        axes.set_title(name, fontsize=13)
        axes.set_axis_off()
    figure.savefig(FOLDER / "classes.png", dpi=110, pil_kwargs={"optimize": True})


PHYSICS = {
    "Appendix A": [],
    "Gaussian spots, further lattices": [
        "crystal.xtal_shape=gauss",
        "crystal.extra_lattices=3.0",
    ],
    "hexagonal ice, powder": [
        (
            "background=[{material='water',thickness_mm=0.01},"
            "{material='ice',thickness_mm=0.01,grain_size_mm=1e-4}]"
        )
    ],
    "cubic ice, grains": [
        (
            "background=[{material='water',thickness_mm=0.01},"
            "{material='ice',form='cubic',thickness_mm=0.01,grain_size_mm=0.001,grains='spots'}]"
        )
    ],
    "a better crystal: B = 25": ["crystal.structure.B_A2=25"],
    "SASE spectrum, 2 %": ["beam.spectrum={kind='sase',bandwidth=0.02,spike_width=0.002,steps=12}"],
    "bar, beamstop, bad pixels": [
        "detector.obstacles=[{kind='bar',width_mm=4.0},{kind='beamstop',radius_mm=4.0}]",
        "detector.bad_pixels={dead_fraction=0.001,hot_fraction=0.001}",
    ],
    "2 degrees about the spindle": [
        "crystal.spindle.range_deg=2.0",
        "crystal.spindle.steps=8",
    ],
    "modules": [
        "detector.modules={rows=3,columns=2,module_size=[160,250],gap=[16,12]}",
    ],
    "tilted, 60 mm": ["detector.distance_mm=60", "detector.fast_axis=[0.5,0,0.9]"],
}


def physics() -> None:
    """Draw one strong shot under various settings of a recipe."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.6), layout="constrained", facecolor="white")
    for axes, (title, changes) in zip(figure.subplots(2, 5).ravel(), PHYSICS.items(), strict=True):
        experiment = df.load_recipe("diffranet", changes=changes)
        shot = replace(
            experiment.draw(seed=5, index=4),
            photons=1.5e12,
            crystal_volume_mm3=0.5 * experiment.crystal.volume_mm3,
        )
        image, _ = df.simulate(shot)
        shown = image.reshape(256, 2, 256, 2).max(axis=(1, 3))
        axes.imshow(shown, cmap="gray", vmin=0, vmax=100, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    figure.savefig(FOLDER / "physics.png", dpi=100, pil_kwargs={"optimize": True})


FRAMES = (0, 16, 27, 33, 46, 58, 65, 74, 87, 99)  # of seed 9: one per family


def varied_frames() -> None:
    """Draw a simulated frame of each detector family, bright pixels in black, gaps in white."""
    from matplotlib.figure import Figure

    from deepfreak.datasets.randomised import draw_frame

    figure = Figure(figsize=(12.5, 5.4), layout="constrained", facecolor="white")
    for axes, index in zip(figure.subplots(2, 5).ravel(), FRAMES, strict=True):
        drawn = draw_frame(9, index)
        counts = np.where(drawn.frame.valid, drawn.frame.counts, -np.inf).astype(float)
        step = max(1, -(-max(counts.shape) // 300))
        rows, columns = (side // step * step for side in counts.shape)
        # the maximum of step x step pixels keeps small spots visible in print
        shown = counts[:rows, :columns].reshape(rows // step, step, columns // step, step)
        shown = shown.max(axis=(1, 3))
        low, high = np.percentile(shown[np.isfinite(shown)], (5, 99.5))
        shown = np.where(np.isfinite(shown), shown, np.nan)
        axes.imshow(
            shown, cmap="gray_r", vmin=low, vmax=max(high, low + 1), interpolation="nearest"
        )
        spots = f", {drawn.visible} spots" if drawn.kind == "crystal" else ""
        axes.set_title(f"{drawn.model}\n{drawn.kind}{spots}", fontsize=9)
        axes.set_axis_off()
    figure.savefig(FOLDER / "varied.png", dpi=90, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    five_classes()
    physics()
    varied_frames()
