"""Normalising each image by itself, as training in batches of one image does."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from deepfreak.networks.checkpoint import fingerprint
from deepfreak.networks.resnet import normalise_by_image

if TYPE_CHECKING:
    from deepfreak.networks.network import NetworkModel


def normalised_by_image(model: "NetworkModel") -> "NetworkModel":
    """Return the network of a `Topology` with its weights and normalise="image".

    That is how it was trained in batches of one image. Running statistics, which it would use
    otherwise, are of the last ten images or so, and of pulses that differ much in energy.
    """
    network = copy.deepcopy(model.network)
    normalise_by_image(network)
    network.eval()
    manifest = {
        **model.manifest,
        "architecture": {**model.manifest["architecture"], "normalise": "image"},
        "weights_sha256": fingerprint(network),
    }
    return replace(model, network=network, manifest=manifest)
