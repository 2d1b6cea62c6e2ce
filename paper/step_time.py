"""How long a training's step takes, without what is done between epochs."""

import time

from deepfreak.datasets import Dataset
from deepfreak.networks.architecture import Architecture
from deepfreak.networks.batches.stored import StoredImages
from deepfreak.networks.network import build_network
from deepfreak.networks.processes import processes
from deepfreak.networks.recipe import Training
from deepfreak.networks.state import State
from deepfreak.networks.step import step_of
from deepfreak.networks.targets import Targets
from deepfreak.networks.training import reproducible


def seconds_per_step(
    architecture: Architecture, training: Training, data: Dataset, *, device: str | None = None
) -> float:
    """Return the seconds of a step, a mean over all images of `data` shown once, unchanged."""
    with processes(device) as group, reproducible(group.device):
        images = StoredImages(data, group)
        network = build_network(
            architecture, training.inputs, classes=len(images.classes), side=images.side
        )
        state = State.of(network, training, group.device)
        targets = Targets.of(images.classes, with_groups=False, device=group.device)
        gradients = step_of(network.train(), targets, training, group)
        for _ in range(2):  # the first time warms up
            began = time.monotonic()
            for batch in images.in_order(training.batch):
                loss, _ = gradients(batch)
                state.optimizer.step()
            loss.item()  # waits for the device
            seconds = time.monotonic() - began
    return seconds / -(-len(images) // training.batch)
