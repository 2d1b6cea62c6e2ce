"""What each part of our network and of its recipe is worth: all but one of them, trained again.

Run: python benchmarks/ablation.py DATA --out FOLDER [--train 10000] [--epochs 25] [--seeds 1]
     [--only NAME ...] [--threads 2]

DATA has the splits train and validation. Every line is trained on the first --train images of the
former and judged on the latter, so that nothing here has seen the test images. Run it again after
a kill, and it goes on; another --train or --epochs needs another folder. Besides the accuracy with
its 95 % interval there are the verdicts that became right and wrong against the whole, with the
exact p of McNemar's test, and the error of the volume, where it is learnt, at pulses whose light
leaves no doubt.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from deepfreak.dataset import Dataset
from deepfreak.evaluation import Proportion
from deepfreak.networks import OURS, Augmentation, Compact, NetworkModel, Training, train_network
from deepfreak.networks.compact_network import CompactNetwork
from deepfreak.networks.recipe import VOLUME_UNIT_MM3
from deepfreak.networks.spot_planes import SpotPlanes
from deepfreak.progress import progress

IMAGES_AT_ONCE = 32
BRIGHT_PHOTONS = 7e11
DARKNESS = 10**0.5


class NoBackground(SpotPlanes):
    """All light counts as that of spots, over a dark image's level."""

    def _background(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        _, weight = super()._background(pixels)
        return torch.full_like(weight, DARKNESS), weight


class NoLogarithms(CompactNetwork):
    """What decides is the sums themselves."""

    def _logs(self, means: Tensor) -> Tensor:
        return means


@dataclass(frozen=True)
class Without:
    """Our network without one of its ideas."""

    idea: str
    settings_of_whole: Compact

    name: ClassVar[str] = "compact without"

    def settings(self) -> dict[str, Any]:
        """Return what tells it from others."""
        return {"architecture": self.name, "idea": self.idea, "whole": str(self.settings_of_whole)}

    def build(self, *, classes: int, size: int) -> CompactNetwork:
        """Return the network that lacks the idea."""
        if self.idea == "logarithms":
            return NoLogarithms(self.settings_of_whole, classes=classes)
        network = self.settings_of_whole.build(classes=classes, size=size)
        network.spots = NoBackground()
        return network


WHOLE = Compact()


def variants(training: Training) -> dict[str, tuple[Any, Training]]:
    """Return the architecture and recipe of each line; the first is the whole."""
    shown = training.augmentation
    return {
        "ours": (WHOLE, training),
        "no background taken off": (Without("background", WHOLE), training),
        "no logarithms": (Without("logarithms", WHOLE), training),
        "no convolutions": (replace(WHOLE, widths=()), training),
        "two convolutions": (replace(WHOLE, widths=WHOLE.widths[:2]), training),
        "twice as wide": (replace(WHOLE, widths=tuple(2 * w for w in WHOLE.widths)), training),
        "volume not learnt": (WHOLE, replace(training, volume_weight=0.0)),
        "weights not averaged": (WHOLE, replace(training, average=0.0)),
        "no turns, no flips": (
            WHOLE,
            replace(training, augmentation=replace(shown, turns=False, flips=False)),
        ),
        "no gaps": (WHOLE, replace(training, augmentation=replace(shown, gaps=0.0))),
        "images as they are": (WHOLE, replace(training, augmentation=Augmentation())),
    }


def first_images(data: Dataset, count: int) -> Dataset:
    """Return the first `count` images of `data`."""
    return replace(
        data,
        images=data.images[:count],
        labels=data.labels[:count],
        truth={name: values[:count] for name, values in data.truth.items()},
        manifest=data.manifest | {"first_images": count},
    )


def judge(model: NetworkModel, data: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which verdicts are right (n,), and the logarithm of each volume (n,)."""
    verdicts, volumes = [], []
    with torch.inference_mode():
        for first in range(0, len(data), IMAGES_AT_ONCE):
            images = torch.from_numpy(np.array(data.images[first : first + IMAGES_AT_ONCE]))
            logits, volume = model.network(images, with_volume=True)
            verdicts.append(logits.argmax(1).numpy())
            volumes.append(volume.double().numpy())
    return np.concatenate(verdicts) == data.labels, np.concatenate(volumes)


def volume_error(volumes: NDArray[np.float64], truth: Mapping[str, NDArray[np.float64]]) -> float:
    """Return the standard deviation of the logarithm where crystal and pulse are clear."""
    own = truth["crystal_volume_mm3"]
    clear = (own > 0) & (truth["pulse_photons"] > BRIGHT_PHOTONS)
    return float(np.std(volumes[clear] - np.log(own[clear] / VOLUME_UNIT_MM3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=OURS.epochs)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    whole = replace(OURS, epochs=options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{options.train} images, {options.epochs} epochs, {options.seeds} seeds")
    print("| | validation accuracy (%) | right, wrong against ours | p | volume off by (%) |")
    print("|---|---|---|---|---|", flush=True)
    with Dataset.open(options.data) as data:
        # a copy that is mapped, for images are read in another order in every epoch
        train = first_images(data.split("train").memory_map(options.out), options.train)
        held_out = data.split("validation").memory_map(options.out)
        ours: dict[int, NDArray[np.bool_]] = {}
        for name, (architecture, training) in variants(whole).items():
            if options.only is not None and name not in ("ours", *options.only):
                continue
            right, gained, lost, errors = [], 0, 0, []
            for seed in range(options.seeds):
                model = train_network(
                    train,
                    validation=held_out,
                    architecture=architecture,
                    training=training,
                    out=options.out / f"{name} {seed}",
                    seed=seed,
                    show=progress,
                ).model
                hits, volumes = judge(model, held_out)
                base = ours.setdefault(seed, hits)
                gained += int((hits & ~base).sum())
                lost += int((base & ~hits).sum())
                right.append(hits)
                errors.append(volume_error(volumes, held_out.truth))
            every = np.concatenate(right)
            found = Proportion(int(every.sum()), every.size)
            low, high = found.interval
            p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            off = f"{100 * np.mean(errors):.2f}" if training.volume_weight else ""
            print(
                f"| {name} | {100 * found.value:.2f} ({100 * low:.2f} to {100 * high:.2f}) "
                f"| +{gained} -{lost} | {p:.2g} | {off} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
