"""What each part of our network and of its recipe is worth: all but one of them, trained again.

Run: python benchmarks/ablation.py DATA --out FOLDER [--train 10000] [--epochs 25] [--seeds 1]
     [--only NAME ...] [--also IMAGES] [--crystals OTHERS] [--at-once 1] [--threads 2]

DATA has the splits train and validation. Every line is trained on the first --train images of the
former, and on those of --also if given, of two classes, and evaluated on the latter, so that
nothing here has seen the test images; and on those of --crystals, for whether there is a crystal.
It resumes; another --train, --epochs or --also needs another directory. Besides the accuracy with
its 95 % interval there are the images that became right and wrong against the whole, with the exact
p of McNemar's test, and the error of the volume, where it is learned, at bright pulses. A GPU has
room for several trainings --at-once: one of them alone leaves it waiting for the host.
"""

import argparse
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from deepfreak.classes import (
    group_probabilities,
)
from deepfreak.datasets import Dataset
from deepfreak.models.evaluation import Proportion
from deepfreak.networks import OURS, Augmentation, Compact, NetworkModel, Training, train_network
from deepfreak.networks.compact_network import CompactNetwork, SpotPlanes
from deepfreak.networks.configuration import VOLUME_UNIT_MM3
from deepfreak.progress import progress
from deepfreak.search.images import first_images

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
            whole = self.settings_of_whole
            return NoLogarithms(widths=whole.widths, hidden=whole.hidden, classes=classes)
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
        "no rotations, no flips": (
            WHOLE,
            replace(training, augmentation=replace(shown, rotations=False, flips=False)),
        ),
        "no gaps": (WHOLE, replace(training, augmentation=replace(shown, gaps=0.0))),
        "images as they are": (WHOLE, replace(training, augmentation=Augmentation())),
    }


def evaluated(model: NetworkModel, data: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which verdicts are right (n,), and the logarithm of each volume (n,)."""
    verdicts, volumes = [], []
    device = model.network.mean.device
    with torch.inference_mode():
        for first in range(0, len(data), IMAGES_AT_ONCE):
            images = torch.from_numpy(np.array(data.images[first : first + IMAGES_AT_ONCE]))
            logits, volume = model.network(images.to(device), with_volume=True)
            verdicts.append(logits.argmax(1).cpu().numpy())
            volumes.append(volume.double().cpu().numpy())
    return np.concatenate(verdicts) == data.labels, np.concatenate(volumes)


def finds_crystals(model: NetworkModel, data: Dataset) -> Proportion:
    """Return of how many images it says rightly whether there is a crystal."""
    found = group_probabilities(model.probabilities(data.images), model.classes).argmax(1)
    return Proportion(int((found == data.labels).sum()), len(data))


def volume_error(volumes: NDArray[np.float64], truth: Mapping[str, NDArray[np.float64]]) -> float:
    """Return the standard deviation of the logarithm where crystal and pulse are clear."""
    own = truth["crystal_volume_mm3"]
    clear = (own > 0) & (truth["pulse_photons"] > BRIGHT_PHOTONS)
    return float(np.std(volumes[clear] - np.log(own[clear] / VOLUME_UNIT_MM3)))


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[tuple[Dataset, Dataset, tuple[Dataset, ...]]]:
    """Give images to train on, those to evaluate on, and further ones to train on."""
    with ExitStack() as stack:
        data, *also = (
            stack.enter_context(Dataset.open(path)) for path in (options.data, *options.also)
        )
        # copies that are mapped, for images are read in another order in every epoch
        yield (
            first_images(data.split("train").memory_map(options.out), options.train),
            data.split("validation").memory_map(options.out),
            tuple(each.memory_map(options.out) for each in also),
        )


def trained(options: argparse.Namespace, name: str, seed: int) -> NetworkModel:
    """Return the network of a line, trained or from its folder."""
    torch.set_num_threads(options.threads)
    architecture, training = variants(replace(OURS, epochs=options.epochs))[name]
    with opened(options) as (train, held_out, also):
        return train_network(
            train,
            also=also,
            validation=held_out,
            architecture=architecture,
            training=training,
            out=options.out / f"{name} {seed}",
            seed=seed,
            show=progress if options.at_once == 1 else None,
        ).model


def train(options: argparse.Namespace, line: tuple[str, int]) -> None:
    """Train a line in a process of its own."""
    trained(options, *line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=OURS.epochs)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    parser.add_argument("--crystals", type=Path)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = {
        name: training
        for name, (_, training) in variants(OURS).items()
        if options.only is None or name in ("ours", *options.only)
    }
    if options.at_once > 1:
        with opened(options):  # makes the copies
            pass
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.at_once, mp_context=context) as pool:
            every = [(name, seed) for seed in range(options.seeds) for name in lines]
            list(pool.map(partial(train, options), every))
    print(f"{options.train} images, {options.epochs} epochs, {options.seeds} seeds")
    print("| | validation (%) | right, wrong against ours | p | volume off by (%) | crystals (%) |")
    print("|---|---|---|---|---|---|", flush=True)
    ours: dict[int, NDArray[np.bool_]] = {}
    with ExitStack() as stack:
        _, held_out, _ = stack.enter_context(opened(options))
        others = None
        if options.crystals is not None:
            others = stack.enter_context(Dataset.open(options.crystals))
        for name, training in lines.items():
            right, gained, lost, errors, crystals = [], 0, 0, [], []
            for seed in range(options.seeds):
                model = trained(options, name, seed)
                hits, volumes = evaluated(model, held_out)
                base = ours.setdefault(seed, hits)
                gained += int((hits & ~base).sum())
                lost += int((base & ~hits).sum())
                right.append(hits)
                errors.append(volume_error(volumes, held_out.truth))
                if others is not None:
                    crystals.append(finds_crystals(model, others))
            every_hit = np.concatenate(right)
            p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            off = f"{100 * np.mean(errors):.2f}" if training.volume_weight else ""
            print(
                f"| {name} | {in_words(Proportion(int(every_hit.sum()), every_hit.size))} "
                f"| +{gained} -{lost} | {p:.2g} | {off} | {in_words(*crystals)} |",
                flush=True,
            )


def in_words(*found: Proportion) -> str:
    """Return their sum in per cent, with its 95 % interval."""
    if not found:
        return ""
    whole = Proportion(sum(each.hits for each in found), sum(each.total for each in found))
    low, high = whole.interval
    return f"{100 * whole.value:.2f} ({100 * low:.2f} to {100 * high:.2f})"


if __name__ == "__main__":
    main()
