"""A network with its inputs, 8-bit images to logits; and as a model with classes."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from deepfreak.errors import RecipeError
from deepfreak.models.classifier import check_images
from deepfreak.networks.architecture import Architecture
from deepfreak.networks.configuration import Inputs
from deepfreak.networks.resnet import normalise_by_image

IMAGES_AT_ONCE = 16


class Network(nn.Module):
    """What `Inputs` do to images, then a body of convolutions.

    `mean` (side, side), or (1, 1), is subtracted from pixels divided by 255. It is a buffer and so
    lies in the same file as the weights.
    """

    mean: Tensor

    def __init__(self, body: nn.Module, mean: Tensor, *, shrink_to: int | None = None) -> None:
        super().__init__()
        self.body, self.shrink_to = body, shrink_to
        # a body with it takes gray levels as they are stored
        self.missing: float | None = getattr(body, "missing", None)
        self.register_buffer("mean", mean)

    def forward(
        self, images: Tensor, valid: Tensor | None = None, *, with_volume: bool = False
    ) -> Any:  # noqa: ANN401 -- what the body gives: logits, or a tuple that begins with them
        """Return logits (n, classes) of images (n, side, side) of 0 to 255.

        Pixels that are not `valid` (n, side, side) get the mean's value, unless the body has a
        number for missing pixels. `with_volume` returns the crystal's volume (n,) too, from bodies
        that estimate it.
        """
        pixels = images.float()  # (n, side, side)
        if self.missing is None:
            pixels = pixels / 255 - self.mean
        if valid is not None:
            # onnxruntime takes several times as long for `where`
            measured = valid.to(pixels.dtype)
            if self.missing is None:
                pixels = pixels * measured
            else:
                pixels = pixels + self.missing * (1 - measured)
        maps = pixels[:, None]  # (n, 1, side, side)
        if self.shrink_to is not None:
            size = (self.shrink_to, self.shrink_to)
            maps = interpolate(maps, size, mode="bilinear", antialias=True)
        forward: Any = self.body.with_volume if with_volume else self.body
        return forward(maps)


def build_network(
    architecture: Architecture, inputs: Inputs, *, classes: int, side: int
) -> Network:
    """Return a network for images of `side` x `side`, with weights from torch's global generator.

    Its mean is 0 until one is copied into it. Raises `RecipeError` if the architecture does not
    work at that size, or not with such inputs.
    """
    body = architecture.build(classes=classes, size=inputs.shrink_to or side)
    if hasattr(body, "missing") and (inputs.subtract, inputs.shrink_to) != ("nothing", None):
        raise RecipeError(
            f"expected images as they are stored for the architecture {architecture.name!r}, found "
            f"inputs that subtract {inputs.subtract!r} and shrink to {inputs.shrink_to}: use "
            'Inputs(subtract="nothing")'
        )
    shape = (side, side) if inputs.subtract == "pixel mean" else (1, 1)
    return Network(body, torch.zeros(shape), shrink_to=inputs.shrink_to)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkModel:
    """A trained network, and a manifest of JSON values on its making; a `models.Classifier`."""

    network: Network
    side: int
    classes: tuple[str, ...]
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""
        kind = self.manifest["architecture"]["architecture"]
        return f"{kind} network {self.manifest['weights_sha256'][:8]}"

    def probabilities(
        self,
        images: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
        *,
        workers: int = 1,  # noqa: ARG002 -- torch decides on its threads
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of images (n, side, side); see `Classifier`."""
        images = check_images(images, valid, side=self.side)
        device = self.network.mean.device
        rows = np.empty((len(images), len(self.classes)))
        with torch.inference_mode():
            for first in range(0, len(images), IMAGES_AT_ONCE):
                part = slice(first, first + IMAGES_AT_ONCE)
                # copies, for torch takes no memory that it may not write to
                pixels = torch.from_numpy(np.array(images[part])).to(device)
                measured = (
                    None if valid is None else torch.from_numpy(np.array(valid[part])).to(device)
                )
                rows[part] = self.network(pixels, measured).double().softmax(1).cpu().numpy()
        return rows


def normalised_by_image(model: NetworkModel) -> NetworkModel:
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


def fingerprint(network: Network) -> str:
    """Return a SHA-256 over names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0" + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
