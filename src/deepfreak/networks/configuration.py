"""How a network is trained: inputs, augmentation, optimisation, and the paper's choices."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from deepfreak.networks.architecture import DEEPFREAK, TOPOLOGIES, Topology
from deepfreak.settings import Count, Fraction, NonNegative, Positive, settings, to_json

# Unit of learned volumes: logarithms of common ones are then near 0.
VOLUME_UNIT_MM3 = 1e-5

BelowOne = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=8, le=4096)]


@settings
class Inputs:
    """Preprocessing of an image before the first convolution; part of the network.

    Parameters
    ----------
    subtract
        After pixels are divided by 255: of the training images the mean of each pixel (the
        paper's section 4.3), one mean of all pixels (what its published code subtracts), or
        nothing.
    shrink_to
        Side in pixels to which images are shrunk first.
    """

    subtract: Literal["pixel mean", "mean", "nothing"] = "pixel mean"
    shrink_to: Side | None = None


@settings
class Augmentation:
    """Random changes to an image each time that it is shown.

    Parameters
    ----------
    rotations, flips
        Whether it is rotated by a multiple of 90 degrees, and flipped.
    intensity
        Range of the factor, drawn log-uniformly, by which its counts above the pedestal change.
    pedestal
        Counts of a pixel without light.
    gaps
        Share of the images in which pixels are missing along lines, at an edge or behind a
        beamstop.
    """

    rotations: bool = False
    flips: bool = False
    intensity: tuple[Positive, Positive] = (1.0, 1.0)
    pedestal: NonNegative = 10.0
    gaps: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.intensity[0] > self.intensity[1]:
            raise ValueError(f"intensity is a range (low, high), found {self.intensity}")


@settings
class Training:
    """How a network is trained; the defaults are the paper's Table 2.

    Parameters
    ----------
    epochs
        How often each image is shown. The schedule "cosine" ends there.
    batch
        Images per step, over all processes.
    learning_rate
        Learning rate at the beginning.
    optimizer, momentum, second_momentum, nesterov
        SGD with momentum, or AdamW with both as its betas.
    weight_decay, decay_all
        And whether it is applied to biases and normalisations too.
    schedule
        "steps": the learning rate is multiplied by `decay_rate` at the beginning of epoch
        `first_decay`, counted from 0, and every `decay_epochs` later. The paper's published code
        does so at epoch 0 already. "cosine": it rises linearly over `warmup_epochs` and falls as
        half a cosine to 0 at `epochs`.
    label_smoothing
        Share of the label that is spread over all classes.
    volume_weight
        If not 0, the network learns the crystal's volume, too: the squared error of its natural
        logarithm, for images with a crystal, is added to the loss with this weight.
    average
        If not 0, the network that is evaluated and kept is a running mean of the weights, with
        this decay a step; young means decay faster.
    precision
        Precision of the convolutions. Weights and sums are float32.
    """

    epochs: Count = 180
    batch: Count = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 8.4474e-4
    momentum: Fraction = 0.56168
    second_momentum: BelowOne = 0.999
    nesterov: bool = False
    weight_decay: NonNegative = 3.4855e-5
    decay_all: bool = True
    schedule: Literal["steps", "cosine"] = "steps"
    decay_epochs: Count = 10
    decay_rate: Fraction = 0.1
    first_decay: Annotated[int, Field(ge=0)] = 10
    warmup_epochs: NonNegative = 0.0
    label_smoothing: BelowOne = 0.0
    volume_weight: NonNegative = 0.0
    average: BelowOne = 0.0
    precision: Literal["float32", "bf16"] = "float32"
    inputs: Inputs = Inputs()
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.optimizer == "adamw" and self.momentum == 1:
            raise ValueError("AdamW needs a momentum below 1")
        if self.schedule == "cosine" and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is less than epochs, found {self.warmup_epochs:g} of {self.epochs}"
            )

    def learning_rate_at(self, epoch: float) -> float:
        """Return the learning rate after `epoch` epochs, a number with fractions."""
        if self.schedule == "steps":
            since = math.floor(epoch) - self.first_decay
            decays = since // self.decay_epochs + 1 if since >= 0 else 0
            return float(self.learning_rate * self.decay_rate**decays)
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.learning_rate * (1 + math.cos(math.pi * min(done, 1))) / 2

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return to_json(self)


@settings
class Configuration:
    """A topology and how it is trained."""

    topology: Topology
    training: Training


# Table 11, of which B is the paper's DeepFreak (Tables 1 and 2).
CONFIGURATION_A = Configuration(
    topology=TOPOLOGIES[6],
    training=Training(learning_rate=8.6673e-4, momentum=0.7770, weight_decay=2.5380e-5, batch=1),
)
CONFIGURATION_B = Configuration(topology=DEEPFREAK, training=Training())
CONFIGURATION_C = Configuration(
    topology=TOPOLOGIES[1],
    training=Training(learning_rate=5.9409e-3, momentum=0.70739, weight_decay=3.0193e-5, batch=2),
)

# Tables 15 and 17: chosen on real images, raw and preprocessed, and trained on simulated ones.
FOR_RAW_IMAGES = Configuration(
    topology=TOPOLOGIES[11],
    training=Training(learning_rate=1.4542e-4, momentum=0.99589, weight_decay=1.8555e-5, batch=1),
)
FOR_PREPROCESSED_IMAGES = Configuration(
    topology=TOPOLOGIES[10],
    training=Training(learning_rate=4.8311e-3, momentum=0.88172, weight_decay=2.1462e-5, batch=8),
)

# For `Compact`; see `docs/compact.md`.
OURS = Training(
    epochs=25,
    batch=32,
    optimizer="adamw",
    learning_rate=6e-3,
    momentum=0.9,
    weight_decay=0.01,
    decay_all=False,
    schedule="cosine",
    warmup_epochs=2.0,
    volume_weight=10.0,
    average=0.995,
    inputs=Inputs(subtract="nothing"),
    augmentation=Augmentation(rotations=True, flips=True, gaps=0.25),
)
