"""Networks that train very fast; as a program it trains one, for tests in other processes."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from deepfreak.datasets import Dataset
from deepfreak.networks import Augmentation, Inputs, Topology, Training, train_network

ROOT = Path(__file__).parents[3]
SIDE = 32
SMALL = Topology(filters=2, blocks=(1, 1, 1, 1), second_pool_size=1)
TRAINING = Training(
    epochs=3,
    batch=4,
    learning_rate=0.02,
    momentum=0.9,
    augmentation=Augmentation(rotations=True, flips=True, intensity=(0.8, 1.25)),
)


@dataclass(frozen=True)
class Straight:
    """One linear layer: nothing in it depends on how a batch is shared."""

    name: ClassVar[str] = "straight"

    def settings(self):
        return {"architecture": self.name}

    def build(self, *, classes, size):
        return nn.Sequential(nn.Flatten(), nn.Linear(size**2, classes))


@dataclass(frozen=True)
class Greedy(Straight):
    """Requests more memory than exists."""

    def build(self, *, classes, size):
        class Layer(nn.Linear):
            def forward(self, maps):
                return torch.empty(2**52, device=maps.device)

        return Layer(1, classes)


def train(data, out, **options):
    """Train `SMALL`, or the network of `options`, on one thread."""
    options = {"architecture": SMALL, "training": TRAINING, "device": "cpu"} | options
    return train_network(data, out=out, **options)


@contextmanager
def killed_after(images):
    """Return a callback for `show` that kills this process after a number of images."""
    left = images

    def advance(done):
        nonlocal left
        left -= done
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    yield advance


def run_program(*arguments, launcher=()):
    """Run this file with arguments of `main` and return the result."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "tests.unit.networks.tiny", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def main(path, out, kill_after, *further):
    torch.set_num_threads(1)
    with Dataset.open(path) as data, ExitStack() as stack:
        also = [stack.enter_context(Dataset.open(each)) for each in further]
        if int(kill_after):
            show = lambda _what, _total: killed_after(int(kill_after))  # noqa: E731 -- one line
            train(data, out, also=also, validation=data, save_every_steps=2, show=show)
        else:
            training = Training(epochs=2, batch=4, learning_rate=0.1, inputs=Inputs())
            train(data, out, validation=data, architecture=Straight(), training=training)


if __name__ == "__main__":
    main(*sys.argv[1:])
