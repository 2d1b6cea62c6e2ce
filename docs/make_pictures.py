"""Makes the pictures of the README: `python docs/make_pictures.py`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

import deepfreak as df

FOLDER = Path(__file__).parent / "images"
CLASSES = {"blank": 0.0, "no-crystal": 0.0, "weak": 0.06, "good": 0.2, "strong": 1.0}


def five_classes() -> None:
    """Draw one shot of each class, all of one pulse energy, on one scale of brightness."""
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
        # the brightest of 2 x 2, so that no spot is lost in print
        shown = image.reshape(256, 2, 256, 2).max(axis=(1, 3))
        axes.imshow(shown, cmap="gray", vmin=0, vmax=70, interpolation="nearest")
        axes.set_title(name, fontsize=13)
        axes.set_axis_off()
    figure.savefig(FOLDER / "classes.png", dpi=110, pil_kwargs={"optimize": True})


def spots() -> None:
    """Draw a strong shot, with part of it enlarged."""
    from matplotlib.figure import Figure

    experiment = df.load_recipe("diffranet")
    shot = replace(
        experiment.draw(seed=3, index=1),
        label=4,
        photons=1.5e12,
        crystal_volume_mm3=experiment.crystal.volume_mm3,
    )
    image, _ = df.simulate(shot)
    figure = Figure(figsize=(10, 5.1), layout="constrained", facecolor="white")
    whole, part = figure.subplots(1, 2)
    whole.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=90)
    part.imshow(image[250:378, 250:378], cmap="gray", vmin=10, vmax=120, interpolation="nearest")
    for axes in (whole, part):
        axes.set_axis_off()
    figure.savefig(FOLDER / "strong.png", dpi=100, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    five_classes()
    spots()
