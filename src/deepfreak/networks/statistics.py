"""Statistics of normalisations: means and variances over many batches, not over the last ten."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from deepfreak.networks.checkpoint import fingerprint

if TYPE_CHECKING:
    from deepfreak.dataset import Dataset
    from deepfreak.networks.network import NetworkModel


def with_averaged_statistics(
    model: "NetworkModel",
    data: "Dataset",
    *,
    batch: int,
    half: bool = False,
    advance: Callable[[int], None] | None = None,
) -> "NetworkModel":
    """Return the network with the statistics of its normalisations taken anew; weights stay.

    A training leaves running means over its last ten batches or so. Here they are plain means over
    whole batches of the training images in their order (Wu and Johnson 2021, "Rethinking 'Batch' in
    BatchNorm").

    Parameters
    ----------
    batch
        Images that are normalised together; as many as in training.
    half
        Whether convolutions are computed in bf16, as in training.
    """
    network = copy.deepcopy(model.network)
    device = network.mean.device
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # all batches count alike
    network.train()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for first in range(0, len(data) - batch + 1, batch):
            # a copy, for torch takes no memory that it may not write to
            images = torch.from_numpy(np.array(data.images[first : first + batch]))
            network(images.to(device))
            if advance is not None:
                advance(batch)
    manifest = {
        **model.manifest,
        "statistics": f"means over batches of {batch} of the training images",
        "weights_sha256": fingerprint(network.eval()),
    }
    return replace(model, network=network, manifest=manifest)
